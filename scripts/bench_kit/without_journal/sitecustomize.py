"""The recording without journal, checksums and fsync, for `scripts/bench_journal.py` alone. Python imports this by
itself where the bench has put its folder on the path; nothing that is recorded this way can be committed.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any


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


class _Finder(importlib.abc.MetaPathFinder):
    """Lets a module be imported as ever, then changes it."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        patch = _PATCHES.pop(name, None)
        if patch is None:
            return None
        spec = importlib.util.find_spec(name)
        assert spec is not None
        loader = spec.loader
        assert loader is not None
        run = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            run(module)
            patch(module)

        loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, _Finder())
