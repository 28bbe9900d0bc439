"""How many frames of which episode control published, in memory that outlives every process of the session.

The log ring goes with its last process; this one page does not (only a reboot takes it), so that `onbeat recover` can
say exactly what was published and never became durable, when everything was killed at once: of the newest episode, and
of those before it whose end may not have been durable yet. One word a frame, no system call. Lies at
/dev/shm/onbeat-SESSION and is removed when all of the session is durable. The session's publisher keeps a lock on it
for as long as it lives: until then, what was published may still become durable.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_BYTES = 4096
_FOLDER = Path("/dev/shm")
_PUBLISHER, _MAGIC = 0, 1
_MADE = 0x31_52_45_47_44_45_4C  # "LEDGER1", little-endian; written last
# From here on, of the newest episodes: number and frames of each.
_TABLE, _EPISODES = 8, 128


class Ledger:
    """The writing side; `note` is called in the loop."""

    def __init__(self, session_id: str) -> None:
        """Make the page. Where the system has no such folder the counts stay in this process alone."""
        path = _path(session_id)
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError:
            fd = os.memfd_create("onbeat-ledger", os.MFD_CLOEXEC)
        try:
            os.posix_fallocate(fd, 0, _BYTES)
            self._words: NDArray[np.int64] = np.frombuffer(mmap.mmap(fd, _BYTES), np.int64)
        finally:
            os.close(fd)
        _table(self._words)[:] = -1
        self._words[_MAGIC] = _MADE

    def note(self, episode_id: int, frames: int) -> None:
        """So many frames of this episode are published."""
        words, at = self._words, _TABLE + episode_id % _EPISODES * 2
        # Frames first go to zero: a reader never sees an old count under a new episode.
        if words[at] != episode_id:
            words[at + 1] = 0
            words[at] = episode_id
        words[at + 1] = frames


def published(session_id: str) -> dict[int, int]:
    """Published frames by the numbers of the newest episodes; empty when nothing is known of the session here."""
    try:
        words = np.frombuffer(_path(session_id).read_bytes(), np.int64)
    except FileNotFoundError:
        return {}
    if len(words) * 8 != _BYTES or words[_MAGIC] != _MADE:
        return {}
    return {episode_id: frames for episode_id, frames in _table(words).tolist() if episode_id >= 0}


def hold(session_id: str) -> int | None:
    """Say that this process delivers the session: the descriptor that says so until it is closed, None for no page."""
    fd = _open(session_id)
    if fd is None:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # Nothing that a recording could end for.
        os.close(fd)
        return None
    os.pwrite(fd, np.int64(os.getpid()).tobytes(), _PUBLISHER * 8)
    return fd


def holder(session_id: str) -> int | None:
    """The process that delivers the session; None when there is none on this machine."""
    fd = _open(session_id)
    if fd is None:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return int(np.frombuffer(os.pread(fd, 8, _PUBLISHER * 8), np.int64)[0])
    finally:
        os.close(fd)
    return None


def forget(session_id: str) -> None:
    """Remove the page, once everything published is durable or accounted for."""
    _path(session_id).unlink(missing_ok=True)


def _open(session_id: str) -> int | None:
    try:
        return os.open(_path(session_id), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def _table(words: NDArray[np.int64]) -> NDArray[np.int64]:
    return words[_TABLE : _TABLE + 2 * _EPISODES].reshape(_EPISODES, 2)


def _path(session_id: str) -> Path:
    return _FOLDER / f"onbeat-{session_id}"
