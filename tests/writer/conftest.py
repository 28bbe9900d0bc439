"""What every test of the writer starts from."""

from __future__ import annotations

from pathlib import Path

import pytest

from transport import ledger


@pytest.fixture(autouse=True)
def _own_ledgers(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of tests have the same name; those that run beside each other must not read each other's counts."""
    folder: Path = tmp_path_factory.mktemp("shm")
    monkeypatch.setattr(ledger, "_FOLDER", folder)
