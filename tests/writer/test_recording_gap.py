"""An episode that lost records on the way: what came before the gap is still promised only once it is on disk."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import crashed
import numpy as np
import pytest
import stock

from writer import encoder
from writer.handshake import Session
from writer.journal_format import JournalHeader
from writer.journal_join import JoinedEpisode
from writer.journal_thread import JournalThread
from writer.recording import Recording
from writer.resume import read_episode

LIMIT_S = 30
SCHEMA = stock.schema(2)


@dataclass
class Live:
    """An episode in the middle: record 1 is its beginning, record 2 its frame 0."""

    session: Session
    journal: JournalThread
    recording: Recording
    moved: threading.Event

    def frames(self, first: int, count: int) -> None:
        rows = stock.rows(SCHEMA, 1)
        for index in range(first, first + count):
            pictures = [memoryview(np.full(stream.wire_nbytes, index, np.uint8)) for stream in SCHEMA.pictures]
            self.recording.frame(index + 2, index, rows.tobytes(), pictures)

    def until_durable(self, seq: int) -> None:
        deadline_s = time.monotonic() + LIMIT_S
        while self.journal.durable_seq < seq:
            assert time.monotonic() < deadline_s, f"durable up to {self.journal.durable_seq}, waited for {seq}"
            self.moved.wait(1)
            self.moved.clear()

    def on_disk(self) -> JoinedEpisode:
        """What a writer finds that starts after this one was killed."""
        joined = read_episode(self.session.folder, 0, "recording")
        assert joined is not None
        return joined


@contextmanager
def live(folder: Path) -> Iterator[Live]:
    made, moved = crashed.session(folder / "ds"), threading.Event()
    journal = JournalThread(made.folder, 0, moved.set, lambda: None)
    journal.start()
    header = JournalHeader(
        session_id=made.session_id, episode_id=0, task="t", segment=0, first_frame_index=0, schema=SCHEMA.to_wire(),
        spec=made.spec.to_wire(), codec_options={}, began_seq=1,
    )  # fmt: skip
    journal.begin(1, header, [stream.key for stream in SCHEMA.pictures], 0)
    recording = Recording(0, SCHEMA, stock.FPS, made.codecs, journal, lambda nbytes: None)
    try:
        yield Live(made, journal, recording, moved)
    finally:
        recording.abandon()
        journal.stop(LIMIT_S)


@pytest.fixture
def holding_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encoders give nothing before they are flushed, as with a lookahead longer than the episode."""
    encode, finish = encoder._Run.encode, encoder._Run.finish
    held: dict[encoder._Run, list[encoder._Picture]] = {}

    def hold(run: encoder._Run, picture: encoder._Picture) -> None:
        held.setdefault(run, []).append(picture)

    def give(run: encoder._Run) -> None:
        for picture in held.pop(run):
            encode(run, picture)
        finish(run)

    monkeypatch.setattr(encoder._Run, "encode", hold)
    monkeypatch.setattr(encoder._Run, "finish", give)


@pytest.mark.usefixtures("holding_back")
def test_a_gap_gets_the_frames_before_it_out_of_their_encoders(tmp_path: Path) -> None:
    """Nothing comes after it that would push them out, and the log waits for them."""
    with live(tmp_path) as episode:
        episode.frames(0, 15)
        episode.recording.lose("a test lost some")
        episode.frames(20, 5)
        episode.until_durable(26)
        found = episode.on_disk()
    assert (found.durable_frames, found.durable_seq) == (15, 16)


@pytest.mark.usefixtures("holding_back")
def test_a_gap_promises_nothing_that_is_still_in_an_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on = threading.Event()
    give = encoder._Run.finish

    def give_later(run: encoder._Run) -> None:
        assert go_on.wait(LIMIT_S)
        give(run)

    monkeypatch.setattr(encoder._Run, "finish", give_later)
    with live(tmp_path) as episode:
        episode.frames(0, 8)
        episode.recording.lose("a test lost some")
        episode.frames(20, 1)
        episode.journal.stop(LIMIT_S)
        promised, found = episode.journal.durable_seq, episode.on_disk()
        go_on.set()
    assert promised == found.durable_seq == 1


def test_an_encoder_that_fails_after_a_gap_does_not_hold_the_log_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(run: encoder._Run) -> None:
        raise ValueError("the codec is broken")

    monkeypatch.setattr(encoder._Run, "finish", fail)
    with live(tmp_path) as episode:
        episode.frames(0, 4)
        episode.recording.lose("a test lost some")
        for running in episode.recording._encoders or ():
            running.flush(LIMIT_S)
        episode.frames(20, 1)
        episode.until_durable(22)
    assert episode.recording.lacking == "a test lost some"
