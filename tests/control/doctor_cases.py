"""Measurements of an imaginary machine on which everything is well, to be made worse one by one."""

from __future__ import annotations

from dataclasses import replace

from control.doctor_figures import CodecRate, Disk, Finding, Floor, FloorRun, LinkProbe, Load, Verdict, WriterSide
from control.doctor_verdict import judge
from control.robot_side import RobotSide
from transport.timing import Figures

LOAD = Load(cameras=4, width=640, height=480, fps=60)
SVT = CodecRate("libsvtav1", "--dataset.rgb_encoder.vcodec=libsvtav1 --dataset.rgb_encoder.preset=12", 90, 25e3, True)
H264 = CodecRate("h264", "--dataset.rgb_encoder.vcodec=h264 --dataset.rgb_encoder.preset=ultrafast", 400, 11e3)
DISK = Disk("/data", "ext4", 100_000_000_000, (0.5, 4.0), 20, 300e6, 256 << 20)
FLOOR = Floor(
    tuple(
        FloorRun(loaded, fifo, 2000, 0, Figures(10_000, 1.0, p99, 3 * p99, 5 * p99))
        for loaded, fifo, p99 in [(False, True, 3.0), (False, False, 40.0), (True, True, 5.0), (True, False, 4000.0)]
    ),
    {"SCHED_FIFO priority 50": "yes"},
)
LINK = LinkProbe(
    "tcp://192.0.2.7:5757",
    connect_ms=(0.2, 0.4),
    handshake_ms=1.1,
    interface="eth0",
    interface_bytes_per_s=1.25e9,
)


def verdict(
    *,
    load: Load = LOAD,
    machine: tuple[Finding, ...] = (),
    floor: Floor = FLOOR,
    codecs: tuple[CodecRate, ...] = (SVT, H264),
    disk: Disk | None = DISK,
    link: LinkProbe | None = None,
    elsewhere: bool = False,
    failures: tuple[str, ...] = (),
    available_bytes: int = 16_000_000_000,
    ring_s: float = 5,
    robot: RobotSide | None = None,
) -> Verdict:
    return judge(
        load,
        machine,
        floor,
        WriterSide(codecs, disk, elsewhere, failures),
        link,
        available_bytes=available_bytes,
        ring_s=ring_s,
        min_free_bytes=500_000_000,
        robot=robot,
    )


def without_fifo(floor: Floor, p99_us: float) -> Floor:
    runs = tuple(
        replace(run, lateness_us=replace(run.lateness_us, p99=p99_us)) if run.loaded else run
        for run in floor.runs
        if not run.fifo
    )
    return Floor(runs, {"SCHED_FIFO priority 50": "not permitted"})
