"""A rig with a camera of 30 pictures a second: what the doctor finds, what is refused, what own pipelines do."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "emulators")]

import stock_arm  # noqa: E402 - the emulators, and their tests' helpers, are not installed

from control import doctor  # noqa: E402
from control.abort import Abort  # noqa: E402
from control.clock import SystemClock  # noqa: E402
from control.config import TimingFlags  # noqa: E402
from control.doctor_robot import probe_robot  # noqa: E402
from control.envs import frame_code  # noqa: E402
from control.errors import SourceError  # noqa: E402
from control.lerobot_build import build_source  # noqa: E402
from control.lerobot_pipelines import make_pipelines  # noqa: E402
from control.lerobot_robot import RobotSource  # noqa: E402
from control.source import Draft  # noqa: E402
from scripts.emulators.rig import Rig, make_rig  # noqa: E402
from transport.errors import UsageError  # noqa: E402
from transport.link import Link  # noqa: E402

pytestmark = pytest.mark.serial

CAMERA_FPS = 30
ATTEMPTS = 4


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    handler = signal.getsignal(signal.SIGTERM)
    with (
        tempfile.TemporaryDirectory(prefix="arm") as name,
        make_rig(Path(name), fps=CAMERA_FPS, width=160, height=120, cameras=["front"]) as made,
    ):
        yield made
    signal.signal(signal.SIGTERM, handler)


@contextlib.contextmanager
def source_of(rig: Rig, fps: int, timing: TimingFlags, processors: str | None = None) -> Iterator[RobotSource]:
    ours, theirs = Link.pair()
    for _ in range(ATTEMPTS):
        theirs.send({"guarded": True})
    source = None
    try:
        for attempt in range(ATTEMPTS):
            try:
                source = build_source(rig.flags, timing, fps, ours, Abort(), "release", processors=processors)
                break
            except SourceError:
                # Connecting waits 50 ms for each answer, which an emulator on a busy machine may miss.
                if attempt == ATTEMPTS - 1:
                    raise
        assert source is not None
        yield source
    finally:
        if source is not None:
            source.close()
        ours.close()
        theirs.close()


def probed(rig: Rig, fps: int, seconds: float) -> Any:
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(SourceError):
            return probe_robot(rig.flags, TimingFlags(), fps, seconds, SystemClock())
    return probe_robot(rig.flags, TimingFlags(), fps, seconds, SystemClock())


def test_doctor_counts_pictures_and_reads_and_touches_nothing(rig: Rig) -> None:
    written = rig.follower.next_number()
    for arm in (rig.follower, rig.leader):
        arm.ask("faults", silence=0.2, instructions=["sync_read"])
    try:
        side = probed(rig, fps=60, seconds=1)
    finally:
        for arm in (rig.follower, rig.leader):
            arm.ask("faults")
    (camera,) = side.cameras
    assert (side.pictures, side.unknown, camera.name, camera.ticks) == ((1, 160, 120), (), "front", 60)
    assert not camera.suffices(60)
    assert camera.repeats >= 20
    assert [bus.name for bus in side.buses] == ["robot", "teleop"]
    for bus, arm in zip(side.buses, (rig.follower, rig.leader), strict=True):
        silent = [read for read in arm.accesses("read", "Present_Position") if read.fault == "silence"]
        assert bus.reads == 60
        assert bus.failures >= len(silent) > 0
        assert 0 < bus.p50_ms <= bus.p99_ms
        assert "no status packet" in bus.last_error
    writes = [each for each in rig.follower.ask("history")["accesses"] if each["number"] >= written]
    assert {each["kind"] for each in writes} == {"read"}


def test_doctor_prints_the_robot_and_its_load(rig: Rig, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = [*rig.flags, "--fps=60", "--seconds=0.3", "--dataset.rgb_encoder.vcodec=h264", f"--root={tmp_path}"]
    for _ in range(ATTEMPTS):
        code = doctor.main(flags)
        out = capsys.readouterr().out
        if "cannot be opened" not in out and "The robot's cameras" in out:
            break
    assert code == 1
    assert "onbeat doctor: 1 camera of 160x120 at 60 fps" in out
    assert "too slow" in out
    assert "expected 60 for a dataset of 60 frames/s" in out
    assert "p99 ms" in out


def test_a_camera_slower_than_the_dataset_is_refused_unless_allowed(rig: Rig) -> None:
    with (
        pytest.raises(UsageError, match=r"camera front delivers [\d.]+ pictures/s, expected 60"),
        source_of(rig, 60, TimingFlags()),
    ):
        pass
    assert set(rig.follower.torque().values()) == {0}


def draft(source: RobotSource) -> Draft:
    row = np.zeros((), source.schema.row_dtype)
    return Draft(row, [np.zeros(stream.shape, stream.dtype) for stream in source.schema.pictures])


def test_pipelines_process_what_is_stored_and_what_is_sent(rig: Rig) -> None:
    # A quarter of a tick is long enough for any machine.
    with source_of(rig, 2, TimingFlags(), "own_pipelines:halved_and_negated") as source:
        source.begin(draft(source))
        since = rig.follower.next_number(), rig.leader.next_number()
        found = draft(source)
        source.tick(found)
        state = stock_arm.rows("follower", rig.follower.history("read", "Present_Position", since[0]))[-1]
        leader = stock_arm.rows("leader", rig.leader.history("read", "Present_Position", since[1]))[-1]
        goals = rig.follower.history("write", "Goal_Position", since[0])
    np.testing.assert_allclose(found.row["action"], leader / 2, rtol=1e-6)
    np.testing.assert_allclose(found.row["observation.state"], -state, rtol=1e-6)
    np.testing.assert_allclose(found.row["onbeat.sent_action"], leader, rtol=1e-6)
    stock_arm.assert_goals(goals, leader[None])
    code = frame_code.read(np.ascontiguousarray(found.pictures[0][::-1]))
    assert code is not None
    assert found.row["onbeat.cameras.front.seq"] > 0


@pytest.mark.parametrize(
    ("processors", "message"),
    [
        ("own_pipelines", "expected module:function"),
        ("no_such_module:f", "no_such_module"),
        ("own_pipelines:no_such_function", "no_such_function"),
        ("own_pipelines:two", "made 2 objects, expected the pipelines"),
    ],
)
def test_processors_that_cannot_be_are_refused_in_one_line(processors: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        make_pipelines(processors)
    assert "\n" not in str(caught.value)
