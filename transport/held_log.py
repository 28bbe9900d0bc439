"""What of the session log this machine still holds: in the ring, in the spill, or in both; and what may be let go.

The order under overload: the ring, then the spill file, then nothing. A slot is free when its record is durable or
spilled, and nothing reads it any more. While records are in the spill they are sent from there, in copies of their
own, so that a slow or dead link never holds the slots that the loop needs next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transport.checksum import crc32
from transport.errors import CodecError
from transport.outbox import InFlight
from transport.records import EndReason, EpisodeEnded, Judgement, RecordKind, SessionEnded, Verdict
from transport.ring import LogRing
from transport.spill import Batch, Spill
from transport.wire import Part, part_sizes, parts_of, row_of

# Parts of the ring: above the first, records are spilled until the second is reached. The loop lets an episode begin
# up to half of the ring (control/loop.py).
_SPILL_ABOVE, _SPILL_TO = 0.5, 0.4
# Above this, sends that hold slots which are spilled already are given up with their connection.
_STUCK_ABOVE = 0.65
_BATCH_BYTES = 8 << 20
_RETRY_S = 0.5


@dataclass(frozen=True, slots=True)
class HeldRecord:
    """A record as it goes out.

    Attributes:
        in_ring: its parts are views into the ring.
        lent: its pictures are not among its parts; the writer copies them out of the ring.
        nbytes: of the whole record, as the writer counts it.
    """

    kind: RecordKind
    seq: int
    episode_id: int
    frame_index: int
    parts: Sequence[Part]
    crcs: tuple[int, ...]
    in_ring: bool
    lent: bool
    nbytes: int


class HeldLog:
    """See the module's text; the publisher's view of ring and spill.

    Args:
        lends: whether the writer can read the ring.
    """

    def __init__(self, ring: LogRing, spill: Spill, *, lends: bool = False) -> None:
        self.reading = InFlight()
        self._ring, self._spill, self._lends = ring, spill, lends
        self._frame_bytes = sum(part_sizes(ring.schema))
        self._batch: Batch | None = None
        self._next_try_s = 0.0
        spilled = spill.first_seq <= ring.tail_seq - 1 <= spill.last_seq
        self.durable_seq = max(ring.durable_seq, (spill.first_seq if spilled else ring.tail_seq) - 1)
        spill.drop_to(self.durable_seq + 1)

    @property
    def spilled_seq(self) -> int:
        """Everything up to here is durable or spilled."""
        return max(self.durable_seq, self._spill.last_seq)

    @property
    def waiting_in_spill(self) -> int:
        """Records that are spilled and not durable."""
        return self.spilled_seq - self.durable_seq

    @property
    def stuck(self) -> bool:
        """Whether the link holds slots that are spilled already, and the ring needs them."""
        oldest = self.reading.oldest_seq
        return (
            oldest is not None
            and oldest <= self.spilled_seq
            and self._ring.fill_slots > self._ring.capacity * _STUCK_ABOVE
            and (self._batch is None or self._batch.done)
        )

    def note_durable(self, seq: int) -> None:
        """The writer says that it has everything up to `seq` on disk."""
        seq = min(seq, self._ring.head_seq)
        if seq > self.durable_seq:
            self.durable_seq = seq
            if self._spill.last_seq and self._spill.first_seq <= seq:
                self._spill.drop_to(seq + 1)

    def first_held(self, seq: int) -> int:
        """The first record from `seq` on that is held; the one after the newest if there is none."""
        tail_seq = self._ring.tail_seq
        spilled = self._spill.next_held(seq)
        return max(seq, tail_seq) if spilled is None else min(spilled, max(seq, tail_seq))

    def read(self, seq: int, *, verify: bool = False) -> HeldRecord:
        """A record that is held.

        Args:
            verify: check memory of the ring against the CRCs of its first sending; files are checked always, and
                what is lent has no CRCs.

        Raises:
            LogError: it is not held.
            CodecError: it is damaged.
            OSError: the disk cannot read it.
        """
        if self._spill.next_held(seq) == seq:
            spilled = self._spill.read(seq)
            header = spilled.header
            numbers = header.kind, seq, header.episode_id, header.frame_index
            return HeldRecord(
                *numbers, spilled.parts, header.crcs, in_ring=False, lent=False, nbytes=_nbytes(spilled.parts)
            )
        kind, episode_id, frame_index, slot = self._ring.read(seq)
        lent = self._lends and kind is RecordKind.FRAME
        parts, crcs = row_of(slot) if lent else parts_of(kind, slot, self._ring.schema)
        if verify and not lent and any(crc32(part) != crc for part, crc in zip(parts, crcs, strict=True)):
            raise CodecError(f"record {seq} is damaged in memory")
        nbytes = self._frame_bytes if lent else _nbytes(parts)
        return HeldRecord(
            kind, seq, episode_id, frame_index, parts, tuple(crcs), in_ring=not lent, lent=lent, nbytes=nbytes
        )

    def turn(self, now_s: float, *, leaving: bool = False) -> None:
        """Spill what the ring has no room for, and free what may go.

        Args:
            leaving: nobody will read the ring any more; spill all of it.
        """
        if self._batch is None or self._batch.done:
            self._batch = None
            last_seq = self._spill_until(leaving)
            if last_seq > self.spilled_seq and now_s >= self._next_try_s:
                if self._spill.trouble:
                    self._next_try_s = now_s + _RETRY_S
                self._batch = self._spill.move(self.spilled_seq + 1, last_seq, unlimited=leaving)
                self.reading.add(self._batch.first_seq, self._batch)
        self._ring.free_to(self.reading.free_to(self.spilled_seq))
        self._ring.note_durable(self.durable_seq)

    def close(self, detail: str) -> bool:
        """Control is gone: end what it left open, in its place; False until there is room for all of it."""
        ring = self._ring
        if ring.open_episode is not None:
            episode_id, frames = ring.open_episode
            if ring.append_event(EpisodeEnded(episode_id, frames, EndReason.ABORTED, detail)) is None:
                return False
        undecided = ring.undecided_episode
        if undecided is not None and ring.append_event(Verdict(undecided, Judgement.ABORTED)) is None:
            return False
        return ring.session_ended or ring.append_event(SessionEnded(detail)) is not None

    def farewell(self) -> str:
        """What of the undelivered records is kept where, and exactly what is lost; one line."""
        kept = self.spilled_seq - self.durable_seq
        text = f"{kept} undelivered records are in {self._spill.folder} for `onbeat recover`"
        lost = range(self.spilled_seq + 1, self._ring.head_seq + 1)
        if not lost:
            return text
        text += f"; {len(lost)} records from {lost[0]} on are lost ({self._spill.trouble})"
        records = [self._ring.read(seq) for seq in lost]
        frames = [(episode, frame) for kind, episode, frame, _ in records if kind is RecordKind.FRAME]
        if frames:
            (first_take, first), (last_take, last) = frames[0], frames[-1]
            text += f": frame {first} of take {first_take} to frame {last} of take {last_take}"
        return text

    def _spill_until(self, leaving: bool) -> int:
        ring = self._ring
        if leaving:
            last_seq = ring.head_seq
        elif ring.fill_slots > ring.capacity * _SPILL_ABOVE:
            last_seq = ring.head_seq - int(ring.capacity * _SPILL_TO)
        else:
            return 0
        batch = max(_BATCH_BYTES // ring.slot_bytes, 1)
        return min(last_seq, self.spilled_seq + batch)


def _nbytes(parts: Sequence[Part]) -> int:
    return sum(memoryview(part).nbytes for part in parts)
