"""Journals that prove nothing: nobody deletes them but whoever decides to drop them."""

from __future__ import annotations

import os
from pathlib import Path

import crashed
import numpy as np
import pytest
import stock

from writer import recover_cli
from writer.handshake import Session
from writer.journal_format import JournalHeader
from writer.journal_thread import JournalThread
from writer.keep import kept_dir
from writer.recording import Recording
from writer.resume import standing
from writer.workdir import work_dir


@pytest.fixture(autouse=True)
def spill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may find what this user's recordings left."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def spoil_header(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[120] ^= 1
    path.write_bytes(data)


def add_segment(made: Session, first_frame: int, frames: int) -> None:
    """Another segment of episode 0, as a writer that went on with it leaves it."""
    journal = JournalThread(made.folder, first_frame + 1, lambda: None, lambda: None)
    journal.start()
    cameras = [stream.key for stream in made.schema.pictures]
    header = JournalHeader(
        session_id=made.session_id,
        episode_id=0,
        task="lift the cube",
        segment=1,
        first_frame_index=first_frame,
        schema=made.schema.to_wire(),
        spec=made.spec.to_wire(),
        codec_options=made.codec.options,
        began_seq=None,
    )
    journal.begin(None, header, cameras, first_frame + 1)
    recording = Recording(0, made.schema, made.spec.fps, made.codecs, journal, lambda nbytes: None, frames=first_frame)
    rows = stock.rows(made.schema, first_frame + frames, 0)
    images = [stock.pictures(stream, first_frame + frames, 0) for stream in made.schema.pictures]
    for index in range(first_frame, first_frame + frames):
        pictures = [memoryview(np.ascontiguousarray(of[index])).cast("B") for of in images]
        recording.frame(index + 2, index, rows[index : index + 1].tobytes(), pictures)
    for encoder in recording._encoders or ():
        encoder.flush()
    recording.abandon()
    journal.stop(30)


@pytest.mark.parametrize("state", [crashed.RECORDING, crashed.KEPT, crashed.ABORTED])
def test_only_the_decision_to_drop_deletes_what_cannot_be_read(
    state: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "ds"
    made = crashed.session(root)
    crashed.leave(made, 0, 4, state)
    (segment,) = made.folder.path.rglob("segment-000.mcap")
    spoil_header(segment)
    before = segment.read_bytes()
    for _ in range(2):
        assert recover_cli.main([str(root), "--undecided=keep", "--aborted=keep"]) == 3
        output = capsys.readouterr().out
        assert f"{segment} is not a journal with a whole header" in output
        assert f"unread   {segment.parent} stays" in output
        assert "left 1" in output
        assert segment.read_bytes() == before
    assert recover_cli.main([str(root), "--undecided=drop", "--aborted=drop"]) == 3
    assert not segment.exists()
    assert not work_dir(root).exists()


def test_a_segment_that_stands_alone_is_not_deleted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "ds"
    made = crashed.session(root)
    crashed.leave(made, 0, 4, crashed.RECORDING)
    add_segment(made, 4, 3)
    folder = made.folder.episode("recording", 0)
    spoil_header(folder / "segment-000.mcap")
    before = {path.read_bytes() for path in folder.glob("*.mcap")}
    state = standing(made.folder)  # a writer takes the session up
    assert (state.durable_seq, state.open) == (0, None)
    assert {path.read_bytes() for path in folder.glob("*.mcap")} == before
    # The log still had all of it.
    crashed.leave(made, 0, 9, crashed.RECORDING)
    assert {path.read_bytes() for path in folder.glob("unread-*.mcap")} == before
    assert standing(made.folder).open.frames == 9  # type: ignore[union-attr]
    assert recover_cli.main([str(root), "--undecided=keep"]) == 3
    stock.assert_decodes(root, 1, 9)
    assert f"unread   its journals, a part of which cannot be read, are in {kept_dir(root)}" in capsys.readouterr().out
    assert before <= {path.read_bytes() for path in kept_dir(root).rglob("*.mcap")}


def test_what_a_kill_left_of_a_beginning_is_nothing(tmp_path: Path) -> None:
    made = crashed.session(tmp_path / "ds")
    folder = made.folder.episode("recording", 0)
    folder.mkdir()
    (folder / "segment-000.mcap.new").write_bytes(os.urandom(100))
    assert standing(made.folder).open is None
    assert not folder.exists()
