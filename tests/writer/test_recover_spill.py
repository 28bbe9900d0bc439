"""`onbeat recover` takes in what a publisher left in its spill folder."""

from __future__ import annotations

import zlib
from pathlib import Path

import crashed
import numpy as np
import pytest
import stock

from transport.records import EndReason, EpisodeBegan, EpisodeEnded, Event, Judgement, RecordKind, SessionEnded, Verdict
from transport.spill_files import SpillFiles
from transport.spill_format import RecordHeader
from writer import recover_cli
from writer.handshake import Session


class Spill:
    """Writes records as a publisher spills them."""

    def __init__(self, made: Session, folder: Path) -> None:
        self._made = made
        self.files = SpillFiles(folder / made.session_id, made.session_id, made.schema)

    def event(self, seq: int, event: Event) -> None:
        self._append(event.kind, seq, getattr(event, "episode_id", 0), 0, [event.pack()])

    def frames(self, seq: int, episode_id: int, first: int, last: int) -> None:
        """Frames `first` to `last`, the first of them record `seq`; they continue what `crashed.leave` journals."""
        rows = stock.rows(self._made.schema, last + 1, episode_id)
        images = [stock.pictures(stream, last + 1, episode_id) for stream in self._made.schema.pictures]
        for index in range(first, last + 1):
            parts = [rows[index : index + 1].tobytes(), *(np.ascontiguousarray(of[index]).tobytes() for of in images)]
            self._append(RecordKind.FRAME, seq + index - first, episode_id, index, parts)

    def _append(self, kind: RecordKind, seq: int, episode_id: int, frame_index: int, parts: list[bytes]) -> None:
        lengths, crcs = tuple(len(part) for part in parts), tuple(zlib.crc32(part) for part in parts)
        self.files.append(RecordHeader(kind, seq, episode_id, frame_index, lengths, crcs), parts)


def test_an_episode_goes_on_where_its_journal_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, folder = tmp_path / "ds", tmp_path / "spill"
    made = crashed.session(root)
    crashed.leave(made, 0, 4, crashed.RECORDING)  # records 1 (began) to 5 (frame 3)
    spill = Spill(made, folder)
    spill.frames(5, 0, 3, 9)  # record 5 is durable already
    spill.event(12, EpisodeEnded(0, 10, EndReason.SUCCESS))
    spill.event(13, Verdict(0, Judgement.KEEP))
    spill.event(14, EpisodeBegan(1, "lift the cube"))
    spill.frames(15, 1, 0, 5)
    spill.event(21, EpisodeEnded(1, 6, EndReason.SUCCESS))
    spill.event(22, Verdict(1, Judgement.KEEP))
    spill.event(23, SessionEnded())
    spill.files.close()
    assert recover_cli.main([str(root), f"--spill={folder}"]) == 0
    assert "published 16  durable 16  lost 0  committed 2" in capsys.readouterr().out
    stock.assert_decodes(root, 2, 16)
    assert list(folder.iterdir()) == []


def test_a_log_that_breaks_off_is_closed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, folder = tmp_path / "ds", tmp_path / "spill"
    made = crashed.session(root)
    crashed.leave(made, 0, 4, crashed.RECORDING)
    spill = Spill(made, folder)
    spill.frames(6, 0, 4, 7)
    spill.files.close()
    assert recover_cli.main([str(root), f"--spill={folder}", "--aborted=keep"]) == 0
    assert "aborted, published 8, durable 8, lost 0" in capsys.readouterr().out
    stock.assert_decodes(root, 1, 8)


def test_a_gap_before_the_spill_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, folder = tmp_path / "ds", tmp_path / "spill"
    made = crashed.session(root)
    crashed.leave(made, 0, 4, crashed.RECORDING)
    spill = Spill(made, folder)
    spill.frames(8, 0, 6, 9)  # frames 4 and 5 are nowhere
    spill.event(12, EpisodeEnded(0, 10, EndReason.SUCCESS))
    spill.event(13, Verdict(0, Judgement.KEEP))
    spill.event(14, SessionEnded())
    spill.files.close()
    assert recover_cli.main([str(root), f"--spill={folder}", "--aborted=keep"]) == 3
    output = capsys.readouterr().out
    assert "lost     episode 0 of session 01234567: frames 4 to 9" in output
    assert "published 10  durable 4  lost 6" in output
    stock.assert_decodes(root, 1, 4)


def test_other_sessions_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, folder = tmp_path / "ds", tmp_path / "spill"
    crashed.leave(crashed.session(root), 0, 4, crashed.KEPT)
    stranger = crashed.session(tmp_path / "other", "f" * 32)
    spill = Spill(stranger, folder)
    spill.event(1, EpisodeBegan(0, "lift the cube"))
    spill.files.close()
    assert recover_cli.main([str(root), f"--spill={folder}"]) == 0
    assert [path.name for path in folder.iterdir()] == ["f" * 32]
