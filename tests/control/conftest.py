"""What tests of HIL-SERL's robots start from."""

from __future__ import annotations

import signal
import warnings
from collections.abc import Iterator

import pytest

from transport.link import Link

# Each of them tells the guardian again.
_ATTEMPTS = 3


@pytest.fixture
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No display for MuJoCo, and lerobot's signal handler and warnings undone."""
    monkeypatch.setenv("MUJOCO_GL", "disable")
    handler = signal.getsignal(signal.SIGTERM)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        yield
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def guarded_link() -> Iterator[Link]:
    """To a supervisor whose guardian is there, however often a source is built."""
    ours, theirs = Link.pair()
    for _ in range(_ATTEMPTS):
        theirs.send({"guarded": True})
    yield ours
    ours.close()
    theirs.close()
