"""The recording without journal, checksums and fsync, for `scripts/bench_journal.py` alone. Python imports this by
itself where the bench has put its folder on the path; nothing that is recorded this way can be committed.
"""

from collections.abc import Callable
from types import ModuleType
from typing import Any

import late_patches  # type: ignore[import-not-found] # on the path beside this file


def _nothing(*_: Any) -> None:
    return None


def _no_journal(module: ModuleType) -> None:
    for name in ("row", "packet", "extradata", "ended", "verdict", "flush", "sync", "finish"):
        setattr(module.JournalWriter, name, _nothing)


def _no_checksums(module: ModuleType) -> None:
    module.crc32 = lambda data: 0  # type: ignore[attr-defined]


_PATCHES: dict[str, Callable[[ModuleType], None]] = {
    "writer.journal": _no_journal,
    "transport.wire": _no_checksums,
    "transport.fetcher": _no_checksums,
}


late_patches.install(_PATCHES)
