"""The fast subset of the fault drills; `make drills` runs all of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.drills.__main__ import run_one
from scripts.drills.registry import Drill, drills
from scripts.drills.stock_reader import StockReader

SEED = 20_261
_NEEDS_MOUNT = frozenset(["disk-full-floor"])


@pytest.fixture(scope="module")
def stock() -> Iterator[StockReader]:
    """One stock LeRobot for all drills: importing it takes longer than most of them."""
    reader = StockReader()
    yield reader
    reader.close()


def _marks(found: Drill) -> list[pytest.MarkDecorator]:
    needs_root = found.name in _NEEDS_MOUNT and os.geteuid() != 0
    return [pytest.mark.skip(reason="mounting a small file system needs root")] if needs_root else []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "found", [pytest.param(found, id=found.name, marks=_marks(found)) for found in drills() if found.fast]
)
def test_nothing_is_lost(found: Drill, stock: StockReader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[2])
    result = run_one(found, SEED, stock, None, keep=False)
    assert result.passed, result.notes
    assert result.published > 0


def test_there_are_enough_drills_and_their_names_are_told() -> None:
    found = list(drills())
    assert len([each for each in found if not each.soak]) >= 30
    assert all(each.about.endswith(".") for each in found)
