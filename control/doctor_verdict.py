"""From what was measured to one verdict for the wanted load. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field

from control.camera_rate import complaint
from control.doctor_figures import Finding, Floor, LinkProbe, Load, State, Verdict, WriterSide
from control.robot_side import RobotSide

# Encoders, publisher and loop share the machine: a rate that is just reached alone is not reached in company.
_MARGIN = 1.2
# What one killed ingest process costs the ring: its restart, and what was not yet synced.
_MIN_RING_S = 2.0
# Of the free memory; the ring refuses more.
_RING_SHARE = 0.8
_JITTER_US = 1_000.0
_MIN_MINUTES = 10.0
_SYNC_INTERVAL_S = 0.25
# Of all reads of a bus; three in a row end an episode, which at this part happens within minutes.
_MAX_LOST_READS = 0.05


@dataclass
class _Notes:
    obstacles: list[str] = field(default_factory=list)
    cautions: list[str] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)

    def change(self, text: str) -> None:
        if text and text not in self.changes:
            self.changes.append(text)


def judge(
    load: Load,
    machine: tuple[Finding, ...],
    floor: Floor,
    writer: WriterSide,
    link: LinkProbe | None,
    *,
    available_bytes: int,
    ring_s: float,
    min_free_bytes: int,
    robot: RobotSide | None = None,
) -> Verdict:
    """Weigh everything.

    Args:
        available_bytes: memory that can be allocated without swapping.
        ring_s: seconds of ring that are wanted.
        min_free_bytes: of the disk, at which a session ends.
    """
    notes = _Notes()
    encoded = _encoders(load, writer, notes)
    fits_s = _ring(load, available_bytes, ring_s, notes)
    minutes = _disk(load, writer, encoded, min(ring_s, fits_s), min_free_bytes, notes)
    if link is not None:
        _network(load, link, notes)
    if robot is not None:
        _robot(load, robot, notes)
    _timing(load, floor, notes)
    for finding in machine:
        if finding.state is State.MISSING:
            notes.change(finding.advice)
    return Verdict(
        sustainable=not notes.obstacles,
        ring_s=fits_s,
        ring_5s_bytes=load.ring_bytes(5),
        bytes_per_s=load.bytes_per_s(),
        encoded_bytes_per_s=encoded,
        minutes=minutes,
        rehearsal=_rehearsal(load, writer, link),
        obstacles=tuple(notes.obstacles),
        cautions=tuple(notes.cautions),
        changes=tuple(notes.changes),
    )


def _encoders(load: Load, writer: WriterSide, notes: _Notes) -> float | None:
    """Encoded bytes per second of the wanted codec, None where it was not measured."""
    wanted = writer.wanted
    if writer.elsewhere:
        notes.cautions.append("codecs and disk are the writer's: run `onbeat doctor` on its machine as well")
    notes.obstacles.extend(writer.failures)
    if wanted is None:
        return 0.0 if not load.cameras else None
    if wanted.fps < _MARGIN * load.fps:
        text = f"{wanted.name} encodes {wanted.fps:.0f} frames/s a camera"
        others = [codec for codec in writer.codecs if codec.fps > wanted.fps]
        # The first that suffices, in the order of preference; else the fastest.
        enough = [codec for codec in others if codec.fps >= _MARGIN * load.fps] or [
            codec for codec in others if codec.fps >= load.fps
        ]
        if enough:
            notes.change(f"{enough[0].flags}   # {enough[0].fps:.0f} frames/s a camera")
        elif wanted.fps < load.fps:
            best = max(writer.codecs, key=lambda codec: codec.fps)
            notes.change(f"--dataset.fps={max(int(best.fps / _MARGIN), 1)} {best.flags}, or smaller pictures")
        if wanted.fps < load.fps:
            notes.obstacles.append(f"{text}, {load.fps} are needed")
        else:
            notes.cautions.append(f"{text}, hardly more than the {load.fps} needed, and loop and publisher work too")
    return wanted.frame_bytes * load.fps * load.cameras


def _rehearsal(load: Load, writer: WriterSide, link: LinkProbe | None) -> str:
    parts = [
        "onbeat loadtest",
        f"--load.cameras={load.cameras} --load.width={load.width} --load.height={load.height} --load.fps={load.fps}",
    ]
    chosen = writer.wanted
    if chosen is not None and chosen.fps < load.fps:
        chosen = next((codec for codec in writer.codecs if codec.fps >= load.fps), chosen)
    if chosen is not None:
        parts.append(chosen.flags)
    if link is not None:
        parts.append(f"--writer.address={link.address}")
    return " ".join(parts)


def _ring(load: Load, available_bytes: int, ring_s: float, notes: _Notes) -> float:
    """Seconds of ring that fit."""
    fits_s = load.ring_seconds(_RING_SHARE * available_bytes)
    if fits_s < _MIN_RING_S:
        notes.obstacles.append(
            f"the free memory holds {fits_s:.1f} s of log ring; a restarted writer needs {_MIN_RING_S:g} s"
        )
        notes.change("free memory, or fewer or smaller cameras")
    elif fits_s < ring_s:
        notes.obstacles.append(f"{ring_s:g} s of log ring do not fit into the free memory, {fits_s:.1f} s do")
        notes.change(f"--publisher.ring_s={int(fits_s * 10) / 10:g}")
    return fits_s


def _disk(
    load: Load, writer: WriterSide, encoded: float | None, ring_s: float, min_free_bytes: int, notes: _Notes
) -> float | None:
    """Minutes of the load that the disk holds."""
    disk = writer.disk
    if disk is None:
        return None
    stall_s = disk.sync_ms[1] / 1e3 + _SYNC_INTERVAL_S
    if stall_s > ring_s:
        notes.obstacles.append(f"one write took {disk.sync_ms[1]:.0f} ms to be durable, the ring holds {ring_s:.1f} s")
        notes.change("--root=DIR on a faster disk")
    elif stall_s > ring_s / 2:
        notes.cautions.append(f"one write took {disk.sync_ms[1]:.0f} ms to be durable, half of what the ring holds")
    if disk.file_system in ("tmpfs", "ramfs"):
        notes.cautions.append(f"{disk.folder} is memory ({disk.file_system}): a restart of the machine empties it")
    if encoded is None:
        return None
    # An episode is written twice, as journal and as video, before the first is deleted.
    if disk.write_bytes_per_s is not None and disk.write_bytes_per_s < 2 * encoded:
        notes.obstacles.append(
            f"the disk writes {disk.write_bytes_per_s / 1e6:.0f} MB/s, twice {encoded / 1e6:.0f} are needed"
        )
        notes.change("--root=DIR on a faster disk")
    room = disk.free_bytes - min_free_bytes
    minutes = max(room, 0) / encoded / 60 if encoded else None
    if room <= 0:
        notes.obstacles.append(f"{disk.free_bytes / 1e9:.1f} GB are free, a session ends at {min_free_bytes / 1e9:g}")
        notes.change(f"free disk space below {disk.folder}, or --root=DIR elsewhere")
    elif minutes is not None and minutes < _MIN_MINUTES:
        notes.cautions.append(f"the disk holds {minutes:.0f} minutes of this load")
    return minutes


def _network(load: Load, link: LinkProbe, notes: _Notes) -> None:
    if link.error:
        notes.obstacles.append(f"writer at {link.address}: {link.error}")
        return
    nominal = link.interface_bytes_per_s
    if nominal is not None and nominal < load.bytes_per_s():
        notes.obstacles.append(
            f"{link.interface} carries {nominal / 1e6:.0f} MB/s at most, {load.bytes_per_s() / 1e6:.0f} are needed"
        )
        notes.change("a faster network, fewer or smaller cameras, or record to a disk of this machine")


def _robot(load: Load, robot: RobotSide, notes: _Notes) -> None:
    slow = [rate for rate in robot.cameras if not rate.suffices(load.fps)]
    if slow:
        notes.obstacles.append(complaint(slow, load.fps))
        notes.change(f"--dataset.fps={max(int(min(rate.fps for rate in slow)), 1)}")
    for bus in robot.buses:
        if not bus.lost_part:
            continue
        text = f"of {bus.reads} reads of the {bus.name}'s bus {bus.failures} failed"
        if bus.slow:
            text += f" and {bus.slow} took longer than a quarter of a tick, {bus.limit_ms:.1f} ms"
        text += f"; {bus.lost_part:.1%} of the frames would repeat a value"
        (notes.obstacles if bus.lost_part > _MAX_LOST_READS else notes.cautions).append(text)
        notes.change(f"the {bus.name}'s cable and power, or a lower --dataset.fps")


def _timing(load: Load, floor: Floor, notes: _Notes) -> None:
    worst = floor.worst
    late = worst.lateness_us
    how = "with SCHED_FIFO" if worst.fifo else "without SCHED_FIFO"
    if late.p99 >= load.period_us:
        notes.obstacles.append(
            f"beside other work and {how}, 1 % of the ticks begin {late.p99 / 1e3:.1f} ms late, a tick has "
            f"{load.period_us / 1e3:.1f} ms"
        )
    elif late.p99 >= _JITTER_US:
        notes.cautions.append(f"beside other work and {how}, 1 % of the ticks begin {late.p99 / 1e3:.1f} ms late")
    latest_us = max((run.lateness_us.max for run in floor.runs if run.fifo), default=0.0)
    if latest_us >= _JITTER_US:
        notes.cautions.append(
            f"even with SCHED_FIFO a tick began {latest_us / 1e3:.1f} ms late: the host of a virtual machine or the "
            "firmware took the processor away, which no setting of this system changes"
        )
