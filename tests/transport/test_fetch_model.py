"""FETCH as a whole: both halves and a channel that loses, repeats, reorders and damages, under restarts of either side.

Whatever happens, every record is accepted exactly once and in order, or named in a gap that says the truth.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field, replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_strategies import small_schema

from transport.fetcher import Fetcher
from transport.messages import Data, Fetch, Gap, Head
from transport.outbox import InFlight, Outbox
from transport.records import RecordKind
from transport.wire import part_sizes

SCHEMA = small_schema(height=2, width=2)
SIZES = part_sizes(SCHEMA)
RECORD_BYTES = sum(SIZES)
WORK = {
    "control_appends": 2,
    "writer_asks": 4,
    "fetch_arrives": 6,
    "publisher_sends": 6,
    "message_arrives": 24,
    "message_is_lost": 1,
    "publisher_beats": 2,
    "publisher_frees": 6,
    "writer_encodes": 4,
    "writer_makes_durable": 4,
}
BREAKS = ["connection_breaks", "publisher_is_killed", "writer_is_killed", "writer_loses_its_journal"]
SPILLS = ["publisher_spills"] * 16
STEPS = [step for step, weight in WORK.items() for _ in range(8 * weight)] + BREAKS


@dataclass
class Sending:
    done: bool = False


@dataclass
class Envelope:
    """On its way; `nbytes` is of the whole record, also where its pictures are lent."""

    message: Data | Gap | Head
    parts: list[bytes] = field(default_factory=list)
    sending: Sending = field(default_factory=Sending)
    nbytes: int = 0


def content(seq: int) -> tuple[RecordKind, list[bytes]]:
    """Every fifth record is an event."""
    if seq % 5 == 1:
        return RecordKind.VERDICT, [seq.to_bytes(3, "big")]
    return RecordKind.FRAME, [bytes([seq % 256]) * size for size in SIZES]


class FetchModel:
    """A robot machine, a writer, and what is under way between them. Every step takes the source of chance."""

    def __init__(self, window: int, *, lends: bool = False) -> None:
        self.window = window
        self.lends = lends
        # The publisher's spill holds what is after the first and not after the second.
        self.known_durable = self.spilled = 0
        self.head = self.durable = 0
        self.tail = 1
        self.epoch = 0
        # Of the writer's memory, then of what it had to give up as lost.
        self.accepted: list[int] = []
        self.lost: set[int] = set()
        self.unconsumed: list[int] = []
        self.down: list[Envelope] = []
        self.up: list[Fetch] = []
        self.in_flight = InFlight()
        self.pointed: list[tuple[int, Sending]] = []
        self.connect()

    # -- connections and restarts ---------------------------------------------------------------------------------

    def connect(self) -> None:
        """A fresh socket; what is under way on the old one may still arrive."""
        self.epoch += 1
        self.outbox = Outbox(self.epoch)
        self.in_flight_bytes = 0
        self.fetcher = Fetcher(
            self.epoch,
            max([self.durable, *self.accepted, *self.lost]),
            SCHEMA,
            self.window,
            waiting_bytes=sum(self.unconsumed),
            lent=self if self.lends else None,
        )

    def copy(self, seq: int) -> list[bytes] | None:
        """What the ring has where record `seq` was, as `LentPictures`."""
        return content(seq)[1][1:] if self.tail <= seq <= self.head else None

    def connection_breaks(self, random: Random) -> None:
        self.connect()

    def publisher_is_killed(self, random: Random) -> None:
        """Its messages stay in the network as copies: nothing points into the ring any more."""
        self.pointed = []
        self.in_flight = InFlight()
        self.connect()

    def writer_is_killed(self, random: Random) -> None:
        self.forget_beyond(self.durable)
        self.connect()

    def writer_loses_its_journal(self, random: Random) -> None:
        self.durable = random.randint(0, self.durable)
        self.forget_beyond(self.durable)
        self.connect()

    def forget_beyond(self, seq: int) -> None:
        self.accepted = [s for s in self.accepted if s <= seq]
        self.lost = {s for s in self.lost if s <= seq}
        self.unconsumed = []

    # -- what goes on while nothing breaks -------------------------------------------------------------------------

    def control_appends(self, random: Random) -> None:
        self.head += random.randint(1, 3)

    def writer_asks(self, random: Random) -> None:
        self.up.append(self.fetcher.fetch(self.durable))

    def writer_encodes(self, random: Random) -> None:
        for _ in range(random.randint(0, len(self.unconsumed))):
            self.fetcher.consumed(self.unconsumed.pop(0))

    def writer_makes_durable(self, random: Random) -> None:
        self.durable = random.randint(self.durable, self.fetcher.received_seq)

    def publisher_beats(self, random: Random) -> None:
        outbox = self.outbox
        self.down.append(Envelope(Head(outbox.epoch, outbox.generation, outbox.cursor, self.head)))

    def publisher_sends(self, random: Random) -> None:
        outbox = self.outbox
        if outbox.cursor and (held := self.first_held(outbox.cursor)) > outbox.cursor:
            gap = Gap(outbox.epoch, outbox.generation, outbox.cursor, held - 1, "gone")
            self.down.append(Envelope(gap))
            outbox.skip_to(held)
        for _ in range(4):
            if not outbox.may_send(self.head):
                break
            seq = outbox.cursor
            assert self.first_held(seq) == seq
            kind, parts = content(seq)
            nbytes = sum(map(len, parts))
            in_ring = seq > self.spilled
            lent = self.lends and in_ring and kind is RecordKind.FRAME
            parts = parts[:1] if lent else parts
            crcs = tuple(map(zlib.crc32, parts))
            header = Data(outbox.epoch, outbox.generation, seq, kind, 0, seq, self.head, crcs)
            envelope = Envelope(header, parts, nbytes=nbytes)
            self.down.append(envelope)
            if in_ring and not lent:
                self.in_flight.add(seq, envelope.sending)
                self.pointed.append((seq, envelope.sending))
            outbox.sent(nbytes)

    def publisher_spills(self, random: Random) -> None:
        """What goes to disk leaves the ring, whatever the writer was told of it."""
        self.spilled = random.randint(self.spilled, max(self.spilled, self.head))
        self.publisher_frees(random)

    def publisher_frees(self, random: Random) -> None:
        self.known_durable = max(self.known_durable, self.outbox.durable_seq)
        settled = max(self.known_durable, self.spilled)
        self.tail = max(self.tail, min(self.in_flight.free_to(settled), self.head + 1))

    def first_held(self, seq: int) -> int:
        """As HeldLog's, with a spill that keeps what is not durable."""
        spilled = max(seq, self.known_durable + 1)
        return min(spilled, max(seq, self.tail)) if spilled <= self.spilled else max(seq, self.tail)

    def fetch_arrives(self, random: Random) -> None:
        """In order mostly; now and then overtaken, or twice."""
        if self.up:
            position = random.choice([0, 0, 0, random.randrange(len(self.up))])
            self.outbox.fetch(self.up[position] if random.random() < 0.2 else self.up.pop(position))

    def message_arrives(self, random: Random) -> None:
        if self.down:
            position = random.choice([0, 0, 0, 0, random.randrange(len(self.down))])
            again = random.random() < 0.2
            envelope = self.down.pop(position)
            if again:
                self.down.append(envelope)
            if envelope.parts and random.random() < 0.03:
                parts = [bytes([part[0] ^ 1]) + part[1:] for part in envelope.parts]
                envelope = replace(envelope, parts=parts)
            self.take(envelope)
            envelope.sending.done = not again

    def message_is_lost(self, random: Random) -> None:
        if self.up and random.random() < 0.5:
            self.up.pop(random.randrange(len(self.up)))
        elif self.down:
            self.down.pop(random.randrange(len(self.down))).sending.done = True

    def take(self, envelope: Envelope) -> None:
        message = envelope.message
        if isinstance(message, Head):
            self.fetcher.head(message)
        elif isinstance(message, Gap):
            first = self.fetcher.next_seq
            if self.fetcher.gap(message):
                assert message.first_seq == first
                self.lost |= set(range(message.first_seq, message.last_seq + 1))
        elif (record := self.fetcher.accept(message, envelope.parts)) is not None:
            assert (message.kind, [bytes(part) for part in record]) == content(message.seq)
            self.accepted.append(message.seq)
            self.unconsumed.append(sum(part.nbytes for part in record))

    # -- what must hold -------------------------------------------------------------------------------------------

    def check(self) -> None:
        self.accepted_once_and_in_order()
        assert all(seq <= self.known_durable for seq in self.lost), "a gap names what is still held"
        pointed = [seq for seq, sending in self.pointed if not sending.done]
        assert all(seq >= self.tail for seq in pointed), "a slot was freed while a message points at it"
        self.the_window_holds()

    def accepted_once_and_in_order(self) -> None:
        assert self.accepted == sorted(set(self.accepted))
        assert not self.lost & set(self.accepted)
        assert sorted([*self.accepted, *self.lost]) == list(range(1, self.fetcher.next_seq))

    def the_window_holds(self) -> None:
        generation = self.fetcher.fetch(self.durable).generation
        current = {
            envelope.message.seq: envelope.nbytes
            for envelope in self.down
            if isinstance(envelope.message, Data)
            and (envelope.message.epoch, envelope.message.generation) == (self.epoch, generation)
            and envelope.message.seq >= self.fetcher.next_seq
        }
        under_way = sum(current.values()) + self.fetcher.waiting_bytes
        if current:
            assert under_way < self.window + RECORD_BYTES

    def calm(self) -> None:
        """On a channel that works, everything arrives within a few beats, with nobody else's help."""
        for _ in range(2 * self.head + 10):
            self.up.append(self.fetcher.fetch(self.durable))
            while self.up:
                self.outbox.fetch(self.up.pop(0))
            self.publisher_sends(Random(0))
            self.publisher_beats(Random(0))
            while self.down:
                envelope = self.down.pop(0)
                self.take(envelope)
                envelope.sending.done = True
            while self.unconsumed:
                self.fetcher.consumed(self.unconsumed.pop(0))
        assert self.fetcher.received_seq == self.head
        self.accepted_once_and_in_order()
        self.durable = self.fetcher.received_seq
        self.outbox.fetch(self.fetcher.fetch(self.durable))
        self.publisher_frees(Random(0))
        assert self.tail == self.head + 1


# Of its own, because hypothesis prefers extreme numbers, and a channel that mostly fails shows little.
@pytest.mark.parametrize("lends", [False, True], ids=["socket", "lent"])
@given(window=st.integers(1, 6 * RECORD_BYTES), seed=st.integers(0, 1 << 32), count=st.integers(200, 900))
@settings(max_examples=120, deadline=None)
def test_every_record_is_accepted_once_and_in_order_whatever_happens(
    lends: bool, window: int, seed: int, count: int
) -> None:
    random, model = Random(seed), FetchModel(window, lends=lends)
    for step in random.choices(STEPS + SPILLS if lends else STEPS, k=count):
        getattr(model, step)(random)
        model.check()
    model.calm()


def connected(window: int = 10 * RECORD_BYTES) -> tuple[Outbox, Fetcher]:
    outbox, fetcher = Outbox(7), Fetcher(7, 0, SCHEMA, window)
    assert outbox.fetch(fetcher.fetch(0))
    return outbox, fetcher


def data(seq: int, *, generation: int = 0, epoch: int = 7, kind: int | None = None) -> tuple[Data, list[bytes]]:
    found, parts = content(seq)
    kind = found if kind is None else kind
    return Data(epoch, generation, seq, kind, 0, seq, 99, tuple(map(zlib.crc32, parts))), parts


def test_a_lost_last_record_is_noticed_by_the_next_head() -> None:
    outbox, fetcher = connected()
    outbox.sent(9)  # and lost, and nothing follows
    before = fetcher.fetch(0)
    fetcher.head(Head(7, outbox.generation, outbox.cursor, 1))
    after = fetcher.fetch(0)
    assert (after.generation, after.from_seq) == (before.generation + 1, 1)
    assert outbox.fetch(after)
    assert outbox.cursor == 1


@pytest.mark.parametrize("head", [Head(7, 0, 1, 50), Head(7, -1, 0, 50), Head(6, 0, 9, 50), Head(7, 5, 9, 50)])
def test_a_head_that_proves_no_loss_asks_for_nothing(head: Head) -> None:
    _, fetcher = connected()
    fetcher.head(head)
    assert fetcher.fetch(0).generation == 0


@pytest.mark.parametrize("last_seq", [0, -1])
def test_a_gap_never_leads_backwards(last_seq: int) -> None:
    _, fetcher = connected()
    assert fetcher.accept(*data(1))
    assert not fetcher.gap(Gap(7, 0, 2, last_seq, ""))
    assert fetcher.next_seq == 2
    assert fetcher.refused == {"stale gap": 1}


def test_an_unknown_kind_is_asked_for_again_not_counted_as_received() -> None:
    """Its payload could not be read later, and the record would be missing without a word."""
    _, fetcher = connected()
    assert not fetcher.accept(*data(1, kind=77))
    assert fetcher.refused == {"unknown kind": 1}
    assert fetcher.fetch(0).generation == 1
    assert fetcher.fetch(0).from_seq == 1


@pytest.mark.parametrize(
    ("fetch", "taken"),
    [
        (Fetch(7, 0, 3, 100, 2), True),
        (Fetch(7, 0, 3, 100, 3), False),
        (Fetch(7, 0, 3, 100, -1), False),
        (Fetch(7, 0, 0, 100, 0), False),
        (Fetch(7, -1, 3, 100, 0), False),
        (Fetch(6, 0, 3, 100, 0), False),
    ],
)
def test_a_fetch_that_contradicts_itself_frees_nothing(fetch: Fetch, taken: bool) -> None:
    outbox = Outbox(7)
    outbox.fetch(Fetch(7, 0, 1, 100, 0))
    assert outbox.fetch(fetch) is taken
    assert outbox.durable_seq == (2 if taken else 0)


def test_an_overtaken_fetch_does_not_widen_the_window() -> None:
    outbox = Outbox(7)
    assert outbox.fetch(Fetch(7, 0, 1, 100, 0))
    outbox.sent(60)
    assert outbox.fetch(Fetch(7, 0, 2, 40, 0))
    assert not outbox.fetch(Fetch(7, 0, 1, 100, 0))
    outbox.sent(60)
    assert not outbox.may_send(99)


def test_in_flight_waits_for_the_oldest_that_is_not_done() -> None:
    in_flight = InFlight()
    sendings = [Sending() for _ in range(4)]
    for seq, sending in enumerate(sendings, 1):
        in_flight.add(seq, sending)
    assert in_flight.free_to(4) == 1
    sendings[0].done = sendings[2].done = True
    assert in_flight.free_to(4) == 2
    in_flight.add(1, again := Sending())  # asked for again in a new generation
    sendings[1].done = sendings[3].done = True
    assert in_flight.free_to(4) == 1
    again.done = True
    assert in_flight.free_to(4) == 5
    assert in_flight.free_to(2) == 3
