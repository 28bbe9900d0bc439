"""What cannot be: one line that says what to do, exit code 2, nothing half-written."""

from __future__ import annotations

import os
import textwrap
from pathlib import Path

import onbeat_process as run
import outcome
import pytest

REFUSED = [
    (["--env.id=onbeat/Tablecloth-v0"], r"unknown; did you mean onbeat/Tabletop-v0"),
    (["--env.kwargs={cameras: -1}"], r"-1.* see --env.kwargs"),
    (["--dataset.fps=0"], r"0 frames per second found, expected 1 to 1000; set --dataset.fps"),
    (["--dataset.fps=-5"], r"-5 frames per second found"),
    (["--dataset.repo_id=no owner"], r"dataset name 'no owner.* expected owner/name"),
    (["--dataset.repo_id=../../etc/passwd"], r"dataset name .* expected owner/name"),
    (["--env.kwargs={cameras: ['../up']}"], r"'\.\./up'|observation\.images\.\.\./up"),
    (["--dataset.rgb_encoder.vcodec=mpeg9"], r"mpeg9.* --dataset.rgb_encoder.vcodec"),
    (["--dataset.num_episodes=0"], r"--dataset.num_episodes=0 found"),
    (["--publisher.ring_s=1000000"], r"log ring needs .* set --publisher.ring_s to"),
    (["--teleop.type=nobody"], r"--teleop.type=nobody found, expected"),
    (["--teleop.kwargs={bogus: 1}"], r"--teleop.kwargs: .*bogus"),
    (
        ["--writer.address=tcp://127.0.0.1:9", "--writer.timeout_s=1"],
        r"no writer answered at tcp://127.0.0.1:9 within 1 s",
    ),
    (
        ["--env.kwargs={width: 1280, height: 720, cameras: 6}", "--dataset.fps=200", "--publisher.ring_s=0.2"],
        r"encodes .* frames/s a camera here .* --writer.allow_slow",
    ),
    (["--dataset.fsp=30"], r"--dataset.fsp=30; see onbeat record --help"),
    (["--dataset.fps=many"], r"--dataset.fps: .*'many'"),
]


@pytest.mark.parametrize(("flags", "message"), REFUSED, ids=[" ".join(flags) for flags, _ in REFUSED])
def test_refused_in_one_line_and_nothing_is_left(tmp_path: Path, flags: list[str], message: str) -> None:
    root = tmp_path / "data/ds"
    if any(flag.startswith("--writer.address") for flag in flags):
        code, output = run.onbeat(tmp_path, "record", *run.QUICK, *flags)
    else:
        code, output = run.onbeat(tmp_path, "record", *run.QUICK, f"--dataset.root={root}", *flags)
    assert code == 2, output
    refusals = [line for line in output.splitlines() if line.startswith("onbeat: ")]
    assert len(refusals) == 1, output
    assert "Traceback" not in output
    with run.OnbeatProcess(["printf", "%s\n", refusals[0]], tmp_path) as printed:
        printed.wait_for(message, 10)
    assert not root.exists()
    assert not list(tmp_path.rglob("*.onbeat"))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of one episode."""
    home = tmp_path_factory.mktemp("recorded")
    with run.record(home / "ds", home, "--dataset.num_episodes=1") as process:
        assert process.finish() == 0, process.output
    return home / "ds"


def _files(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], r"exists; choose another --dataset.root, or append to it with --resume=true"),
        (["--resume=true", "--dataset.fps=20"], r"frames per second 20 found in the session, 30 in .*--dataset.fps"),
        (["--resume=true", "--env.kwargs={width: 160, height: 120, cameras: 1}"], r"observation.images.wrist"),
        (["--resume=true", "--env.kwargs={width: 128, height: 96}"], r"observation.images.front.*shape"),
        (["--resume=true", "--dataset.rgb_encoder.vcodec=libsvtav1"], r"h264.*(libsvtav1|av1)|(libsvtav1|av1).*h264"),
    ],
)
def test_a_dataset_that_is_not_the_same_stays_as_it_was(recorded: Path, flags: list[str], message: str) -> None:
    before = _files(recorded)
    with run.record(recorded, recorded.parent, *flags) as process:
        assert process.finish() == 2, process.output
        process.wait_for(f"^onbeat: .*({message})", 0)
    assert _files(recorded) == before
    assert not list(recorded.parent.glob("*.onbeat"))


def test_resume_of_nothing(tmp_path: Path) -> None:
    with run.record(tmp_path / "ds", tmp_path, "--resume=true") as process:
        assert process.finish() == 2, process.output
        process.wait_for(r"^onbeat: .*--resume", 0)
    assert not (tmp_path / "ds").exists()


def test_a_file_in_place_of_the_parent_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with run.record(tmp_path / "file/ds", tmp_path) as process:
        assert process.finish() == 2, process.output
        process.wait_for(r"^onbeat: .*file", 0)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
@pytest.mark.parametrize("options", ["size=2m", "size=64m,ro"])
def test_a_full_or_read_only_disk(tmp_path: Path, options: str) -> None:
    mounted = tmp_path / "mounted"
    mounted.mkdir()
    assert os.system(f"mount -t tmpfs -o {options} none {mounted}") == 0
    try:
        with run.record(mounted / "ds", tmp_path) as process:
            assert process.finish() == 2, process.output
            process.wait_for(r"^onbeat: .*(free|read-only|Read-only|writ)", 0)
        assert list(mounted.iterdir()) == []
    finally:
        assert os.system(f"umount {mounted}") == 0


def test_memory_that_may_not_be_locked(tmp_path: Path) -> None:
    command = f'ulimit -l 64; exec {run.ONBEAT} record {" ".join(repr(flag) for flag in run.QUICK)} "$@"'
    flags = ["--timing.lock_memory=require", f"--dataset.root={tmp_path / 'ds'}"]
    drop = ["setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"] if os.geteuid() == 0 else []
    with run.OnbeatProcess([*drop, "bash", "-c", command, "onbeat", *flags], tmp_path) as process:
        assert process.finish() == 2, process.output
        process.wait_for(r"^onbeat: .*cannot be locked.*RLIMIT_MEMLOCK|^onbeat: .*memlock", 0)
    assert not (tmp_path / "ds").exists()


SHRINKING = """
    import gymnasium
    import numpy as np

    class Shrinking(gymnasium.Env):
        observation_space = gymnasium.spaces.Dict({
            "agent_pos": gymnasium.spaces.Box(-1, 1, (2,), np.float32),
            "pixels": gymnasium.spaces.Box(0, 255, (96, 96, 3), np.uint8),
        })
        action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
        metadata = {"render_fps": 30}
        episodes = 0

        def look(self, size):
            return {"agent_pos": np.zeros(2, np.float32), "pixels": np.zeros((size, size, 3), np.uint8)}

        def reset(self, *, seed=None, options=None):
            super().reset(seed=seed)
            self.steps, self.episodes = 0, self.episodes + 1
            return self.look(96), {}

        def step(self, action):
            self.steps += 1
            shrunk = self.episodes == 2 and self.steps == 9
            return self.look(48 if shrunk else 96), 0.0, self.steps == 20, False, {}

    gymnasium.register("Shrinking-v0", Shrinking)
"""


def test_an_observation_that_changes_shape_costs_its_episode_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "shrinking.py").write_text(textwrap.dedent(SHRINKING))
    root = tmp_path / "ds"
    flags = ("--env.id=shrinking:Shrinking-v0", "--env.kwargs={}", "--dataset.num_episodes=3")
    with run.record(root, tmp_path, *flags) as process:
        assert process.finish() == 2, process.output
        process.wait_for(r"pixels.*48.*96", 0)
        process.wait_for(r"take 1: aborted", 0)
    assert outcome.info(root)["total_episodes"] == 1
    assert len(outcome.rows(root)["index"]) == 20
    assert list((tmp_path / "ds.onbeat").rglob("aborted/e000001/*.mcap"))
