"""End-to-end tests share helpers that lie beside them."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a pseudo-terminal: what the person holds, and the command's standard input."""
    person, command = pty.openpty()
    yield person, command
    os.close(person)
    os.close(command)
