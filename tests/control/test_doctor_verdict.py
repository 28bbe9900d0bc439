from __future__ import annotations

from dataclasses import replace

import pytest
from doctor_cases import DISK, FLOOR, H264, LINK, LOAD, SVT, verdict, without_fifo
from hypothesis import given
from hypothesis import strategies as st

from control.camera_rate import CameraRate
from control.doctor_figures import Disk, Finding, LinkProbe, Load, State
from control.robot_side import BusRate, RobotSide
from transport.ring import LogRing


def test_a_machine_that_has_everything() -> None:
    found = verdict(link=LINK)
    assert found.sustainable
    assert (found.obstacles, found.cautions, found.changes) == ((), (), ())
    # 4 pictures of 640 * 480 * 3 bytes and two rows of six float32, 60 times a second.
    assert found.bytes_per_s == 60 * (4 * 921_600 + 48)
    assert found.encoded_bytes_per_s == 4 * 60 * 25e3
    assert found.minutes == pytest.approx((100e9 - 0.5e9) / (4 * 60 * 25e3) / 60)


def test_a_slow_codec_is_an_obstacle_and_the_faster_one_the_way_out() -> None:
    found = verdict(codecs=(replace(SVT, fps=40), H264))
    assert not found.sustainable
    assert found.obstacles == ("libsvtav1 encodes 40 frames/s a camera, 60 are needed",)
    assert found.changes[0].startswith(H264.flags)
    assert H264.flags in found.rehearsal


def test_a_codec_that_just_suffices_is_a_caution() -> None:
    found = verdict(codecs=(replace(SVT, fps=65), H264))
    assert found.sustainable
    assert len(found.cautions) == 1
    assert found.changes[0].startswith(H264.flags)
    assert SVT.flags in found.rehearsal


def test_where_no_codec_suffices_a_lower_rate_is_named_that_would() -> None:
    found = verdict(codecs=(replace(SVT, fps=10), replace(H264, fps=48)))
    assert not found.sustainable
    assert "--dataset.fps=40" in found.changes[0]
    assert H264.flags in found.changes[0]


def test_a_ring_that_does_not_fit_names_the_one_that_does() -> None:
    found = verdict(available_bytes=1_200_000_000)
    assert not found.sustainable
    (change,) = found.changes
    flag, _, seconds = change.partition("=")
    assert flag == "--publisher.ring_s"
    assert verdict(available_bytes=1_200_000_000, ring_s=float(seconds)).sustainable


@given(
    cameras=st.integers(0, 8),
    width=st.integers(1, 1920),
    fps=st.integers(1, 240),
    available_bytes=st.integers(0, 32_000_000_000),
)
def test_the_ring_that_is_said_to_fit_is_one_that_the_recorder_accepts(
    cameras: int, width: int, fps: int, available_bytes: int
) -> None:
    load = Load(cameras, width, 480, fps)
    codecs = (replace(SVT, fps=1e6),) if cameras else ()
    fits_s = verdict(load=load, codecs=codecs, available_bytes=available_bytes).ring_s
    if fits_s:
        assert load.ring_bytes(fits_s) <= 0.8 * available_bytes
    assert load.ring_bytes(fits_s + 1.5 / fps) > 0.8 * available_bytes


def test_bytes_of_a_ring_are_those_that_the_recorder_takes() -> None:
    load = Load(cameras=2, width=64, height=48, fps=30)
    assert LogRing.create(load.schema, seconds=2, fps=30).nbytes == load.ring_bytes(2)


@pytest.mark.parametrize(
    ("disk", "words"),
    [
        (replace(DISK, sync_ms=(1.0, 6000.0)), "6000 ms to be durable"),
        (replace(DISK, write_bytes_per_s=10e6), "the disk writes 10 MB/s"),
        (replace(DISK, free_bytes=400_000_000), "0.4 GB are free"),
    ],
)
def test_a_disk_that_does_not_do(disk: Disk, words: str) -> None:
    found = verdict(disk=disk)
    assert not found.sustainable
    assert words in found.obstacles[0]
    assert found.changes


@pytest.mark.parametrize(
    ("disk", "words"),
    [
        (replace(DISK, sync_ms=(1.0, 3000.0)), "half of what the ring holds"),
        (replace(DISK, file_system="tmpfs"), "is memory"),
        (replace(DISK, free_bytes=1_000_000_000), "1 minutes"),
    ],
)
def test_a_disk_that_will_be_felt(disk: Disk, words: str) -> None:
    found = verdict(disk=disk)
    assert found.sustainable
    assert words in found.cautions[0]


@pytest.mark.parametrize(
    ("link", "words"),
    [
        (replace(LINK, error="no connection (Connection refused)"), "Connection refused"),
        (replace(LINK, interface_bytes_per_s=125e6), "eth0 carries 125 MB/s at most, 221 are needed"),
    ],
)
def test_a_way_to_the_writer_that_does_not_do(link: LinkProbe, words: str) -> None:
    found = verdict(link=link)
    assert not found.sustainable
    assert words in found.obstacles[0]


def test_an_interface_of_unknown_speed_is_no_obstacle() -> None:
    assert verdict(link=replace(LINK, interface_bytes_per_s=None)).sustainable


@pytest.mark.parametrize(
    ("p99_us", "fps", "sustainable", "cautioned"),
    [(300, 60, True, False), (4000, 60, True, True), (4000, 200, True, True), (5000, 200, False, False)],
)
def test_lateness_is_weighed_against_the_tick(p99_us: float, fps: int, sustainable: bool, cautioned: bool) -> None:
    load = replace(LOAD, fps=fps)
    found = verdict(load=load, floor=without_fifo(FLOOR, p99_us), codecs=(replace(SVT, fps=1000),))
    assert found.sustainable is sustainable
    assert bool(found.cautions) is cautioned
    assert all("without SCHED_FIFO" in text for text in (*found.obstacles, *found.cautions))


def test_lateness_in_spite_of_fifo_is_not_put_down_to_a_setting() -> None:
    late = replace(FLOOR.runs[0], lateness_us=replace(FLOOR.runs[0].lateness_us, max=30_000.0))
    found = verdict(floor=replace(FLOOR, runs=(late, *FLOOR.runs[1:])))
    assert found.sustainable
    assert "30.0 ms late" in found.cautions[0]
    assert found.changes == ()


def test_what_is_missing_is_advised_once_and_after_what_is_in_the_way() -> None:
    missing = tuple(Finding(name, "not granted", State.MISSING, "give it") for name in ("SCHED_FIFO", "locked memory"))
    found = verdict(machine=missing, codecs=(replace(SVT, fps=40), H264))
    assert [change.split()[0] for change in found.changes] == [H264.flags.split()[0], "give"]


def test_without_cameras_no_codec_is_needed() -> None:
    found = verdict(load=replace(LOAD, cameras=0), codecs=())
    assert found.sustainable
    assert found.minutes is None


def test_what_could_not_be_measured_here_is_in_the_way_but_not_what_is_elsewhere() -> None:
    failed = verdict(codecs=(), failures=("codec 'nope' found",))
    assert failed.obstacles == ("codec 'nope' found",)
    remote = verdict(codecs=(), disk=None, link=LINK, elsewhere=True)
    assert remote.sustainable
    assert "on its machine as well" in remote.cautions[0]
    assert remote.minutes is remote.encoded_bytes_per_s is None


@pytest.mark.parametrize(
    ("camera_fps", "failures", "slow", "in_the_way", "cautioned"),
    [
        (60.0, 0, 0, "", ""),
        (59.0, 0, 0, "", ""),
        (30.0, 0, 0, "camera front delivers 30.0 pictures/s, expected 60", ""),
        (60.0, 2, 1, "", "of 300 reads of the robot's bus 2 failed and 1 took longer than a quarter of a tick, 4.2 ms"),
        (60.0, 20, 0, "of 300 reads of the robot's bus 20 failed; 6.7% of the frames", ""),
    ],
)
def test_a_robots_cameras_and_buses(
    camera_fps: float, failures: int, slow: int, in_the_way: str, cautioned: str
) -> None:
    bus = BusRate("robot", 300, 1.5, 1.9, failures, slow, 4.17)
    side = RobotSide((CameraRate("front", camera_fps, 0, 300),), (bus,), (1, 640, 480))
    found = verdict(load=replace(LOAD, cameras=1), robot=side)
    assert found.sustainable is (not in_the_way)
    assert "".join(found.obstacles).startswith(in_the_way)
    assert bool(found.obstacles) is bool(in_the_way)
    assert "".join(found.cautions).startswith(cautioned)
    assert bool(found.cautions) is bool(cautioned)
