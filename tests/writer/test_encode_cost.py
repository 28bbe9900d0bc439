"""Figures beside the journal never keep an episode from being committed."""

from __future__ import annotations

from pathlib import Path

from writer.encode_cost import EncodeRun, read_runs


def test_runs_come_in_order_and_torn_ones_are_said(tmp_path: Path) -> None:
    runs = [EncodeRun(0, 5, {"front": [1, 2]}), EncodeRun(7, 9, {"front": [3]})]
    for run in reversed(runs):
        run.leave(tmp_path)
    (tmp_path / EncodeRun(3, 0, {}).name()).write_bytes(b"")
    (tmp_path / EncodeRun(4, 0, {}).name()).write_bytes(b'{"first_fra')
    (tmp_path / f"{EncodeRun(9, 0, {}).name()}.new").write_bytes(b"{")
    said: list[str] = []
    assert read_runs(tmp_path, said.append) == tuple(runs)
    assert len(said) == 2
    assert all("is torn" in line and "the recording lacks nothing" in line for line in said)
