"""The log ring: the session's newest records, in memory that outlives any one process.

One process (control) appends, one (the publisher) reads and frees; the supervisor keeps the file descriptor open so
that either can be restarted. The memory is a memfd, allocated and touched in full before the session starts, so that
appending can neither fail nor fault; only where it cannot be locked, slots that rest may be swapped out. `ring_layout`
says where everything lies in it.

A record with sequence number s (from 1) lives in slot index[s % slot_count]; `free_slots` says which that is. `head` is
the last appended record and is written after everything else of it; `tail` is the oldest record still held. A frame is
written once, in place, and never copied inside the robot machine again.

One store publishes a record, so a kill at any moment leaves it there as a whole or not at all; what is open and what is
undecided follows from the newest record alone. Every word is one aligned 64-bit store. x86 keeps the order of stores
and the order of loads, which is all that is relied on; elsewhere (ARM) `fence` orders a record's bytes before `head`
for the appending side, and `head` before the bytes for the reading side. Slots go back the same way: they are read to
the end before `tail` moves, and `tail` is loaded before they are written. Who looks at the newest records without
holding them (policy, preview) reads first and asks `is_recent` afterwards.
"""

from __future__ import annotations

import ctypes
import mmap
import os

import numpy as np

from transport.errors import LogError
from transport.fence import fence
from transport.free_slots import FreeSlots
from transport.records import Event, RecordKind
from transport.ring_layout import (
    H_DURABLE,
    H_EPOCH,
    H_HEAD,
    H_RECENT,
    H_SESSION,
    H_TAIL,
    PAGE,
    S_CRC_KNOWN,
    S_EPISODE,
    S_FRAME,
    S_KIND,
    S_LENGTH,
    S_SEQ,
    Slot,
    SlotLayout,
    slot_views,
    slots_in,
)
from transport.ring_memory import RESERVED_SLOTS, allocate, check
from transport.schema import Schema


class LogRing:
    """See the module's text. Make one with `create`, join one with `attach`."""

    def __init__(self, fd: int, schema: Schema, *, read_only: bool = False) -> None:
        self.fd = fd
        self.schema = schema
        layout = SlotLayout.of(schema)
        size = os.fstat(fd).st_size
        self._map = mmap.mmap(fd, size, access=mmap.ACCESS_READ if read_only else mmap.ACCESS_WRITE)
        whole = np.frombuffer(self._map, np.uint8)
        self._header = whole[:PAGE].view(np.uint64)
        self.slot_count = slots_in(size, layout.slot_bytes)
        self.slot_bytes = layout.slot_bytes
        self._index = whole[PAGE : PAGE + 8 * self.slot_count].view(np.uint64)
        self._slots = [
            slot_views(whole[start : start + layout.slot_bytes], layout, schema)
            for start in range(size - self.slot_count * layout.slot_bytes, size, layout.slot_bytes)
        ]
        # So many of the newest records keep their slots, be they free or not.
        self.recent = int(self._header[H_RECENT])
        self._free = FreeSlots(self._index, self.recent)

    @classmethod
    def create(cls, schema: Schema, *, seconds: float, fps: int) -> LogRing:
        """Allocate and touch a ring that holds `seconds` of recording at `fps`.

        Raises:
            LogError: the machine does not have the memory; names what is needed and what there is.
        """
        ring = cls(allocate(schema, seconds=seconds, fps=fps), schema)
        ring._touch()
        return ring

    @classmethod
    def attach(cls, fd: int, schema: Schema, *, read_only: bool = False) -> LogRing:
        """Join a ring that another process made.

        Args:
            read_only: for those who only look on; `fd` may then be open for reading only.

        Raises:
            LogError: the memory is not a ring of this schema.
        """
        check(fd, schema)
        return cls(fd, schema, read_only=read_only)

    def _touch(self) -> None:
        # posix_fallocate gives pages to the file; a write maps each of them here, so that the loop never takes a fault.
        first_bytes = np.frombuffer(self._map, np.uint8)[::PAGE]
        first_bytes |= 0

    def lock(self) -> bool:
        """Ask the kernel to keep the ring in memory; False if it does not permit that much."""
        address = np.frombuffer(self._map, np.uint8).ctypes.data
        libc = ctypes.CDLL(None, use_errno=True)
        return bool(libc.mlock(ctypes.c_void_p(address), ctypes.c_size_t(self.nbytes)) == 0)

    @property
    def nbytes(self) -> int:
        return len(self._map)

    @property
    def session_id(self) -> str:
        """32 hexadecimal digits."""
        return self._header[H_SESSION : H_SESSION + 2].tobytes().hex()

    @property
    def head_seq(self) -> int:
        """The last appended record; 0 before the first."""
        seq = int(self._header[H_HEAD])
        fence()
        return seq

    @property
    def tail_seq(self) -> int:
        """The oldest record still held; head + 1 when there is none."""
        return int(self._header[H_TAIL])

    @property
    def capacity(self) -> int:
        """How many records fit before frames are refused."""
        return self.slot_count - RESERVED_SLOTS

    @property
    def fill_slots(self) -> int:
        return self.head_seq + 1 - self.tail_seq

    @property
    def open_episode(self) -> tuple[int, int] | None:
        """The episode that began and did not end, with its frames so far."""
        kind, episode_id, frame_index = self._newest()
        if kind == RecordKind.EPISODE_BEGAN:
            return episode_id, 0
        return (episode_id, frame_index + 1) if kind == RecordKind.FRAME else None

    @property
    def undecided_episode(self) -> int | None:
        """The episode that ended and has no verdict yet."""
        kind, episode_id, _ = self._newest()
        return episode_id if kind == RecordKind.EPISODE_ENDED else None

    @property
    def session_ended(self) -> bool:
        return self._newest()[0] == RecordKind.SESSION_ENDED

    @property
    def durable_seq(self) -> int:
        """The newest record that the writer has called durable, as far as the publisher has noted it; 0 before."""
        return int(self._header[H_DURABLE])

    # -- the appending side --------------------------------------------------------------------------------------

    def next_slot(self) -> Slot | None:
        """The slot of the next frame, to be filled in place; None when the ring is full."""
        head, tail = int(self._header[H_HEAD]), self.tail_seq
        if head + 1 - tail >= self.slot_count - RESERVED_SLOTS:
            return None
        return self._slots[self._free.next(head, tail)]

    def append_frame(self, episode_id: int, frame_index: int) -> int:
        """Append the frame that was filled into `next_slot()`; returns its sequence number."""
        head = int(self._header[H_HEAD])
        seq = head + 1
        header = self._slots[self._free.next(head, self.tail_seq)].header
        header[S_SEQ] = seq
        header[S_KIND] = RecordKind.FRAME
        header[S_CRC_KNOWN] = 0
        header[S_EPISODE] = episode_id
        header[S_FRAME] = frame_index
        fence()
        self._header[H_HEAD] = seq
        self._free.taken()
        return seq

    def append_event(self, event: Event) -> int | None:
        """Append a record other than a frame; None when not even the reserved slots are free."""
        head, tail = int(self._header[H_HEAD]), self.tail_seq
        if head + 1 - tail >= self.slot_count:
            return None
        seq = head + 1
        slot = self._slots[self._free.next(head, tail)]
        data = event.pack()
        slot.payload[: len(data)] = np.frombuffer(data, np.uint8)
        slot.header[S_SEQ] = seq
        slot.header[S_KIND] = event.kind
        slot.header[S_LENGTH] = len(data)
        slot.header[S_CRC_KNOWN] = 0
        slot.header[S_EPISODE] = getattr(event, "episode_id", 0)
        slot.header[S_FRAME] = 0
        fence()
        self._header[H_HEAD] = seq
        self._free.taken()
        return seq

    # -- the reading side ----------------------------------------------------------------------------------------

    def read(self, seq: int) -> tuple[RecordKind, int, int, Slot]:
        """Kind, episode, frame index and slot of a record.

        Raises:
            LogError: the record is not held.
        """
        held = self.tail_seq <= seq <= self.head_seq
        slot = self.slot(seq)
        if not held or int(slot.header[S_SEQ]) != seq:
            raise LogError(f"record {seq} asked for, but the ring holds {self.tail_seq} to {self.head_seq}")
        kind = RecordKind(int(slot.header[S_KIND]))
        return kind, int(slot.header[S_EPISODE]), int(slot.header[S_FRAME]), slot

    def slot(self, seq: int) -> Slot:
        """Where record `seq` is, or was; for whoever checks by other means what it holds.

        The record after the head has its place once `next_slot` was asked for it.
        """
        return self._slots[int(self._index[seq % self.slot_count])]

    def is_recent(self, seq: int) -> bool:
        """Whether the slot of a record is surely as it was left, be it free or not; ask once it is read.

        False also for a record that is held but older. One record fewer than keep their slots: the next one may be
        seen being filled before the head is seen to move.
        """
        fence()
        return self.head_seq + 1 < seq + self.recent

    def kind_of(self, seq: int) -> int:
        """Kind of record `seq`, where that is what its slot holds; as `slot` says."""
        return int(self.slot(seq).header[S_KIND])

    def _newest(self) -> tuple[int, int, int]:
        """Kind (0 before the first), episode and frame index of the head, which stays legible when it is free."""
        seq = self.head_seq
        if seq == 0:
            return 0, 0, 0
        header = self.slot(seq).header
        return int(header[S_KIND]), int(header[S_EPISODE]), int(header[S_FRAME])

    def free_to(self, seq: int) -> None:
        """Give up all records before `seq`."""
        fence()
        self._header[H_TAIL] = max(self.tail_seq, min(seq, self.head_seq + 1))

    def note_durable(self, seq: int) -> None:
        """The writer holds everything up to `seq`, also where it is not freed here yet."""
        self._header[H_DURABLE] = seq

    def next_epoch(self) -> int:
        """A number greater than any that a publisher of this session had before."""
        self._header[H_EPOCH] += np.uint64(1)
        return int(self._header[H_EPOCH])
