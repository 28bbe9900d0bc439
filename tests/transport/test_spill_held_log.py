"""Ring and spill together: every published record can be read until it is durable, no slot changes while it is read."""

from __future__ import annotations

import errno
import os
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from wire_strategies import small_schema

from transport.errors import CodecError
from transport.held_log import HeldLog, HeldRecord
from transport.records import EpisodeEnded, Judgement, RecordKind, SessionEnded, Verdict, unpack_event
from transport.ring import LogRing
from transport.schema import CHW
from transport.spill import Spill
from transport.spill_files import SpillFiles
from transport.spill_format import RecordHeader
from transport.wire import Part

_LIMIT_S = 20


class World:
    """A ring with its spill, a writer that says what is durable, and sends that take their time."""

    def __init__(self, folder: Path, *, capacity: int = 12, max_bytes: int = 1 << 30, schema: Any = None) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        self.ring = LogRing.create(schema or small_schema(), seconds=capacity, fps=1)
        assert self.ring.capacity == capacity
        self.woken = threading.Event()
        self.now_s = 0.0
        self.start()

    def start(self) -> None:
        self.spill = Spill(self.folder, self.ring, {}, self.max_bytes, self.woken.set, file_bytes=20_000)
        self.spill.start()
        self.log = HeldLog(self.ring, self.spill)

    def restart(self) -> None:
        assert self.spill.finish(_LIMIT_S)
        self.spill.release()
        self.start()

    def publish(self, frames: int) -> int:
        """Append frames until the ring refuses; returns how many it took."""
        for done in range(frames):
            slot = self.ring.next_slot()
            if slot is None:
                return done
            fill(slot.pictures, self.ring.head_seq + 1)
            slot.row["action"] = self.ring.head_seq + 1
            self.ring.append_frame(0, self.ring.head_seq)
        return frames

    def turn(self, *, leaving: bool = False) -> None:
        """Let everything happen that can happen by itself."""
        failures = 0
        while failures < 2:  # one may have been under way before
            self.now_s += 1
            self.log.turn(self.now_s, leaving=leaving)
            batch = self.log._batch
            if batch is None:
                return
            while not batch.done:
                assert self.woken.wait(_LIMIT_S)
                self.woken.clear()
            failures += self.log.spilled_seq < batch.last_seq


def fill(pictures: tuple[np.ndarray[Any, Any], ...], seq: int) -> None:
    for picture in pictures:
        picture[:] = seq % 251
        picture.reshape(-1)[0] = seq // 251 % 251


def assert_is(record: HeldRecord, seq: int) -> None:
    assert (record.kind, record.seq, record.frame_index) == (RecordKind.FRAME, seq, seq - 1)
    for part in record.parts[1:]:
        pixels = np.frombuffer(memoryview(part).cast("B"), np.uint8)
        assert pixels[0] == seq // 251 % 251
        assert (pixels[1:] == seq % 251).all()


@dataclass
class Send:
    record: HeldRecord
    done: bool = False


class HeldLogMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.world = World(Path(self.folder.name) / "session")
        self.sends: list[Send] = []

    @rule(frames=st.integers(1, 30))
    def publish(self, frames: int) -> None:
        self.world.publish(frames)

    @rule()
    def turn(self) -> None:
        self.world.turn()

    @rule(frames=st.integers(1, 60))
    def record(self, frames: int) -> None:
        for _ in range(frames):
            self.world.publish(1)
            self.world.turn()

    @precondition(lambda self: self.world.log.durable_seq < self.world.ring.head_seq)
    @rule(offset=st.integers(0, 40))
    def send(self, offset: int) -> None:
        log = self.world.log
        seq = min(log.durable_seq + 1 + offset, self.world.ring.head_seq)
        send = Send(log.read(seq))
        self.sends.append(send)
        if send.record.in_ring:
            log.reading.add(seq, send)

    @rule(count=st.integers(1, 5))
    def sent(self, count: int) -> None:
        for send in self.sends[:count]:
            send.done = True
        del self.sends[:count]

    @rule(ahead=st.integers(0, 20))
    def durable(self, ahead: int) -> None:
        self.world.log.note_durable(self.world.log.durable_seq + ahead)

    @rule()
    def kill(self) -> None:
        self.sends.clear()  # the memory of a killed publisher's sends is nobody's any more
        self.world.restart()

    @invariant()
    def everything_undelivered_can_be_read(self) -> None:
        log, ring = self.world.log, self.world.ring
        assert ring.fill_slots <= ring.slot_count
        for seq in range(log.durable_seq + 1, ring.head_seq + 1):
            assert log.first_held(seq) == seq
            assert_is(log.read(seq, verify=True), seq)

    @invariant()
    def what_is_being_sent_does_not_change(self) -> None:
        for send in self.sends:
            assert_is(send.record, send.record.seq)

    def teardown(self) -> None:
        for send in self.sends:
            send.done = True
        self.world.turn(leaving=True)
        assert self.world.log.spilled_seq == self.world.ring.head_seq
        assert self.world.spill.finish(_LIMIT_S)
        self.world.spill.remove()
        os.close(self.world.ring.fd)
        self.folder.cleanup()


TestHeldLog = HeldLogMachine.TestCase
TestHeldLog.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)


def test_the_order_is_ring_then_spill_then_the_end_of_the_episode(tmp_path: Path) -> None:
    world = World(tmp_path / "spill", max_bytes=60_000)
    published = 0
    while world.publish(1):
        published += 1
        world.turn()
    assert "--publisher.spill_max_gb are in use" in world.spill.trouble
    assert world.spill.nbytes <= 60_000
    spilled = world.log.waiting_in_spill
    assert spilled > 20
    assert published == spilled + world.ring.capacity
    for seq in range(1, published + 1):
        assert_is(world.log.read(seq), seq)
    world.log.note_durable(spilled)
    world.turn()
    assert world.spill.trouble == ""
    assert world.publish(1) == 1
    assert world.spill.finish(_LIMIT_S)


def test_without_a_spill_only_the_ring_is_filled(tmp_path: Path) -> None:
    world = World(tmp_path / "spill", max_bytes=0)
    world.turn()
    for _ in range(50):
        world.publish(1)
        world.turn()
    assert world.ring.head_seq == world.ring.capacity
    assert not list(tmp_path.rglob("*.spill"))
    # Whoever has to leave keeps what there is all the same: there is nowhere else left.
    world.turn(leaving=True)
    assert world.log.spilled_seq == world.ring.head_seq
    assert world.spill.finish(_LIMIT_S)


def test_floats_in_channels_first_are_spilled_as_they_cross_the_network(tmp_path: Path) -> None:
    world = World(tmp_path / "spill", schema=small_schema(dtype="float32", layout=CHW))
    slot = world.ring.next_slot()
    assert slot is not None
    slot.pictures[0][:] = np.linspace(0, 1, slot.pictures[0].size).reshape(slot.pictures[0].shape)
    expected = (slot.pictures[0] * np.float32(255)).astype(np.uint8).transpose(1, 2, 0).tobytes()
    world.ring.append_frame(0, 0)
    before = world.log.read(1)
    world.turn(leaving=True)
    after = world.log.read(1)
    assert (before.in_ring, after.in_ring) == (True, False)
    assert bytes(after.parts[1]) == expected
    assert before.crcs == after.crcs
    assert world.spill.finish(_LIMIT_S)


def test_a_link_that_holds_the_oldest_slots_is_noticed_once_the_ring_needs_them(tmp_path: Path) -> None:
    world = World(tmp_path / "spill")
    world.publish(2)
    stopped = Send(world.log.read(1))
    world.log.reading.add(1, stopped)
    world.publish(5)
    world.turn()
    assert not world.log.stuck
    world.publish(3)
    world.turn()
    assert world.log.stuck
    assert world.ring.tail_seq == 1
    stopped.done = True
    assert not world.log.stuck
    world.turn()
    assert world.ring.tail_seq > 1
    assert world.spill.finish(_LIMIT_S)


def test_slots_that_a_slow_disk_is_still_reading_are_not_given_to_the_loop(tmp_path: Path) -> None:
    """Even when the writer has their records meanwhile: what the spill holds must be what its numbers say."""
    world = World(tmp_path / "spill")
    gate, append = threading.Event(), world.spill._files.append

    def slow(header: RecordHeader, parts: Sequence[Part]) -> None:
        assert gate.wait(_LIMIT_S)
        append(header, parts)

    world.spill._files.append = slow  # type: ignore[method-assign]
    world.publish(12)
    world.log.turn(1.0)
    world.log.note_durable(12)
    for _ in range(3):
        world.log.turn(2.0)
        assert world.ring.tail_seq == 1
        assert world.publish(30) == 0
    gate.set()
    world.turn()
    assert world.ring.tail_seq == 13
    assert world.spill.finish(_LIMIT_S)


def test_a_damaged_file_costs_its_record_and_no_other(tmp_path: Path) -> None:
    world = World(tmp_path / "spill")
    world.publish(12)
    world.turn()
    (path, *_) = sorted(tmp_path.rglob("*.spill"))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    last = world.spill._files._files[0].last_seq
    with pytest.raises(CodecError, match=f"record {last} is damaged on disk"):
        world.log.read(last)
    assert_is(world.log.read(last + 1), last + 1)
    # After a restart the record is not held any more, and what follows it still is.
    world.restart()
    assert world.log.first_held(last) == last + 1
    assert_is(world.log.read(last + 1), last + 1)
    assert world.spill.finish(_LIMIT_S)


def test_memory_that_changed_since_it_was_first_sent_is_noticed_when_sent_again(tmp_path: Path) -> None:
    world = World(tmp_path / "spill")
    world.publish(1)
    record = world.log.read(1, verify=True)
    np.frombuffer(memoryview(record.parts[1]).cast("B"), np.uint8)[7] ^= 1
    with pytest.raises(CodecError, match="record 1 is damaged in memory"):
        world.log.read(1, verify=True)
    assert world.spill.finish(_LIMIT_S)


def test_what_cannot_be_kept_is_named_by_record_frame_and_cause(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path / "spill")
    world.publish(10)
    world.log.note_durable(2)
    real, written = SpillFiles.append, 0

    def full(files: SpillFiles, header: RecordHeader, parts: Sequence[Part]) -> None:
        nonlocal written
        if written == 5:
            raise OSError(errno.ENOSPC, "No space left on device")
        written += 1
        real(files, header, parts)

    monkeypatch.setattr(SpillFiles, "append", full)
    world.turn(leaving=True)
    assert world.log.farewell() == (
        f"5 undelivered records are in {tmp_path}/spill for `onbeat recover`; 3 records from 8 on are lost "
        "(No space left on device): frame 7 of take 0 to frame 9 of take 0"
    )
    monkeypatch.undo()
    world.turn(leaving=True)
    assert world.log.farewell() == f"8 undelivered records are in {tmp_path}/spill for `onbeat recover`"
    assert world.spill.finish(_LIMIT_S)


@pytest.mark.parametrize("killed_after", range(4))
def test_a_log_that_control_left_open_is_closed_once_however_often_one_dies_over_it(
    tmp_path: Path, killed_after: int
) -> None:
    """What is open follows from the newest record alone, so half a close is taken up where it ended."""
    world = World(tmp_path / "spill")
    world.publish(2)
    append, calls = world.ring.append_event, 0

    def dying(event: Any) -> int | None:
        nonlocal calls
        if calls == killed_after:
            raise KeyboardInterrupt
        calls += 1
        return append(event)

    world.ring.append_event = dying  # type: ignore[method-assign]
    if killed_after < 3:
        with pytest.raises(KeyboardInterrupt):
            world.log.close("control died")
    world.ring.append_event = append  # type: ignore[method-assign]
    assert world.log.close("control died")
    assert world.log.close("control died")
    events = []
    for seq in range(3, world.ring.head_seq + 1):
        record = world.log.read(seq)
        events.append(unpack_event(record.kind, bytes(memoryview(record.parts[0]))))
    ended, verdict, session = events
    assert isinstance(ended, EpisodeEnded)
    assert (ended.episode_id, ended.frames) == (0, 2)
    assert isinstance(verdict, Verdict)
    assert verdict.judgement is Judgement.ABORTED
    assert session == SessionEnded("control died")
    assert world.spill.finish(_LIMIT_S)


def test_a_log_without_room_is_closed_when_there_is_room(tmp_path: Path) -> None:
    world = World(tmp_path / "spill", max_bytes=0)
    world.publish(12)
    while world.ring.append_event(Verdict(9, Judgement.KEEP)) is not None:
        pass
    assert not world.log.close("control died")
    world.log.note_durable(5)
    world.turn()
    assert world.log.close("control died")
    assert world.ring.session_ended
    assert world.spill.finish(_LIMIT_S)
