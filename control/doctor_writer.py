"""What the writer's side sustains, asked of a process that may import it (writer/probe.py), which control may not."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from typing import Any

from control.doctor_figures import CodecRate, Disk, WriterSide
from transport.errors import OnbeatError
from transport.link import Link, spawn

# For one codec or the disk. An encoder that takes longer to show a rate (libaom-av1 does) is not one to record with.
_LIMIT_S = 60.0


def measure_writer_side(
    wanted: Mapping[str, Any], progress: Callable[[str], None], limit_s: float = _LIMIT_S
) -> WriterSide:
    """Measure encoders and disk.

    Args:
        wanted: the configuration of writer/probe.py.

    Raises:
        OnbeatError: the process ended early.
    """
    process, link = spawn("writer.probe", wanted, die_with_parent=signal.SIGKILL)
    try:
        return _collect(link, progress, limit_s)
    finally:
        process.kill()
        process.wait()
        link.close()


def _collect(link: Link, progress: Callable[[str], None], limit_s: float) -> WriterSide:
    codecs: list[CodecRate] = []
    failures: list[str] = []
    disk: Disk | None = None
    now = "the process that measures"
    while True:
        try:
            answer = link.receive(limit_s)
        except TimeoutError:
            failures.append(f"{now}: no result within {limit_s:g} s, so not fast enough to record with")
            break
        if answer is None:
            raise OnbeatError("the process that measures codecs and disk ended early; see its message above")
        match answer[0]:
            case {"next": str(now)}:
                progress(now)
            case {"codec": fields}:
                codecs.append(CodecRate(**fields))
            case {"disk": fields}:
                disk = Disk(**{**fields, "sync_ms": tuple(fields["sync_ms"])})
            case {"failed": why}:
                failures.append(why)
            case _:
                break
    return WriterSide(tuple(codecs), disk, failures=tuple(failures))
