"""The writer's parent process: restarts, gives up, ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

from scripts.drills.process import ONBEAT, OnbeatProcess

LIMIT_S = 60


def writer(folder: Path, *flags: str) -> OnbeatProcess:
    command = [ONBEAT, "writer", "--bind=tcp://127.0.0.1:0", f"--root={folder / 'far'}", *flags]
    return OnbeatProcess(command, folder)


def _wait_listening(process: OnbeatProcess, times: int) -> None:
    deadline_s = time.monotonic() + LIMIT_S
    while process.output.count("listening at") < times:
        assert time.monotonic() < deadline_s, process.output
        threading.Event().wait(0.01)


def test_a_killed_ingest_is_started_again(tmp_path: Path) -> None:
    with writer(tmp_path) as process:
        _wait_listening(process, 1)
        first = process.pid_of("writer.ingest")
        os.kill(first, signal.SIGKILL)
        process.wait_for("writer.ingest ended with code -9; starting it again", LIMIT_S)
        _wait_listening(process, 2)
        assert process.pid_of("writer.ingest") != first


def test_a_child_that_keeps_dying_ends_the_writer_in_one_line(tmp_path: Path) -> None:
    with writer(tmp_path, "--once=true") as process:
        for times in range(1, 11):
            _wait_listening(process, times)
            os.kill(process.pid_of("writer.ingest"), signal.SIGKILL)
        assert process.finish(LIMIT_S) == 1
        process.drain(LIMIT_S)
        assert "onbeat: writer.ingest ended 10 times within a minute" in process.output
        assert "Traceback" not in process.output


def test_sigterm_ends_everything(tmp_path: Path) -> None:
    with writer(tmp_path) as process:
        _wait_listening(process, 1)
        os.kill(process.pid, signal.SIGTERM)
        assert process.finish(LIMIT_S) == 0
        process.drain(LIMIT_S)
        assert "Traceback" not in process.output
    assert not (tmp_path / "far").exists()
