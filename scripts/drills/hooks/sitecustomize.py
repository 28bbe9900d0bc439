"""Faults inside the product's processes. Python imports this by itself where a drill has put its folder on the path.

ONBEAT_DRILL is JSON: the fault's name → its arguments. The product knows nothing of it.
"""

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import late_patches  # type: ignore[import-not-found] # on the path beside this file

_PLAN: dict[str, Any] = json.loads(os.environ.get("ONBEAT_DRILL", "{}"))
# `python -m writer.ingest`: what this process is.
_PROGRAM = sys.orig_argv[sys.orig_argv.index("-m") + 1] if "-m" in sys.orig_argv else ""


def _kill_at_steps(module: ModuleType, folder: str) -> None:
    """Kill the process at each step of a commit that it has not been killed at before."""

    class Deadly(module.Committer):  # type: ignore[misc, name-defined]
        def __init__(self, root: Path, work_dir: Path, spec: Any, schema: Any) -> None:
            self._counts: dict[str, int] = {}
            self._episode = 0
            super().__init__(root, work_dir, spec, schema, self._die)

        def _die(self, step: str) -> None:
            intent = self._work_dir / "intent.json"
            if intent.exists():
                self._episode = json.loads(intent.read_text())["episode_index"]
            elif step in ("stage", "intent"):
                self._episode = len(self._record.episodes)
            self._counts[step] = self._counts.get(step, 0) + 1
            name = f"{min(self._episode, 1)} {step} {self._counts[step]}".replace("/", " ")
            try:
                Path(folder, name).touch(exist_ok=False)
            except FileExistsError:
                return
            # A committer that dies more than ten times a minute is rightly given up.
            time.sleep(2.5)
            os.kill(os.getpid(), signal.SIGKILL)

    module.Committer = Deadly  # type: ignore[attr-defined]


def _hold_commit(module: ModuleType, folder: str) -> None:
    """At the first step of the first commit, leave "there" in the folder and wait for "go", for a minute at most."""

    class Patient(module.Committer):  # type: ignore[misc, name-defined]
        def __init__(self, root: Path, work_dir: Path, spec: Any, schema: Any) -> None:
            super().__init__(root, work_dir, spec, schema, self._wait)

        def _wait(self, step: str) -> None:
            if not Path(folder, "there").exists():
                Path(folder, "there").touch()
                deadline_s = time.monotonic() + 60
                while not Path(folder, "go").exists() and time.monotonic() < deadline_s:
                    time.sleep(0.02)

    module.Committer = Patient  # type: ignore[attr-defined]


def _kill_over_a_journal(module: ModuleType, folder: str) -> None:
    """Kill the process when it has deleted half of a committed episode's journal, once for each episode."""
    drop = module.SessionDir.drop

    def deadly(session: Any, episode_id: int, state: str) -> None:
        mark = Path(folder, f"{min(episode_id, 1)} drop {session.session_id[:8]} {episode_id}")
        if state == "ready" and not mark.exists():
            mark.touch()
            for path in session.episode(state, episode_id).iterdir():
                path.unlink()
            time.sleep(2.5)
            os.kill(os.getpid(), signal.SIGKILL)
        drop(session, episode_id, state)

    module.SessionDir.drop = deadly


def _fail_encoder(module: ModuleType, frame_index: int) -> None:
    encode = module._Run.encode

    def failing(run: Any, picture: Any) -> None:
        if picture.frame_index == frame_index:
            raise RuntimeError("a drill made it fail")
        encode(run, picture)

    module._Run.encode = failing


def _stall_sync(after_s: float, stall_s: float) -> None:
    """From `after_s` on, the first write that is waited for takes `stall_s`."""
    sync, began_s, stalled = os.fdatasync, time.monotonic(), threading.Event()

    def slow(fd: int) -> None:
        if time.monotonic() > began_s + after_s and not stalled.is_set():
            stalled.set()
            time.sleep(stall_s)
        sync(fd)

    os.fdatasync = slow  # type: ignore[assignment]


def _step_clock(after_s: float, step_s: float) -> None:
    """From `after_s` on, wall clocks are `step_s` ahead."""
    now, now_ns, began_s = time.time, time.time_ns, time.monotonic()

    def ahead_s() -> float:
        return step_s if time.monotonic() > began_s + after_s else 0.0

    time.time = lambda: now() + ahead_s()
    time.time_ns = lambda: now_ns() + int(ahead_s() * 1e9)


def _install() -> None:
    patches: dict[str, Callable[[ModuleType], None]] = {}
    if _PROGRAM == "writer.committer" and "kill_at_steps" in _PLAN:
        folder = _PLAN["kill_at_steps"]
        patches["writer.commit"] = lambda module: _kill_at_steps(module, folder)
        patches["writer.workdir"] = lambda module: _kill_over_a_journal(module, folder)
    if _PROGRAM == "writer.committer" and "hold_commit" in _PLAN:
        held = _PLAN["hold_commit"]
        patches["writer.commit"] = lambda module: _hold_commit(module, held)
    if _PROGRAM == "writer.ingest" and "fail_encoder" in _PLAN:
        frame_index = _PLAN["fail_encoder"]
        patches["writer.encoder"] = lambda module: _fail_encoder(module, frame_index)
    if _PROGRAM == "writer.ingest" and "stall_sync" in _PLAN:
        _stall_sync(**_PLAN["stall_sync"])
    if "step_clock" in _PLAN:
        _step_clock(**_PLAN["step_clock"])
    if patches:
        late_patches.install(patches)


_install()
