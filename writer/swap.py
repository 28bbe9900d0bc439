"""Exchange two folders in one step, so that at every moment a reader finds one of them whole."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

from transport.errors import UsageError
from writer.sync import sync_directory

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_libc = ctypes.CDLL(None, use_errno=True)


def exchange(one: Path, other: Path) -> None:
    """Give each folder the other's name; durable on return. Both must exist, on one file system.

    Raises:
        UsageError: the file system cannot.
        OSError: it failed.
    """
    result = _libc.renameat2(
        _AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), ctypes.c_uint(_RENAME_EXCHANGE)
    )
    if result != 0:
        number = ctypes.get_errno()
        if number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise UsageError(
                f"the file system of {one} cannot exchange two folders in one step, nothing was changed; copy the "
                "dataset to a local disk (ext4, xfs, btrfs) and compact it there"
            )
        raise OSError(number, os.strerror(number), str(one))
    sync_directory(one.parent)
    sync_directory(other.parent)
