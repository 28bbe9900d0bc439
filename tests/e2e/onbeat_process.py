"""Runs the real command and watches it: for tests that look at what is on disk afterwards."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

ONBEAT = str(Path(sys.executable).with_name("onbeat"))
# Small pictures and a codec that any machine sustains, for tests that are about something else.
QUICK = ("--env.kwargs={width: 160, height: 120}", "--dataset.rgb_encoder.vcodec=h264", "--env.seed=1")


class OnbeatProcess:
    """A running `onbeat`; leaving the context ends it and everything below it.

    Args:
        stdin: a file descriptor for standard input, such as a pseudo-terminal's.
    """

    def __init__(
        self, arguments: Sequence[str], home: Path, *, stdin: int | None = None, cwd: Path | None = None
    ) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "HF_HUB_OFFLINE": "1",
            "PYTHONUNBUFFERED": "1",
        }
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
            cwd=cwd or home,
            start_new_session=True,
        )
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> OnbeatProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for pid in [*self.descendants(), self._process.pid]:
            _kill(pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(10)
        assert self._process.stdout is not None
        self._process.stdout.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def output(self) -> str:
        with self._changed:
            return "".join(self._lines)

    def wait_for(self, pattern: str, limit_s: float = 60) -> re.Match[str]:
        """Wait until a line of the output matches."""
        deadline_s = time.monotonic() + limit_s
        with self._changed:
            while True:
                for line in self._lines:
                    if match := re.search(pattern, line):
                        return match
                left_s = deadline_s - time.monotonic()
                if left_s <= 0 or (self._process.poll() is not None and not self._reader.is_alive()):
                    raise AssertionError(f"no line matches {pattern!r} in:\n" + "".join(self._lines))
                self._changed.wait(min(left_s, 1))

    def finish(self, limit_s: float = 100) -> int:
        """Wait for its end; returns the exit code."""
        try:
            code = self._process.wait(limit_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {limit_s:g} s:\n{self.output}") from None
        self._reader.join(10)
        return code

    def pid_of(self, module: str, limit_s: float = 30) -> int:
        """The process below this one that runs `python -m module`, once there is one."""
        deadline_s = time.monotonic() + limit_s
        while time.monotonic() < deadline_s:
            for pid in self.descendants():
                if f"\0-m\0{module}\0" in _cmdline(pid):
                    return pid
            threading.Event().wait(0.02)
        raise AssertionError(f"no process runs {module}:\n{self.output}")

    def descendants(self) -> list[int]:
        """Process ids below this one, by parenthood."""
        parents = {int(path.name): _parent(int(path.name)) for path in Path("/proc").iterdir() if path.name.isdigit()}
        found, frontier = [], {self._process.pid}
        while frontier:
            frontier = {pid for pid, parent in parents.items() if parent in frontier}
            found += sorted(frontier)
        return found

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


def record(root: Path, home: Path, *arguments: str, quick: bool = True, stdin: int | None = None) -> OnbeatProcess:
    """`onbeat record` into `root`."""
    flags = (*(QUICK if quick else ()), f"--dataset.root={root}", *arguments)
    return OnbeatProcess([ONBEAT, "record", *flags], home, stdin=stdin)


def onbeat(home: Path, *arguments: str, limit_s: float = 100) -> tuple[int, str]:
    """Run a verb to its end; returns the exit code and the output."""
    with OnbeatProcess([ONBEAT, *arguments], home) as process:
        code = process.finish(limit_s)
        return code, process.output


def _kill(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _cmdline(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _parent(pid: int) -> int:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(stat.rpartition(")")[2].split()[1])
