"""Where undelivered records wait on the robot machine's disk: the folder, what kind of disk it is, and its space."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transport.errors import UsageError
from transport.spill import FLOOR_BYTES

# The first is memory, which the ring has used up already; the others end with the link that the spill is there for.
_IN_MEMORY = frozenset(["tmpfs", "ramfs", "devtmpfs"])
_REMOTE = frozenset(["nfs", "nfs4", "cifs", "smb3", "fuse.sshfs", "9p", "ceph", "glusterfs"])


@dataclass(frozen=True, slots=True)
class SpillPlace:
    """A folder that can be written, and what to tell the operator about it (empty: nothing)."""

    folder: Path
    warning: str
    room_bytes: int

    def too_small_for(self, max_bytes: int) -> str:
        """What to tell the operator when so much does not fit; empty when it does."""
        if self.room_bytes >= max_bytes:
            return ""
        return (
            f"the spill folder {self.folder} has room for {self.room_bytes / 1e9:.1f} GB, {max_bytes / 1e9:.1f} GB are "
            "allowed; free some, set --publisher.spill_dir, or set --publisher.spill_max_gb lower"
        )


def choose(asked: str | None, environment: Mapping[str, str], mounts: str | None = None) -> SpillPlace:
    """The folder for spill files.

    Args:
        asked: --publisher.spill_dir; None takes $XDG_STATE_HOME/onbeat/spill (~/.local/state by default), or
            /var/tmp/onbeat-UID where that is in memory, on the network or cannot be written.
        mounts: the text of proc(5)'s mountinfo; None reads it.

    Raises:
        UsageError: the folder cannot be written.
    """
    if mounts is None:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    if asked is not None:
        return _place(Path(asked).expanduser().absolute(), mounts)
    candidates = _default_folders(environment)
    places, failures = [], []
    for folder in candidates:
        try:
            places.append(_place(folder, mounts))
        except UsageError as error:
            failures.append(str(error))
            continue
        if not places[-1].warning:
            return places[-1]
    if not places:
        raise UsageError(f"{failures[0]}; set --publisher.spill_dir")
    return places[0]


def file_system(folder: Path, mounts: str) -> str:
    """The type of the file system that `folder` lies on, by the longest mount point above it."""
    found, longest = "", -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        mount = Path(re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), before.split(" ")[4]))
        # Of two mounts at one place the later one is seen.
        if folder.is_relative_to(mount) and len(mount.parts) >= longest:
            found, longest = after.split(" ")[0], len(mount.parts)
    return found


def _default_folders(environment: Mapping[str, str]) -> Sequence[Path]:
    state = environment.get("XDG_STATE_HOME") or str(Path(environment.get("HOME") or "~").expanduser() / ".local/state")
    return [Path(state) / "onbeat/spill", Path(f"/var/tmp/onbeat-{os.getuid()}/spill")]


def _place(folder: Path, mounts: str) -> SpillPlace:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        disk = os.statvfs(folder)
    except OSError as error:
        raise UsageError(f"the spill folder {folder} cannot be written: {error.strerror}") from error
    kind = file_system(folder.resolve(), mounts)
    warning = ""
    if kind in _IN_MEMORY:
        warning = f"the spill folder {folder} is memory ({kind}), which helps little; set --publisher.spill_dir"
    elif kind in _REMOTE:
        warning = f"the spill folder {folder} is on the network ({kind}); set --publisher.spill_dir"
    return SpillPlace(folder, warning, max(disk.f_bavail * disk.f_frsize - FLOOR_BYTES, 0))
