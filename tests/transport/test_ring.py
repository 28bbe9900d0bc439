"""The log ring against a model, across mappings, and under deaths and limits of the machine."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from wire_strategies import EVENTS, small_schema

from transport.errors import LogError
from transport.records import (
    EndReason,
    EpisodeBegan,
    EpisodeEnded,
    Event,
    Judgement,
    RecordKind,
    SessionEnded,
    Verdict,
    unpack_event,
)
from transport.ring import LogRing
from transport.ring_layout import event_bytes
from transport.ring_memory import RESERVED_SLOTS
from transport.schema import HWC, Kind, Schema, Stream

SCHEMA = small_schema(2, height=5, width=7)
LIMIT_S = 30


class RingMachine(RuleBasedStateMachine):
    """One list is the truth: the records as they were appended."""

    @initialize(frames=st.integers(1, 12))
    def create(self, frames: int) -> None:
        self.control = self.publisher = LogRing.create(SCHEMA, seconds=frames, fps=1)
        assert self.control.slot_count == max(frames, 4) + RESERVED_SLOTS
        self.log: list[tuple[int, int] | Event] = []
        self.tail = 1
        self.epoch = 0

    def teardown(self) -> None:
        if hasattr(self, "control"):
            os.close(self.control.fd)

    @property
    def held(self) -> int:
        return len(self.log) + 1 - self.tail

    @rule()
    def publisher_attaches(self) -> None:
        self.publisher = LogRing.attach(self.control.fd, SCHEMA)

    @rule()
    def control_attaches(self) -> None:
        """Not what control ever does; what its publisher does after its death."""
        self.control = LogRing.attach(self.publisher.fd, SCHEMA)

    @rule(count=st.integers(1, 15), episode_id=st.integers(0, 1 << 40), first=st.integers(0, 1 << 40))
    def append_frames(self, count: int, episode_id: int, first: int) -> None:
        for frame_index in range(first, first + count):
            slot = self.control.next_slot()
            full = self.held >= self.control.slot_count - RESERVED_SLOTS
            assert (slot is None) == full
            if slot is None:
                return
            seq = len(self.log) + 1
            slot.row["action"] = (seq, frame_index % 97)
            slot.pictures[0][:] = seq % 256
            slot.pictures[1][:] = 255 - seq % 256
            assert self.control.append_frame(episode_id, frame_index) == seq
            self.log.append((episode_id, frame_index))

    @rule(event=EVENTS, times=st.integers(1, 3))
    def append_events(self, event: Event, times: int) -> None:
        for _ in range(times):
            full = self.held >= self.control.slot_count
            seq = self.control.append_event(event)
            assert seq == (None if full else len(self.log) + 1)
            if not full:
                self.log.append(event)

    @rule(beyond=st.integers(-3, 20))
    def free(self, beyond: int) -> None:
        self.publisher.free_to(max(self.tail + beyond, 0))
        self.tail = max(self.tail, min(self.tail + beyond, len(self.log) + 1))

    @rule(filled=st.integers(0, 255))
    def a_slot_is_filled_and_never_published(self, filled: int) -> None:
        """What a kill in the middle of a frame leaves."""
        slot = self.control.next_slot()
        if slot is not None:
            for picture in slot.pictures:
                picture[:] = filled

    @rule()
    def next_epoch(self) -> None:
        self.epoch += 1
        assert self.publisher.next_epoch() == self.epoch

    @invariant()
    @precondition(lambda self: hasattr(self, "control"))
    def both_mappings_hold_what_was_appended(self) -> None:
        for ring in (self.control, self.publisher):
            assert (ring.head_seq, ring.tail_seq, ring.fill_slots) == (len(self.log), self.tail, self.held)
            assert ring.session_id == self.control.session_id
            assert ring.slot_count == self.control.slot_count
            for seq in (self.tail - 1, len(self.log) + 1, 0, -1):
                with pytest.raises(LogError, match=f"record {seq} asked for"):
                    ring.read(seq)
        for seq in range(self.tail, len(self.log) + 1):
            kind, episode_id, frame_index, slot = self.publisher.read(seq)
            record = self.log[seq - 1]
            if isinstance(record, tuple):
                assert (kind, episode_id, frame_index) == (RecordKind.FRAME, *record)
                assert tuple(slot.row["action"]) == (seq, frame_index % 97)
                assert np.all(slot.pictures[0] == seq % 256)
                assert np.all(slot.pictures[1] == 255 - seq % 256)
            else:
                assert unpack_event(kind, event_bytes(slot)) == record
                assert episode_id == getattr(record, "episode_id", 0)

    @invariant()
    @precondition(lambda self: hasattr(self, "control"))
    def the_newest_slots_stay_as_they_are(self) -> None:
        """Be they free or not, and also while the next one is filled."""
        recent = [seq for seq in range(1, len(self.log) + 1) if self.publisher.is_recent(seq)]
        assert len(recent) == min(len(self.log), self.control.recent - 1)
        assert self.control.recent == min(self.control.slot_count - 1, 16)
        for seq in recent:
            slot, record = self.publisher.slot(seq), self.log[seq - 1]
            assert int(slot.header[0]) == seq
            if isinstance(record, tuple):
                assert np.all(slot.pictures[1] == 255 - seq % 256)
            else:
                assert unpack_event(self.publisher.kind_of(seq), event_bytes(slot)) == record

    @invariant()
    @precondition(lambda self: hasattr(self, "control"))
    def what_is_open_follows_from_the_log(self) -> None:
        last = self.log[-1] if self.log else None
        opened = undecided = None
        if isinstance(last, tuple):
            opened = (last[0], last[1] + 1)
        elif isinstance(last, EpisodeBegan):
            opened = (last.episode_id, 0)
        elif isinstance(last, EpisodeEnded):
            undecided = last.episode_id
        for ring in (self.control, self.publisher):
            assert ring.open_episode == opened
            assert ring.undecided_episode == undecided
            assert ring.session_ended == isinstance(last, SessionEnded)


RingMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestRing = RingMachine.TestCase


@pytest.fixture
def ring() -> Iterator[LogRing]:
    made = LogRing.create(SCHEMA, seconds=10, fps=1)
    yield made
    os.close(made.fd)


def fill(ring: LogRing) -> int:
    """Append frames until there is no room; how many."""
    count = 0
    while ring.next_slot() is not None:
        ring.append_frame(0, count)
        count += 1
    return count


def test_a_full_ring_still_takes_the_end_of_the_episode_and_of_the_session(ring: LogRing) -> None:
    assert fill(ring) == 10
    for event in (EpisodeEnded(0, 10, EndReason.ABORTED, "full"), Verdict(0, Judgement.KEEP), SessionEnded()):
        assert ring.append_event(event) is not None
    for _ in range(RESERVED_SLOTS - 3):
        assert ring.append_event(Verdict(0, Judgement.KEEP)) is not None
    assert ring.append_event(Verdict(0, Judgement.KEEP)) is None
    assert ring.head_seq == ring.slot_count


def test_two_sessions_never_have_the_same_name(ring: LogRing) -> None:
    other = LogRing.create(SCHEMA, seconds=10, fps=1)
    assert other.session_id != ring.session_id
    assert len(ring.session_id) == 32
    os.close(other.fd)


@pytest.mark.parametrize(
    "schema",
    [
        small_schema(0),
        small_schema(3, height=5, width=7),
        small_schema(2, height=700, width=700),
        Schema((Stream("a.depth", "float32", (5, 7, 1), Kind.DEPTH, HWC),)),
    ],
    ids=["no picture", "one more", "larger", "depth"],
)
def test_another_schema_is_refused(ring: LogRing, schema: Schema) -> None:
    """Also where the slots have the same size: pictures read at another one's place would look like pictures."""
    with pytest.raises(LogError, match="both processes need the same schema"):
        LogRing.attach(ring.fd, schema)


@pytest.mark.parametrize("size", [1 << 20, 100, 14])
def test_memory_that_is_no_ring_is_refused(size: int) -> None:
    fd = os.memfd_create("other", os.MFD_CLOEXEC)
    os.truncate(fd, size)
    os.pwrite(fd, b"something else", 0)
    with pytest.raises(LogError, match="start the session anew"):
        LogRing.attach(fd, SCHEMA)
    os.close(fd)


_PRODUCER = """
import ctypes, os, signal, sys
sys.path.insert(0, {tests!r})
from wire_strategies import small_schema
from transport.ring import LogRing

ring = LogRing.attach(int(sys.argv[1]), small_schema(2, height=5, width=7))
for index in range(3):
    slot = ring.next_slot()
    slot.pictures[0][:] = index
    slot.pictures[1][:] = 0
    ring.append_frame(0, index)
slot = ring.next_slot()
slot.pictures[0][:2] = 99          # and in the middle of a picture:
os.write(1, b"x")
signal.pause()
"""


def test_a_producer_killed_while_it_fills_a_slot_leaves_the_log_whole(ring: LogRing) -> None:
    ring.append_event(EpisodeBegan(0, "task"))
    program = _PRODUCER.format(tests=str(Path(__file__).parent))
    with subprocess.Popen(
        [sys.executable, "-c", program, str(ring.fd)], pass_fds=[ring.fd], stdout=subprocess.PIPE
    ) as producer:
        assert producer.stdout is not None
        assert select.select([producer.stdout], [], [], LIMIT_S)[0]
        assert producer.stdout.read(1) == b"x"
        producer.kill()
        assert producer.wait(LIMIT_S) == -signal.SIGKILL
    after = LogRing.attach(ring.fd, SCHEMA)
    assert (after.head_seq, after.tail_seq) == (4, 1)
    assert after.open_episode == (0, 3)
    for seq in (2, 3, 4):
        assert np.all(after.read(seq)[3].pictures[0] == seq - 2)
    # Whoever closes the log uses the half-filled slot, and nothing of what was in it shows.
    seq = after.append_event(EpisodeEnded(0, 3, EndReason.ABORTED, "killed"))
    assert seq == 5
    kind, _, _, slot = after.read(5)
    assert unpack_event(kind, event_bytes(slot)) == EpisodeEnded(0, 3, EndReason.ABORTED, "killed")


@pytest.mark.parametrize("seconds", [1e6, 1e12])
def test_more_memory_than_there_is_is_refused_in_one_line(seconds: float) -> None:
    with pytest.raises(LogError, match=r"the log ring needs \d+ MB for .* set --publisher.ring_s to") as caught:
        LogRing.create(small_schema(height=480, width=640), seconds=seconds, fps=1000)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("inf"), float("nan")])
def test_a_length_that_is_none_is_refused(seconds: float) -> None:
    with pytest.raises(LogError, match=r"set --publisher\.ring_s"):
        LogRing.create(SCHEMA, seconds=seconds, fps=30)


def test_what_the_message_advises_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transport.ring_memory.available_memory_bytes", lambda: 50_000_000)
    with pytest.raises(LogError) as caught:
        LogRing.create(SCHEMA, seconds=1000, fps=30)
    advised_s = float(str(caught.value).rsplit("set --publisher.ring_s to ", 1)[1].split()[0])
    os.close(LogRing.create(SCHEMA, seconds=advised_s, fps=30).fd)


_LIMITED = """
import resource, signal
from transport.errors import LogError
from transport.ring import LogRing
from transport.schema import Schema

resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    LogRing.create(Schema(()), seconds=100, fps=30)
except LogError as error:
    raise SystemExit(f"LogError: {error}")
"""


def test_a_limit_on_file_sizes_is_a_line_not_a_signal() -> None:
    """memfd_create's memory counts as a file; the kernel sends SIGXFSZ, which ends a process that does not know."""
    done = subprocess.run([sys.executable, "-c", _LIMITED], capture_output=True, text=True, timeout=LIMIT_S)
    assert done.returncode == 1
    assert done.stderr.startswith("LogError: the log ring needs")
    assert os.strerror(errno.EFBIG) in done.stderr
    assert "--publisher.ring_s" in done.stderr
    assert done.stderr.count("\n") == 1


def test_locking_says_whether_it_worked() -> None:
    """Whatever this machine permits: the kernel's own count of locked memory tells the same."""
    ring = LogRing.create(SCHEMA, seconds=10, fps=1)
    before = _locked_kb()
    locked = ring.lock()
    assert (_locked_kb() - before >= ring.nbytes // 1024) == locked
    address = np.frombuffer(ring._map, np.uint8).ctypes.data
    ctypes.CDLL(None).munlock(ctypes.c_void_p(address), ctypes.c_size_t(ring.nbytes))
    os.close(ring.fd)


def _locked_kb() -> int:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.split("VmLck:")[1].split()[0])
