"""What the kernel says of this machine and of this process's limits, read from /proc and /sys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

CAP_IPC_LOCK, CAP_SYS_NICE = 14, 23
# Columns of /proc/stat.
_IDLE, _IOWAIT, _STEAL = 3, 4, 7
_CGROUP = "/sys/fs/cgroup"


class Machine:
    """Typed views of the kernel's files.

    Args:
        root: `/`, or a folder that holds the `proc` and `sys` of another machine.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root

    def read(self, path: str) -> str:
        """A file's text without the space around it; empty where it is missing or not readable."""
        try:
            return (self._root / path.lstrip("/")).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return ""

    def read_all(self, folder: str, pattern: str) -> list[str]:
        """The texts of the files below `folder` whose paths match."""
        paths = sorted((self._root / folder.lstrip("/")).glob(pattern))
        return [self.read(str(path.relative_to(self._root))) for path in paths]

    def exists(self, path: str) -> bool:
        return (self._root / path.lstrip("/")).exists()

    # -- this process --------------------------------------------------------------------------------------------

    def capable(self, capability: int) -> bool:
        effective = re.search(r"^CapEff:\s*([0-9a-f]+)", self.read("/proc/self/status"), re.MULTILINE)
        return bool(effective and int(effective[1], 16) >> capability & 1)

    def soft_limit(self, name: str) -> int | None:
        """A limit by its name in /proc/self/limits, for example `Max locked memory`; None for unlimited."""
        found = re.search(rf"^{name}\s+(\S+)", self.read("/proc/self/limits"), re.MULTILINE)
        return int(found[1]) if found and found[1] != "unlimited" else None

    def may_lock(self, nbytes: int) -> bool:
        limit = self.soft_limit("Max locked memory")
        return limit is None or limit >= nbytes or self.capable(CAP_IPC_LOCK)

    def processors(self) -> str:
        """Those that this process may run on, as `0-3`."""
        allowed = re.search(r"^Cpus_allowed_list:\s*(\S+)", self.read("/proc/self/status"), re.MULTILINE)
        return allowed[1] if allowed else ""

    # -- the machine ---------------------------------------------------------------------------------------------

    def memory_bytes(self, name: str) -> int:
        """An entry of /proc/meminfo, for example `MemAvailable`; 0 where there is none."""
        found = re.search(rf"^{name}:\s+(\d+) kB", self.read("/proc/meminfo"), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0

    def available_bytes(self) -> int:
        """What can be allocated without swapping, within a container's limit."""
        limit = self.memory_left_bytes()
        free = self.memory_bytes("MemAvailable")
        return free if limit is None else min(free, limit)

    def stolen_fraction(self, before: str, after: str) -> float:
        """How much of the processors' time the host of this virtual machine took between two reads of /proc/stat."""
        passed = _passed(before, after)
        return passed[_STEAL] / sum(passed) if sum(passed) else 0.0

    def busy_processors(self, before: str, after: str) -> float:
        """How many processors were at work between two reads of /proc/stat."""
        passed = _passed(before, after)
        if not sum(passed):
            return 0.0
        count = len(re.findall(r"^cpu\d", after, re.MULTILINE))
        return count * (1 - (passed[_IDLE] + passed[_IOWAIT]) / sum(passed))

    # -- limits of a container or service ------------------------------------------------------------------------

    def memory_left_bytes(self) -> int | None:
        """What is left of the tightest memory limit; None without one."""
        left = [
            int(limit) - int(used)
            for folder in self._groups("memory")
            for limit, used in (
                (self.read(f"{folder}/memory.max"), self.read(f"{folder}/memory.current")),
                (self.read(f"{folder}/memory.limit_in_bytes"), self.read(f"{folder}/memory.usage_in_bytes")),
            )
            # Version 1 says "no limit" with the greatest number of pages.
            if limit.isdecimal() and used.isdecimal() and int(limit) < 1 << 60
        ]
        return max(min(left), 0) if left else None

    def cpu_quota(self) -> float | None:
        """How many processors' time may be used; None without a limit."""
        quotas = [
            int(quota) / int(period)
            for folder in self._groups("cpu")
            for quota, period in (
                (self.read(f"{folder}/cpu.max").split() or ("", ""))[:2],
                (self.read(f"{folder}/cpu.cfs_quota_us"), self.read(f"{folder}/cpu.cfs_period_us")),
            )
            if quota.isdecimal() and period.isdecimal()
        ]
        return min(quotas, default=None)

    def _groups(self, controller: str) -> Iterator[str]:
        """Folders of this process's control groups, from its own up to the root (which is its own in a container)."""
        for line in self.read("/proc/self/cgroup").splitlines():
            number, controllers, path = line.split(":", 2)
            if number != "0" and controller not in controllers.split(","):
                continue
            base = _CGROUP if number == "0" else f"{_CGROUP}/{controller}"
            for part in (PurePosixPath(path), *PurePosixPath(path).parents):
                yield base + str(part).rstrip("/")


def _passed(before: str, after: str) -> list[int]:
    """Clock ticks by column of the first line of /proc/stat; guests' are in the first columns already."""
    first, last = ([int(word) for word in text.splitlines()[0].split()[1:9]] for text in (before, after))
    return [late - early for early, late in zip(first, last, strict=True)]
