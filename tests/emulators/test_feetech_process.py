"""The emulator as a process: how it begins, what it says, and that it always ends."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.emulators.feetech.arm import EmulatedArm

ROOT = Path(__file__).parents[2]
LIMIT_S = 30
MODULE = [sys.executable, "-m", "scripts.emulators.feetech"]


def test_it_prints_its_terminal_and_leaves_nothing_behind(bench: Path) -> None:
    link = bench / "arm"
    process = subprocess.Popen([*MODULE, f"--link={link}"], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    with process:
        assert process.stdout is not None
        terminal = process.stdout.readline().strip()
        assert Path(terminal).is_char_device()
        assert link.readlink() == Path(terminal)
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_S) == 0
    assert list(bench.iterdir()) == []


def test_it_ends_with_its_lifetime(bench: Path) -> None:
    run = subprocess.run(
        [*MODULE, f"--link={bench / 'arm'}", "--lifetime_s=0.1"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=LIMIT_S,
        check=True,
    )
    assert "its lifetime is over" in run.stderr
    assert list(bench.iterdir()) == []


def test_it_ends_with_its_parent(bench: Path) -> None:
    command = f"import subprocess; subprocess.run({[*MODULE, f'--link={bench / "arm"}']!r})"
    parent = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    with parent:
        assert parent.stdout is not None
        assert parent.stdout.readline()
        (child,) = (int(pid) for pid in Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split())
        emulator = os.pidfd_open(child)
        try:
            parent.kill()
            assert select.select([emulator], [], [], LIMIT_S)[0]
        finally:
            os.close(emulator)
    assert list(bench.iterdir()) == []


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ({"do": "explode"}, "explode"),
        ({"do": "put", "id": 77, "name": "Status", "value": 1}, "77"),
        ({"do": "put", "id": 1, "name": "Status", "value": 1000}, "OverflowError"),
        ({"do": "registers", "names": ["Colour"]}, "Colour"),
        ({"do": "faults", "silence": 2}, "fractions"),
    ],
)
def test_the_console_says_what_is_wrong_with_a_command(bench: Path, command: dict[str, object], message: str) -> None:
    with EmulatedArm("follower", bench) as arm:
        with pytest.raises(RuntimeError, match=message):
            arm.ask(**command)
        assert arm.ask("counts") == {"counts": {}}


@pytest.mark.parametrize("flag", ["--time_constant_s=0.01", '--faults={"silense": 1}', "--faults={", "--motors=7"])
def test_a_flag_that_makes_no_sense_is_refused(flag: str) -> None:
    run = subprocess.run([*MODULE, flag], capture_output=True, text=True, cwd=ROOT, timeout=LIMIT_S, check=False)
    assert run.returncode == 2
    assert flag.split("=")[0] in run.stderr
