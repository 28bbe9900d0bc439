"""The emulators are programs of the checkout's, not of an installed package."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parent)]


@pytest.fixture
def bench() -> Iterator[Path]:
    """A folder whose path is short enough for the names of sockets."""
    with tempfile.TemporaryDirectory(prefix="arm") as folder:
        yield Path(folder)
