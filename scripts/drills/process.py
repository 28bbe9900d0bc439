"""Runs the real command and watches it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

ONBEAT = str(Path(sys.executable).with_name("onbeat"))


class OnbeatProcess:
    """A running `onbeat`; leaving the context ends it and everything that it started.

    Args:
        stdin: a file descriptor for standard input, such as a pseudo-terminal's.
        environment: added to the little that the process gets.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        home: Path,
        *,
        stdin: int | None = None,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        fixed = {"HOME": str(home), "HF_HUB_OFFLINE": "1", "PYTHONUNBUFFERED": "1"}
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL if stdin is None else stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**inherited, **fixed, **(environment or {})},
            cwd=cwd or home,
            start_new_session=True,
        )
        # Everything below inherits the session, also what loses its parent later.
        self._session = self._process.pid
        self._lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> OnbeatProcess:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill_all()
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

    def drain(self, limit_s: float = 100) -> None:
        """Wait until all that it started has ended."""
        deadline_s = time.monotonic() + limit_s
        while self.members():
            if time.monotonic() > deadline_s:
                names = [_cmdline(pid).replace("\0", " ") for pid in self.members()]
                raise AssertionError(f"still running after {limit_s:g} s: {names}\n{self.output}")
            threading.Event().wait(0.05)
        self._reader.join(10)

    def pid_of(self, module: str, limit_s: float = 30) -> int:
        """The process that runs `python -m module`, once there is one."""
        deadline_s = time.monotonic() + limit_s
        while time.monotonic() < deadline_s:
            if (found := self.find(module)) is not None:
                return found
            threading.Event().wait(0.005)
        raise AssertionError(f"no process runs {module}:\n{self.output}")

    def find(self, module: str) -> int | None:
        """As `pid_of`, without waiting."""
        return next((pid for pid in self.members() if f"\0-m\0{module}\0" in _cmdline(pid)), None)

    def members(self) -> list[int]:
        """Processes that are it or came from it, also when their parents are gone."""
        found = []
        for path in Path("/proc").iterdir():
            if path.name.isdigit():
                session, state = _session(int(path.name))
                if session == self._session and state != "Z":
                    found.append(int(path.name))
        return sorted(found)

    def kill_all(self) -> None:
        """SIGKILL to everything at once, as nearly as it can be done."""
        for _ in range(3):
            for pid in self.members():
                send(pid, signal.SIGKILL)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            with self._changed:
                self._lines.append(line)
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()


def send(pid: int, number: signal.Signals) -> None:
    """A signal to a process that may be gone."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _cmdline(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _session(pid: int) -> tuple[int, str]:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0, ""
    return int(fields[3]), fields[0]
