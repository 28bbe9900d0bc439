"""What the processes of a run use: processor time all along, memory once."""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from pathlib import Path

_INTERVAL_S = 0.25
_CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
_RING = "memfd:onbeat-log"
_ROLES = {
    "transport.publisher": "publisher",
    "control.load_process": "control",
    "writer.local": "writer parent",
    "writer.ingest": "ingest",
    "writer.committer": "committer",
    "scripts.bench_kit.run_lerobot": "lerobot",
    "scripts.bench_kit.run_floor": "floor",
}


class Watch:
    """Follows a process and everything below it.

    Memory is read once, `memory_after_s` after the start: the kernel walks every page for it, which takes milliseconds.
    """

    def __init__(self, pid: int, memory_after_s: float) -> None:
        self._pid = pid
        self._memory_at_s = time.monotonic() + memory_after_s
        self._over = threading.Event()
        # By process: when it was looked at (CLOCK_MONOTONIC, s), and its processor time so far (s).
        self._cpu: dict[int, list[tuple[float, float]]] = defaultdict(list)
        self._roles: dict[int, str] = {}
        self.memory_mb: dict[str, float] = {}
        self._thread = threading.Thread(target=self._follow, name="watch", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join()

    def cpu_s(self, since_s: float) -> dict[str, float]:
        """Processor time by process since a moment of CLOCK_MONOTONIC, to its end."""
        used: dict[str, float] = defaultdict(float)
        for pid, samples in self._cpu.items():
            before = max((cpu_s for at_s, cpu_s in samples if at_s <= since_s), default=0.0)
            used[self._roles[pid]] += samples[-1][1] - before
        return dict(used)

    def _follow(self) -> None:
        while not self._over.wait(_INTERVAL_S):
            pids = _below(self._pid)
            for pid in pids:
                cpu_s = _cpu_s(pid)
                if cpu_s is not None:
                    # Between fork and exec a child looks like its parent, and once ended like nobody.
                    role = _role(pid)
                    if role is not None or pid not in self._roles:
                        self._roles[pid] = role or "others"
                    self._cpu[pid].append((time.monotonic(), cpu_s))
            if not self.memory_mb and time.monotonic() >= self._memory_at_s:
                self._read_memory(pids)

    def _read_memory(self, pids: list[int]) -> None:
        found: dict[str, float] = defaultdict(float)
        for pid in pids:
            ring_kb, other_kb = _proportional_kb(pid)
            found[self._roles.get(pid, "others")] += other_kb / 1024
            if ring_kb:
                found["ring"] += ring_kb / 1024
        self.memory_mb = {role: round(value, 1) for role, value in found.items()}


def _below(pid: int) -> list[int]:
    found, frontier = [], [pid]
    while frontier:
        current = frontier.pop()
        found.append(current)
        try:
            frontier += map(int, Path(f"/proc/{current}/task/{current}/children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def _role(pid: int) -> str | None:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return None
    for word in words:
        if word in _ROLES:
            return _ROLES[word]
    return "supervisor" if "loadtest" in words else None


def _cpu_s(pid: int) -> float | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return (int(fields[11]) + int(fields[12])) / _CLOCK_TICKS


def _proportional_kb(pid: int) -> tuple[int, int]:
    """PSS of the log ring's mapping and of everything else (proc(5), smaps)."""
    ring = other = 0
    of_ring = False
    try:
        lines = Path(f"/proc/{pid}/smaps").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError, PermissionError):
        return 0, 0
    for line in lines:
        name, _, rest = line.partition(":")
        if " " in name or "-" in name:  # the head of a mapping: addresses, permissions, file
            of_ring = _RING in line
        elif name == "Pss":
            kilobytes = int(rest.split()[0])
            if of_ring:
                ring += kilobytes
            else:
                other += kilobytes
    return ring, other
