"""`onbeat loadtest` with real processes: what arrives, what is counted, and when it says no."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onbeat_process as run
import outcome
import pytest

SHORT = ("--dataset.num_episodes=2", "--dataset.fps=20", "--dataset.episode_time_s=1.5")
SMALL = ("--load.width=160", "--load.height=120", "--dataset.rgb_encoder.vcodec=h264")


def loadtest(home: Path, *arguments: str) -> tuple[int, str]:
    return run.onbeat(home, "loadtest", *arguments)


def test_a_synthetic_load_arrives_whole_and_every_tick_is_traced(tmp_path: Path) -> None:
    root, figures, ticks = tmp_path / "ds", tmp_path / "figures.json", tmp_path / "ticks.npy"
    code, output = loadtest(
        tmp_path, *SMALL, "--load.cameras=3", "--load.duration_s=2", "--load.episode_s=1", "--load.max_lost=0",
        f"--dataset.root={root}", f"--load.figures={figures}", f"--load.ticks={ticks}",
    )  # fmt: skip
    assert code == 0, output
    assert "pictures lost 0 (by decoding, each by its number)" in output
    outcome.assert_whole(root, episodes=2, numbered=False)
    found = json.loads(figures.read_text())
    assert (found["fps"], found["pictures_lost"], found["problems"], found["exceeded"]) == (60, 0, [], [])
    trace = np.load(ticks)
    assert found["figures"]["ticks"] == len(trace) == 120
    sidecar = [outcome.telemetry(root, episode) for episode in range(2)]
    for name in ("scheduled_ns", "started_ns", "action_sent_ns", "missed_slots"):
        stored = np.concatenate([values[name].ravel() for values in sidecar])
        assert trace[name].tolist() == stored.tolist(), name


def test_a_replayed_dataset_arrives_with_equal_rows_and_pictures(tmp_path: Path) -> None:
    recorded, again = tmp_path / "ds", tmp_path / "again"
    with run.record(recorded, tmp_path, *SHORT) as process:
        assert process.finish() == 0, process.output
    code, output = loadtest(
        tmp_path, f"--load.dataset={recorded}", f"--dataset.root={again}", "--dataset.rgb_encoder.vcodec=h264",
        "--load.max_lost=0",
    )  # fmt: skip
    assert code == 0, output
    # Also shows that each picture carries its own frame's number.
    outcome.assert_whole(again, episodes=2)
    assert outcome.info(again)["fps"] == 20
    rows, expected = outcome.rows(again), outcome.rows(recorded)
    assert rows.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_array_equal(rows[name], values, err_msg=name)
    assert (again / "meta/tasks.parquet").read_bytes() != b""
    for video in sorted((recorded / "videos").rglob("*.mp4")):
        pairs = zip(outcome.decode(video), outcome.decode(again / video.relative_to(recorded)), strict=True)
        worst = min(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9)) for a, b in pairs)
        assert worst >= 30, video


def test_one_episode_at_another_rate_as_often_as_asked(tmp_path: Path) -> None:
    recorded, again = tmp_path / "ds", tmp_path / "again"
    with run.record(recorded, tmp_path, *SHORT) as process:
        assert process.finish() == 0, process.output
    lengths = np.bincount(outcome.rows(recorded)["episode_index"])
    code, output = loadtest(
        tmp_path, f"--load.dataset={recorded}", "--load.episodes=[1]", "--load.speed=3", f"--dataset.root={again}",
        f"--load.duration_s={1.5 * lengths[1] / 60}", "--dataset.rgb_encoder.vcodec=h264",
    )  # fmt: skip
    assert code == 0, output
    outcome.assert_whole(again, episodes=2)
    assert outcome.info(again)["fps"] == 60
    assert np.bincount(outcome.rows(again)["episode_index"]).tolist() == [lengths[1]] * 2


def test_the_null_sink_checks_everything_and_keeps_nothing(tmp_path: Path) -> None:
    code, output = loadtest(
        tmp_path, *SMALL, "--load.sink=null", "--load.cameras=2", "--load.duration_s=1", "--load.max_lost=0"
    )
    assert code == 0, output
    assert "pictures lost 0 (by number, as the null sink received them)" in output
    assert not list(tmp_path.rglob("info.json"))


def test_a_remote_writer(tmp_path: Path) -> None:
    with run.OnbeatProcess(
        [run.ONBEAT, "writer", "--bind=tcp://127.0.0.1:0", f"--root={tmp_path / 'far'}", "--once=true"], tmp_path
    ) as writer:
        address = writer.wait_for(r"listening at (tcp://\S+)").group(1)
        code, output = loadtest(tmp_path, *SMALL, "--load.duration_s=1", f"--writer.address={address}")
        assert code == 0, output
        assert "pictures lost 0 (by packets, as the writer counted them)" in output
        assert writer.finish() == 0, writer.output
    (root,) = (path.parent.parent for path in tmp_path.glob("far/*/*/meta/info.json"))
    outcome.assert_whole(root, episodes=1)


def test_a_limit_that_is_exceeded_is_exit_code_1(tmp_path: Path) -> None:
    # A bus that blocks for longer than a tick misses slots on any machine.
    code, output = loadtest(
        tmp_path, *SMALL, "--load.sink=null", "--load.fps=50", "--load.step_ms=25", "--load.duration_s=0.5",
        "--load.max_missed=0",
    )  # fmt: skip
    assert code == 1, output
    assert "limit exceeded: missed ticks:" in output


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--load.max_p999_us=100",), "--load.duration_s=167"),
        (("--load.width=8",), "expected at least 64x48"),
        (("--load.dataset=nowhere",), "nowhere"),
        (("--load.sink=null", "--dataset.root=x"), "keeps nothing"),
        (("--load.colour=red",), "--load.colour"),
    ],
)
def test_what_cannot_be_is_one_line_and_exit_code_2(tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    code, output = loadtest(tmp_path, *arguments)
    assert code == 2, output
    lines = [line for line in output.splitlines() if line.startswith("onbeat:")]
    assert len(lines) == 1, output
    assert says in lines[0]
