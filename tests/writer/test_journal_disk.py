"""What the journal's thread does on a disk that is full, refuses or hangs."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ingest_harness import SCHEMA, Recorder, ingesting

from transport import messages as msg
from transport.dataset_spec import DatasetSpec
from transport.records import EndReason, EpisodeEnded, Judgement, RecordKind, Verdict
from writer import journal, open_session, workdir
from writer.encode_cost import EncodeRun
from writer.journal_format import JournalHeader
from writer.journal_join import to_finished
from writer.journal_thread import JournalThread
from writer.resume import read_episode
from writer.workdir import SessionDir

LIMIT_S = 20
SPEC = DatasetSpec("me/pick", 30)
ROW = bytes(SCHEMA.row_dtype.itemsize)


class Disk:
    """The writer's, which is full from a moment on that the test chooses; what has no file yet finds no room."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._full: Callable[[], bool] = lambda: False
        for owner, name in ((journal._File, "write"), (workdir, "write_json")):
            monkeypatch.setattr(owner, name, self._guarded(getattr(owner, name)))

    def fill(self, reserve: Path | None = None) -> None:
        """Until the reserve is deleted, or for good."""
        self._full = (lambda: True) if reserve is None else reserve.exists

    def _guarded(self, write: Callable[..., object]) -> Callable[..., object]:
        def guarded(*args: object) -> object:
            if self._full():
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return write(*args)

        return guarded


class Session:
    """A session without cameras, and its journal: record 1 is the beginning of episode 0."""

    def __init__(self, folder: Path) -> None:
        self.folder = SessionDir(folder / "ds", "0" * 32)
        self.folder.create({})
        self.said: list[str] = []
        self._moved = threading.Event()
        self.journal = JournalThread(self.folder, 0, self._moved.set, lambda: None, self.said.append)
        self.journal.start()
        header = JournalHeader(
            session_id=self.folder.session_id, episode_id=0, task="t", segment=0, first_frame_index=0,
            schema=SCHEMA.to_wire(), spec=SPEC.to_wire(), codec_options={}, began_seq=1,
        )  # fmt: skip
        self.journal.begin(1, header, [], 0)

    def frames(self, first: int, count: int) -> None:
        for index in range(first, first + count):
            self.journal.row(index + 2, index, ROW)

    def ended(self, frames: int) -> None:
        self.journal.ended(frames + 2, EpisodeEnded(0, frames, EndReason.SUCCESS))

    def judged(self, frames: int, judgement: Judgement = Judgement.KEEP) -> None:
        self.journal.verdict(frames + 3, Verdict(0, judgement))
        self.journal.session_ended(frames + 4)
        self.journal.stop(LIMIT_S)
        assert self.journal.durable_seq == frames + 4
        assert self.journal.session_over

    def until_durable(self, seq: int) -> None:
        deadline_s = time.monotonic() + LIMIT_S
        while self.journal.durable_seq < seq:
            assert time.monotonic() < deadline_s
            self._moved.wait(1)
            self._moved.clear()


def test_a_whole_episode_is_kept_on_a_disk_that_is_full_at_its_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk, session = Disk(monkeypatch), Session(tmp_path)
    session.frames(0, 3)
    session.ended(3)
    session.until_durable(5)
    disk.fill(session.folder.path / "reserve")
    session.judged(3)
    assert (session.folder.ready(), session.folder.open_recordings(), session.journal.left) == ([0], [], {})
    joined = read_episode(session.folder, 0, "ready")
    assert joined is not None
    assert len(to_finished(joined).rows) == 3
    assert "No space left" in session.journal.warning


def test_a_discarded_episode_is_discarded_also_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, session = Disk(monkeypatch), Session(tmp_path)
    session.ended(0)
    session.until_durable(2)
    disk.fill(session.folder.path / "reserve")
    session.judged(0, Judgement.DISCARD)
    assert session.folder.done()[0]["state"] == "discarded"
    assert session.folder.open_recordings() == []


def test_an_episode_whose_end_no_disk_takes_is_told_as_left_for_recover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(monkeypatch)
    with ingesting(tmp_path) as (address, _):
        recorder = Recorder(address)
        assert isinstance(recorder.hello(), msg.Welcome)
        recorder.record(1, RecordKind.EPISODE_BEGAN, (0, "t"))
        recorder.record(2, RecordKind.FRAME)
        recorder.record(3, RecordKind.FRAME, frame=1)
        recorder.record(4, RecordKind.EPISODE_ENDED, (0, 2, "success", ""))
        recorder.hear(msg.Status, durable_seq=4)
        disk.fill()
        recorder.record(5, RecordKind.VERDICT, (0, "keep"))
        recorder.record(6, RecordKind.SESSION_ENDED, ("",))
        final = recorder.hear(msg.Episode)
        assert (final.episode_id, final.state) == (0, "failed")
        assert "onbeat recover" in final.detail
        assert recorder.hear(msg.Status, durable_seq=6).finished
        recorder.close()
    (folder,) = (tmp_path / "me" / "pick.onbeat" / "sessions").iterdir()
    joined = read_episode(SessionDir(tmp_path / "me" / "pick", folder.name), 0, "recording")
    assert joined is not None
    assert (joined.durable_frames, joined.ended and joined.ended.frames) == (2, 2)


def test_figures_that_find_no_room_cost_no_episode(tmp_path: Path) -> None:
    session = Session(tmp_path)
    session.frames(0, 2)
    run = EncodeRun(0, 1, {})
    session.until_durable(3)
    (session.folder.episode("recording", 0) / f"{run.name()}.new").mkdir()  # nothing can be written there
    session.journal.note(run)
    session.ended(2)
    session.judged(2)
    assert session.folder.ready() == [0]
    assert session.journal.warning == ""
    (said,) = session.said
    assert said.startswith("the report lacks what encoding episode 0 cost: the writer's disk refused")


def test_an_episode_is_named_as_lacking_what_was_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk, session = Disk(monkeypatch), Session(tmp_path)
    session.frames(0, 3)
    session.until_durable(4)
    disk.fill(session.folder.path / "reserve")
    session.frames(3, 4)
    session.ended(7)
    session.judged(7)
    final = session.folder.done()[0]
    assert (final["state"], final["frames"], final["published"]) == ("aborted", 3, 7)
    assert final["detail"].startswith("frames from 3 on: the writer's disk refused")
    joined = read_episode(session.folder, 0, "aborted")
    assert joined is not None
    assert joined.durable_frames == 3


def test_a_hanging_disk_closes_the_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits for the journal counts like what waits for the encoders, so that it cannot fill the memory."""
    window_bytes = 10 * len(ROW)
    monkeypatch.setattr(open_session, "WINDOW_BYTES", window_bytes)
    hangs, goes_on = threading.Event(), threading.Event()
    sync = journal._File.sync

    def hang(file: journal._File) -> None:
        hangs.set()
        assert goes_on.wait(LIMIT_S)
        sync(file)

    with ingesting(tmp_path) as (address, _):
        recorder = Recorder(address)
        assert isinstance(recorder.hello(), msg.Welcome)
        recorder.record(1, RecordKind.EPISODE_BEGAN, (0, "t"))
        recorder.hear(msg.Status, durable_seq=1)
        monkeypatch.setattr(journal._File, "sync", hang)
        recorder.record(2, RecordKind.FRAME)
        assert hangs.wait(LIMIT_S)
        for index, (from_seq, rows) in enumerate([(4, 9), (5, 8)], 1):
            recorder.record(index + 2, RecordKind.FRAME, frame=index)
            assert asked(recorder, from_seq).max_bytes == rows * len(ROW)
        for index in range(3, 13):
            recorder.record(index + 2, RecordKind.FRAME, frame=index)
        assert asked(recorder, 15).max_bytes == 0
        goes_on.set()
        recorder.hear(msg.Status, durable_seq=14)
        assert recorder.hear(msg.Fetch, durable_seq=14).max_bytes == window_bytes
        recorder.close()


def asked(recorder: Recorder, from_seq: int) -> msg.Fetch:
    while (fetch := recorder.hear(msg.Fetch)).from_seq != from_seq:
        pass
    return fetch
