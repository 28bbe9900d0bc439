"""The base install on a clean Python, without torch: it records to a remote writer, and says what it lacks."""

from __future__ import annotations

import subprocess
from pathlib import Path

import base_install
import onbeat_process as run
import outcome
import pytest

_ADDRESS = "--writer.address=tcp://127.0.0.1:9"
_NO_PATH = {"PYTHONPATH": ""}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return base_install.install(tmp_path_factory.mktemp("base"))


def _base(programs: Path, home: Path, *arguments: str) -> run.OnbeatProcess:
    return run.OnbeatProcess([str(programs / "onbeat"), *arguments], home, environment=_NO_PATH)


def test_records_to_a_remote_writer_without_torch(
    tmp_path: Path, programs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = ["torch", "lerobot", "av", "cv2", "datasets", "pyarrow", "pandas", "mcap", "huggingface_hub"]
    script = (
        "import sys; from importlib.util import find_spec; import control, transport; "
        f"sys.exit(' '.join(n for n in {missing} if find_spec(n)) or not control.__file__.startswith(sys.prefix))"
    )
    subprocess.run([programs / "python", "-P", "-c", script], check=True, timeout=60, cwd=tmp_path, env=_NO_PATH)
    keys = tmp_path / "keys"
    assert run.onbeat(tmp_path, "keys", f"--dir={keys}", "--recorder=arm1")[0] == 0
    far = ("--bind=tcp://127.0.0.1:0", f"--root={tmp_path / 'far'}", f"--keys={keys}", "--once=true")
    with run.OnbeatProcess([run.ONBEAT, "writer", *far], tmp_path) as writer:
        port = writer.wait_for(r"listening at tcp://\S+:(\d+)").group(1)
        near = (
            f"--writer.address=tcp://127.0.0.1:{port}",
            f"--writer.keys={keys / 'recorder-arm1.key'}",
            "--dataset.repo_id=me/pick",
            "--dataset.no_stamp=true",
            "--dataset.num_episodes=1",
        )
        with _base(programs, tmp_path, "record", *run.QUICK, *near) as recorder:
            assert recorder.finish() == 0, recorder.output
        assert writer.finish() == 0, writer.output
    outcome.assert_whole(tmp_path / "far/me/pick", episodes=1)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path))
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    dataset = LeRobotDataset("me/pick", root=tmp_path / "far/me/pick", video_backend="pyav")
    assert (dataset.num_episodes, dataset[len(dataset) - 1]["observation.images.front"].shape) == (1, (3, 120, 160))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["record"], r"no writer is installed on this machine \(av, .*lerobot missing\).* --writer.address"),
        (
            ["record", "--robot.type=so101_follower", "--dataset.repo_id=me/x", "--dataset.single_task=x", _ADDRESS],
            r"--robot.\* needs lerobot: .*pip install",
        ),
        (["loadtest"], r"no writer is installed on this machine"),
        (["verify", "somewhere"], r"verify needs the package av, .*pip install"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_says_in_one_line_what_it_lacks(tmp_path: Path, programs: Path, arguments: list[str], message: str) -> None:
    with _base(programs, tmp_path, *arguments) as process:
        assert process.finish() == 2, process.output
        process.wait_for(f"^onbeat: {message}", 0)
    assert len(process.output.splitlines()) == 1, process.output


def test_help_and_doctor_work(tmp_path: Path, programs: Path) -> None:
    for verb in ([], ["record"], ["doctor"], ["keys"]):
        with _base(programs, tmp_path, *verb, "--help") as process:
            assert process.finish() == 0, process.output
    quick = ("--cameras=1", "--seconds=0.1", f"--root={tmp_path}")
    with _base(programs, tmp_path, "doctor", *quick) as process:
        assert process.finish() == 1, process.output
    process.wait_for(r"can NOT be recorded here", 0)
    process.wait_for(r"no writer is installed here \(package av missing\); name one on another machine", 0)
    process.wait_for(r"made durable", 0)
