"""Who may change a session's spill folder: its publisher for as long as that lives, afterwards one `onbeat recover`."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

LOCK = "lock"
# A file system that knows no locks keeps nobody from spilling.
_NO_LOCKS = frozenset([errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])


class SpillLock:
    """Held through a file lock on `folder`/lock, so it is gone when its holder dies; the text is the holder's PID."""

    def __init__(self, folder: Path) -> None:
        """Take the lock; the folder comes into being.

        Raises:
            BlockingIOError: a live process has it, which the message names.
            OSError: the folder cannot be written.
        """
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = folder / LOCK
        while True:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(self._fd, 32, 0).decode(errors="replace").strip()
                os.close(self._fd)
                raise BlockingIOError(errno.EWOULDBLOCK, f"in use by process {holder}") from error
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    os.close(self._fd)
                    raise
            # The holder before us may have removed the file that we opened; then it guards nothing.
            if path.exists() and os.path.samestat(os.fstat(self._fd), path.stat()):
                break
            os.close(self._fd)
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        os.close(self._fd)
