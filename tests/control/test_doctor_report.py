from __future__ import annotations

import io
from dataclasses import replace

import pytest
from doctor_cases import DISK, FLOOR, H264, LINK, LOAD, SVT, verdict
from rich.console import Console

from control.doctor_figures import Diagnosis, Finding, State, WriterSide
from control.doctor_report import show

MACHINE = (
    Finding("SCHED_FIFO", "not granted (rtprio limit 0, CAP_SYS_NICE no)", State.MISSING, "sudo grant it " * 12),
    Finding("clock", "tsc", State.GOOD),
)


def shown(diagnosis: Diagnosis, width: int | None = None) -> str:
    """On a terminal of so many columns, or without one."""
    out = io.StringIO()
    show(diagnosis, Console(file=out, force_terminal=width is not None, width=width, color_system=None))
    return out.getvalue()


def diagnosis(slow: bool = False) -> Diagnosis:
    codecs = (replace(SVT, fps=34), H264) if slow else (SVT, H264)
    found = verdict(machine=MACHINE, codecs=codecs, link=LINK)
    return Diagnosis(LOAD, MACHINE, FLOOR, WriterSide(codecs, DISK), LINK, found)


@pytest.mark.parametrize("width", [80, 120, None])
@pytest.mark.parametrize(("slow", "words"), [(True, "can NOT be recorded here"), (False, "can be recorded here")])
def test_the_verdict_is_said_in_words(slow: bool, words: str, width: int | None) -> None:
    assert f"4 cameras of 640x480 at 60 fps {words}" in shown(diagnosis(slow), width)


@pytest.mark.parametrize("width", [80, 120])
def test_a_terminal_is_not_overrun_except_by_commands(width: int) -> None:
    text = shown(diagnosis(slow=True), width)
    commands = [MACHINE[0].advice, H264.flags, "onbeat loadtest"]
    for line in text.splitlines():
        assert len(line) <= width or any(command in line for command in commands), line
    # What is to be copied is in one piece.
    assert MACHINE[0].advice in text


def test_without_a_terminal_every_fact_is_one_line() -> None:
    lines = shown(diagnosis()).splitlines()
    assert "  ! SCHED_FIFO: not granted (rtprio limit 0, CAP_SYS_NICE no)" in lines
    assert "  busy, normal priority: p50 1, p99 4000, p99.9 12000, max 20000, missed 0.0%" in lines
    assert "  libsvtav1 12 (chosen): frames/s 90, kB/frame 25, MB/s in all 6.0" in lines


def test_figures_of_too_few_ticks_are_not_shown() -> None:
    few = replace(FLOOR.runs[0], lateness_us=replace(FLOOR.runs[0].lateness_us, count=200, p999=None))
    text = shown(replace(diagnosis(), floor=replace(FLOOR, runs=(few,))))
    assert "p99.9 -" in text


def test_what_was_not_measured_says_why() -> None:
    text = shown(replace(diagnosis(), writer=WriterSide(elsewhere=True)))
    assert text.count("not measured: the writer's") == 2
