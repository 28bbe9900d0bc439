"""A diagnosis for people: tables on a terminal, plain lines elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from control.doctor_figures import Diagnosis, Floor, LinkProbe, Load, State, Verdict, WriterSide
from control.robot_side import RobotSide

_GOOD, _BAD, _CAUTION, _FACT = "✓", "✗", "!", "·"
_STYLES = {_GOOD: "green", _BAD: "red", _CAUTION: "yellow", _FACT: "dim"}
_MARKS = {State.GOOD: _GOOD, State.MISSING: _CAUTION, State.FACT: _FACT}


def show(diagnosis: Diagnosis, console: Console) -> None:
    """Print everything, the verdict last."""
    load = diagnosis.load
    page = _Page(console)
    page.title(f"onbeat doctor: {load}")
    page.section("What this machine grants")
    page.rows((_MARKS[finding.state], finding.name, finding.found) for finding in diagnosis.machine)
    page.section(f"Wake-up floor: how late an empty tick begins, in µs ({diagnosis.floor.worst.hz} ticks/s)")
    page.columns(("", "p50", "p99", "p99.9", "max", "missed"), _floor_rows(diagnosis.floor))
    if load.cameras:
        page.section(f"Encoders: frames/s of each camera, {load.cameras} at once ({load.fps} wanted)")
        if diagnosis.writer.codecs:
            page.columns(("", "frames/s", "kB/frame", "MB/s in all", ""), _codec_rows(load, diagnosis.writer))
        else:
            page.rows([(_FACT, f"not measured: {diagnosis.writer.why_not_measured}")])
    if diagnosis.robot is not None:
        _robot(page, diagnosis.robot, load)
    page.section("Disk")
    page.rows((_FACT, line) for line in _disk_lines(diagnosis.writer))
    if diagnosis.link is not None:
        page.section("Writer")
        mark = _BAD if diagnosis.link.error else _FACT
        page.rows((mark, line) for line in _link_lines(diagnosis.link, load))
    page.section("Verdict")
    _verdict(page, load, diagnosis.verdict)


class _Page:
    """Rich's tables on a terminal; without one, the same as lines that a program can cut up."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._fancy = console.is_terminal

    def title(self, text: str) -> None:
        self._console.print(Text(text, style="bold"))

    def section(self, text: str) -> None:
        self._console.print()
        self._console.print(Text(text, style="bold cyan"))

    def rows(self, rows: Iterable[tuple[str, ...]], style: str = "") -> None:
        """Rows of a mark and one or two texts; the last one wraps beside the others."""
        grid = Table.grid(padding=(0, 1))
        for mark, *texts in rows:
            if self._fancy:
                words = (Text(text, style) for text in texts)
                grid.add_row("", Text(mark, _STYLES[mark]), *words)
            else:
                self._console.print(Text(f"  {mark} {': '.join(texts)}"), soft_wrap=True)
        if self._fancy:
            self._console.print(grid)

    def columns(self, names: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """A table; the first and the last column are text, the others figures."""
        table = Table(box=None, padding=(0, 2), header_style="dim")
        for index, name in enumerate(names):
            table.add_column(name, justify="right" if index > 0 and name else "left")
        for row in rows:
            if self._fancy:
                table.add_row(*(Text(cell) for cell in row))
                continue
            parts = [f"{name} {cell}" if name else cell for name, cell in zip(names, row, strict=True) if cell]
            self._console.print(Text(f"  {parts[0]}: {', '.join(parts[1:])}"), soft_wrap=True)
        if self._fancy:
            self._console.print(table)

    def command(self, text: str) -> None:
        """To be copied, so never wrapped by us."""
        self._console.print(Text(f"    {text}"), soft_wrap=True)


def _floor_rows(floor: Floor) -> Iterable[Sequence[str]]:
    for run in floor.runs:
        name = f"{'busy' if run.loaded else 'idle'}, {'SCHED_FIFO' if run.fifo else 'normal priority'}"
        late = run.lateness_us
        p999 = "-" if late.p999 is None else f"{late.p999:.0f}"
        yield name, f"{late.p50:.0f}", f"{late.p99:.0f}", p999, f"{late.max:.0f}", f"{run.missed / late.count:.1%}"


def _codec_rows(load: Load, writer: WriterSide) -> Iterable[Sequence[str]]:
    for codec in writer.codecs:
        total = codec.frame_bytes * load.fps * load.cameras / 1e6
        mark = "too slow" if codec.fps < load.fps else ""
        name = f"{codec.label}{' (chosen)' if codec.wanted else ''}"
        yield name, f"{codec.fps:.0f}", f"{codec.frame_bytes / 1e3:.0f}", f"{total:.1f}", mark


def _robot(page: _Page, robot: RobotSide, load: Load) -> None:
    page.section(f"The robot's cameras ({load.fps} pictures/s wanted) and buses (a read may take a quarter of a tick)")
    if robot.cameras:
        rows = [
            (
                rate.name,
                f"{rate.fps:.1f}",
                f"{rate.repeats} of {rate.ticks}",
                *([] if rate.suffices(load.fps) else ["too slow"]),
            )
            for rate in robot.cameras
        ]
        page.columns(("", "pictures/s", "repeats", ""), [(*row, "")[:4] for row in rows])
    if robot.buses:
        page.columns(
            ("", "reads", "p50 ms", "p99 ms", "failed", "too slow"),
            [
                (bus.name, f"{bus.reads}", _ms(bus.p50_ms), _ms(bus.p99_ms), f"{bus.failures}", f"{bus.slow}")
                for bus in robot.buses
            ],
        )
    page.rows((_CAUTION, text) for text in (*robot.said, *(bus.last_error for bus in robot.buses if bus.last_error)))
    page.rows((_FACT, f"the {section}'s bus cannot be measured by itself") for section in robot.unknown)


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _disk_lines(writer: WriterSide) -> Iterable[str]:
    disk = writer.disk
    if disk is None:
        yield f"not measured: {writer.why_not_measured}"
        return
    yield f"{disk.folder} ({disk.file_system}), {disk.free_bytes / 1e9:.1f} GB free"
    median, greatest = disk.sync_ms
    yield f"64 KB made durable: {median:.1f} ms at the median, {greatest:.1f} ms at most, of {disk.syncs}"
    if disk.write_bytes_per_s is not None:
        yield f"{disk.write_bytes_per_s / 1e6:.0f} MB/s for a file of {disk.written_bytes >> 20} MB, made durable"


def _link_lines(link: LinkProbe, load: Load) -> Iterable[str]:
    where = "on this machine" if link.same_machine else "elsewhere"
    if link.error:
        yield f"{link.address}: {link.error}"
        return
    yield f"{link.address} answers as a writer does, {where}"
    if link.connect_ms is not None:
        median, greatest = link.connect_ms
        yield f"TCP connect (one round trip): {median:.2f} ms at the median, {greatest:.2f} ms at most"
    if link.handshake_ms is not None:
        yield f"let in after {link.handshake_ms:.1f} ms"
    if link.interface and not link.same_machine:
        speed = link.interface_bytes_per_s
        nominal = "of unknown speed" if speed is None else f"nominally {speed / 1e6:.0f} MB/s"
        yield f"through {link.interface}, {nominal}; this load needs {load.bytes_per_s() / 1e6:.0f} MB/s"
    yield "throughput is not measured: a writer takes sessions only; `onbeat loadtest` runs one"


def _verdict(page: _Page, load: Load, verdict: Verdict) -> None:
    needs = [
        f"{verdict.bytes_per_s / 1e6:.1f} MB/s through the log ring and to the writer",
        f"5 s of log ring cost {verdict.ring_5s_bytes / 1e6:.0f} MB, the free memory holds {verdict.ring_s:.0f} s",
    ]
    if verdict.minutes is not None and verdict.encoded_bytes_per_s:
        hours, minutes = divmod(round(verdict.minutes), 60)
        needs.append(
            f"{verdict.encoded_bytes_per_s / 1e6:.1f} MB/s of video, the disk has room for {hours} h {minutes} min"
        )
    can = "can" if verdict.sustainable else "can NOT"
    answer = (_GOOD if verdict.sustainable else _BAD, f"{load} {can} be recorded here")
    page.rows([answer], style="bold")
    page.rows(
        [
            *((_BAD, text) for text in verdict.obstacles),
            *((_CAUTION, text) for text in verdict.cautions),
            *((_FACT, text) for text in needs),
        ]
    )
    if verdict.changes:
        page.section("To change, the most useful first" if not verdict.sustainable else "What would make it better")
        for change in verdict.changes:
            page.command(change)
    page.section("To be certain, run the load itself for a minute")
    page.command(verdict.rehearsal)
