"""`onbeat record` with real processes, sockets and files; judged by what decodes."""

from __future__ import annotations

import os
import signal
import textwrap
from pathlib import Path

import gymnasium
import onbeat_process as run
import outcome
import pytest

from control.envs import TABLETOP_ID


def test_default_codec_rows_and_pictures_are_what_the_environment_gave(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    size = {"width": 320, "height": 240}
    flags = (f"--env.kwargs={size}", "--env.seed=7", "--dataset.num_episodes=2")
    with run.record(root, tmp_path, *flags, quick=False) as process:
        assert process.finish() == 0, process.output
        process.wait_for(r"^missing   0$", 0)
    outcome.assert_whole(root, episodes=2)
    outcome.assert_no_slot_lost(root, 0, fps=30)
    assert outcome.info(root)["features"]["observation.images.front"]["info"]["video.codec"] == "av1"
    env = gymnasium.make(TABLETOP_ID, **size)
    assert outcome.psnr_against_replay(root, env, seed=7) >= 30


def test_a_killed_ingest_with_a_backlog_loses_nothing(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    with run.record(root, tmp_path, "--dataset.num_episodes=1") as process:
        process.wait_for("state: recording")
        ingest = process.pid_of("writer.ingest")
        os.kill(ingest, signal.SIGSTOP)
        process.wait_for(r"frames: [2-9]\d.* writer: [2-9]\d frames behind")
        os.kill(ingest, signal.SIGKILL)
        assert process.finish() == 0, process.output
        process.wait_for("writer back", 0)
    outcome.assert_whole(root, episodes=1)
    outcome.assert_no_slot_lost(root, 0, fps=30)
    assert len(list((root / "videos").rglob("*.mp4"))) == 2


def test_two_commands_give_the_same_dataset(tmp_path: Path) -> None:
    arguments = ("--dataset.num_episodes=1", "--dataset.repo_id=me/pick", "--dataset.no_stamp=true")
    with run.OnbeatProcess(
        [run.ONBEAT, "writer", "--bind=tcp://127.0.0.1:0", f"--root={tmp_path / 'far'}", "--once=true"], tmp_path
    ) as writer:
        address = writer.wait_for(r"listening at (tcp://\S+)").group(1)
        code, output = run.onbeat(tmp_path, "record", *run.QUICK, *arguments, f"--writer.address={address}")
        assert code == 0, output
        assert writer.finish() == 0, writer.output
    near, far = tmp_path / "near", tmp_path / "far/me/pick"
    with run.record(near, tmp_path, *arguments) as process:
        assert process.finish() == 0, process.output
    for root in (near, far):
        outcome.assert_whole(root, episodes=1)
    a, b = outcome.rows(near), outcome.rows(far)
    assert a.keys() == b.keys()
    assert all((a[name] == b[name]).all() for name in a)
    assert outcome.info(near) == outcome.info(far)


SCRIPT = """
    from types import SimpleNamespace
    import gymnasium
    from control import record_dataset

    env = gymnasium.make("onbeat/Tabletop-v0", intervention="scripted", width=160, height=120)
    wrapper = SimpleNamespace(use_gripper=True, control_time_s=10)
    cfg = SimpleNamespace(repo_id="me/pick", dataset_root="ds", num_episodes=2, fps=0, push_to_hub=False, task="pick",
        number_of_steps_after_success=5, wrapper=wrapper, pretrained_policy_name_or_path=None)
    print(record_dataset(env, None, cfg))
"""


def test_a_script_of_ten_lines_without_a_main_guard(tmp_path: Path) -> None:
    (tmp_path / "control").mkdir()  # a folder of the user's that must not be taken for ours
    (tmp_path / "script.py").write_text(
        textwrap.dedent(SCRIPT).replace("from control import", "from control.api import")
    )
    python = str(Path(run.ONBEAT).with_name("python"))
    with run.OnbeatProcess([python, "-P", "script.py"], tmp_path) as process:
        assert process.finish() == 0, process.output
        process.wait_for(r"Recorded\(root='.*/ds', episodes=2, frames=\d+, missing_frames=0\)", 0)
    root = tmp_path / "ds"
    outcome.assert_whole(root, episodes=2)
    data = outcome.rows(root)
    for episode in (0, 1):
        mine = data["episode_index"] == episode
        assert data["next.reward"][mine].sum() == 5
        assert data["next.done"][mine].tolist() == [False] * (mine.sum() - 1) + [True]


@pytest.mark.parametrize(
    ("kwargs", "columns"),
    [
        ("{obs_type: pixels_agent_pos, render_mode: rgb_array}", {"observation.image", "observation.state"}),
        (
            "{obs_type: environment_state_agent_pos, render_mode: rgb_array}",
            {"observation.environment_state", "observation.state"},
        ),
    ],
)
def test_pusht_in_real_time_at_its_own_fps(tmp_path: Path, kwargs: str, columns: set[str]) -> None:
    root = tmp_path / "ds"
    flags = ("--env.id=gym_pusht/PushT-v0", f"--env.kwargs={kwargs}", "--dataset.num_episodes=2")
    codec = "--dataset.rgb_encoder.vcodec=h264"
    with run.record(root, tmp_path, *flags, codec, "--dataset.episode_time_s=2", quick=False) as process:
        assert process.finish() == 0, process.output
    found = outcome.info(root)
    assert found["fps"] == 10
    assert columns <= set(found["features"])
    outcome.assert_whole(root, episodes=2, numbered=False)
    for episode in (0, 1):
        outcome.assert_no_slot_lost(root, episode, fps=10)
        assert len(outcome.telemetry(root, episode)["scheduled_ns"]) == 20


def test_resume_appends(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    for flags in (["--dataset.num_episodes=1"], ["--dataset.num_episodes=2", "--resume=true"]):
        with run.record(root, tmp_path, *flags) as process:
            assert process.finish() == 0, process.output
    outcome.assert_whole(root, episodes=3)
