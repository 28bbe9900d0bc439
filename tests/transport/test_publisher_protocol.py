"""The publisher's side of the protocol, message by message, against a writer that the test speaks for."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import publisher_harness as harness
import pytest
import zmq
from publisher_harness import LIMIT_S, Bench, assert_frame
from wire_strategies import small_schema

from transport import messages as msg
from transport.fetcher import Fetcher
from transport.publisher import FINISHED, REFUSED
from transport.records import (
    EndReason,
    EpisodeBegan,
    EpisodeEnded,
    Event,
    Judgement,
    SessionEnded,
    Verdict,
    unpack_event,
)
from transport.schema import CHW, HWC, Kind, Schema, Stream
from transport.sockets import writer_socket

PLENTY = 1 << 28
Received = tuple[msg.Message, list[bytes]]


class Script:
    """A writer's socket; says what it is told to, and keeps what it hears."""

    def __init__(self, bench: Bench, *, stalling: bool = False) -> None:
        self.bench = bench
        self.context = zmq.Context()
        self.socket = writer_socket(self.context)
        if stalling:  # else libzmq reads ahead for us
            self.socket.setsockopt(zmq.RCVHWM, 1)
        self.socket.bind(bench.address)
        self.peer = b""
        self.epoch = -1
        self.heard: list[Received] = []

    def close(self) -> None:
        self.socket.close(linger=0)
        self.context.term()

    def say(self, message: msg.Message) -> None:
        self.socket.send_multipart([self.peer, msg.pack(message)])

    def fetch(self, generation: int, from_seq: int, durable_seq: int = 0, max_bytes: int = PLENTY) -> None:
        self.say(msg.Fetch(self.epoch, generation, from_seq, max_bytes, durable_seq))

    def status(self, durable_seq: int, *, finished: bool = False) -> None:
        self.say(msg.Status(self.epoch, durable_seq, durable_seq, 0, -1, finished, ""))

    def listen(self, timeout_ms: int = 20) -> None:
        while self.socket.poll(timeout_ms):
            timeout_ms = 0
            peer, head, *parts = self.socket.recv_multipart()
            message = msg.unpack(head)
            if isinstance(message, msg.Hello):
                self.peer, self.epoch = peer, message.epoch
            self.heard.append((message, parts))

    def until(self, condition: Callable[[], Any]) -> Any:
        deadline_s = time.monotonic() + LIMIT_S
        while not (found := condition()):
            assert time.monotonic() < deadline_s, f"heard only {[message for message, _ in self.heard[-5:]]}"
            self.listen()
        return found

    def welcome(self, durable_seq: int = 0) -> msg.Hello:
        """Take a HELLO that has not been answered yet."""
        before = self.epoch
        self.until(lambda: self.epoch != before)
        self.say(msg.Welcome(self.epoch, durable_seq, "/dataset"))
        return next(m for m, _ in reversed(self.heard) if isinstance(m, msg.Hello))

    def data(self, generation: int = 0) -> list[tuple[msg.Data, list[bytes]]]:
        """What came on the present connection under this request."""
        return [
            (message, parts)
            for message, parts in self.heard
            if isinstance(message, msg.Data) and (message.epoch, message.generation) == (self.epoch, generation)
        ]

    def seqs(self, generation: int = 0) -> list[int]:
        return [message.seq for message, _ in self.data(generation)]

    def all_of[M](self, kind: type[M]) -> list[M]:
        return [message for message, _ in self.heard if isinstance(message, kind)]

    def next_beat(self) -> msg.Head:
        """Whatever the publisher had to say before the next HEAD has been heard when this returns."""
        count = len(self.all_of(msg.Head)) + 1  # the one after next was surely sent after this call
        self.until(lambda: len(self.all_of(msg.Head)) > count)
        return self.all_of(msg.Head)[-1]


@contextmanager
def session(folder: Path, *, stalling: bool = False, **kwargs: Any) -> Iterator[tuple[Bench, Script]]:
    with harness.bench(folder, **kwargs) as bench:
        script = Script(bench, stalling=stalling)
        try:
            bench.start()
            script.welcome()
            yield bench, script
        finally:
            script.close()


def append(bench: Bench, event: Event) -> None:
    assert bench.ring.append_event(event) is not None
    os.eventfd_write(bench.wake_fd, 1)


def test_it_introduces_itself_and_answers_what_it_is_asked(tmp_path: Path) -> None:
    with session(tmp_path) as (bench, script):
        hello = script.all_of(msg.Hello)[0]
        assert (hello.protocol, hello.session_id, hello.owner) == (msg.PROTOCOL, bench.ring.session_id, "the test")
        bench.publish(5)
        assert script.next_beat() == msg.Head(script.epoch, -1, 0, 5)
        assert script.seqs() == []  # nothing is pushed
        script.fetch(0, 1)
        script.until(lambda: len(script.data()) == 5)
        for seq, (message, parts) in enumerate(script.data(), 1):
            assert_frame(seq, message, parts)
        assert script.next_beat() == msg.Head(script.epoch, 0, 6, 5)
        bench.publish(1)  # the same request goes on
        script.until(lambda: script.seqs() == [1, 2, 3, 4, 5, 6])


def test_it_sends_no_more_than_the_window_and_one_record(tmp_path: Path) -> None:
    with session(tmp_path) as (bench, script):
        bench.publish(8)
        script.fetch(0, 1, max_bytes=0)
        script.next_beat()
        assert script.seqs() == []
        script.fetch(0, 1, max_bytes=1)
        script.until(script.data)
        script.next_beat()
        assert script.seqs() == [1]
        record_bytes = sum(map(len, script.data()[0][1]))
        script.fetch(0, 2, max_bytes=2 * record_bytes + 1)
        script.until(lambda: len(script.data()) == 4)
        script.next_beat()
        assert script.seqs() == [1, 2, 3, 4]


def test_a_new_generation_rewinds_and_an_older_one_is_ignored(tmp_path: Path) -> None:
    with session(tmp_path) as (bench, script):
        bench.publish(4)
        script.fetch(0, 1)
        script.until(lambda: len(script.data(0)) == 4)
        script.fetch(2, 3)
        script.until(lambda: script.seqs(2) == [3, 4])
        script.fetch(1, 1)
        assert script.next_beat().generation == 2
        assert script.seqs(1) == []
        for message, parts in script.data(2):
            assert_frame(message.seq, message, parts)


def test_a_new_connection_has_a_new_epoch_and_the_old_one_has_no_say(tmp_path: Path) -> None:
    with session(tmp_path) as (bench, script):
        bench.publish(3)
        script.fetch(0, 1)
        script.until(lambda: len(script.data()) == 3)
        first = script.epoch
        script.close()
        bench.publish(2)
        again = Script(bench)
        try:
            again.welcome()
            assert again.epoch > first
            again.say(msg.Fetch(first, 9, 1, PLENTY, 3))
            again.say(msg.Status(first, 3, 3, 0, -1, True, ""))
            assert again.next_beat() == msg.Head(again.epoch, -1, 0, 5)
            again.fetch(0, 1)
            again.until(lambda: again.seqs() == [1, 2, 3, 4, 5])
            assert bench.ring.tail_seq == 1
            for message, parts in again.data():
                assert_frame(message.seq, message, parts)
        finally:
            again.close()


def test_noise_is_ignored(tmp_path: Path) -> None:
    with session(tmp_path) as (bench, script):
        bench.publish(2)
        good = msg.pack(msg.Fetch(script.epoch, 0, 1, PLENTY, 0))
        for noise in (b"", b"\x00" * 100, good[:-1], bytes([good[0] ^ 1]) + good[1:], os.urandom(5000)):
            script.socket.send_multipart([script.peer, noise])
        script.socket.send_multipart([script.peer, b"", b"", b""])
        script.say(msg.Hello(1, "x", script.epoch, {}, {}, "not yours to say"))
        script.say(msg.Bye(script.epoch))
        script.fetch(0, 1)
        script.until(lambda: script.seqs() == [1, 2])


def test_records_that_are_gone_are_a_gap_and_the_rest_follows(tmp_path: Path) -> None:
    with session(tmp_path) as (bench, script):
        bench.publish(5)
        script.fetch(0, 1)
        script.until(lambda: len(script.data()) == 5)
        script.fetch(0, 6, durable_seq=3)
        script.until(lambda: bench.ring.tail_seq == 4)
        script.fetch(1, 1)
        script.until(lambda: len(script.data(1)) == 2)
        assert [(gap.generation, gap.first_seq, gap.last_seq) for gap in script.all_of(msg.Gap)] == [(1, 1, 3)]
        assert script.seqs(1) == [4, 5]
        bench.until(lambda: any("records 1 to 3" in told.get("lost", "") for told in bench.told))


@pytest.mark.parametrize("sizes", [(320,), (128,), (320, 128)], ids=["large", "small", "large, then small"])
def test_a_durable_record_keeps_its_slot_while_a_message_points_at_it(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    """Asked for again, then durable by the first sending while the second still waits for a reader that stalls.

    If slots went back with durable_seq alone, the second sending would carry later frames under old numbers. On a busy
    machine the publisher may take the reader for lost and connect anew before it sends again; then it is tried again.
    """
    for number in range(5):
        (tmp_path / str(number)).mkdir()
        if _is_asked_again_after_it_is_durable(tmp_path / str(number), sizes):
            return
    pytest.fail("in none of five sessions was anything sent again before the publisher connected anew")


def _is_asked_again_after_it_is_durable(folder: Path, sizes: tuple[int, ...]) -> bool:
    pictures = (Stream(f"observation.images.{size}", "uint8", (size, size, 3), Kind.VIDEO, HWC) for size in sizes)
    schema = Schema((*pictures, Stream("action", "float32", (2,))))
    with session(folder, stalling=True, frames=64, schema=schema, max_bytes=0) as (bench, script):
        bench.publish(60)
        script.fetch(0, 1)
        script.until(lambda: len(script.data()) == 60)
        script.fetch(1, 1)
        script.status(60)
        bench.until(lambda: bench.status.get("durable_seq") == 60)
        # Into the slots of records 1 to 26, and nothing of what was sent is read meanwhile.
        bench.publish(38)
        assert bench.ring.head_seq > bench.ring.slot_count
        script.until(lambda: script.data(1) or len(script.all_of(msg.Hello)) > 1)
        script.listen(200)
        sent = [(message, parts) for message, parts in script.heard if isinstance(message, msg.Data)]
        for message, parts in sent:
            assert_frame(message.seq, message, parts)
        return any(message.generation == 1 for message, _ in sent)


@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
@pytest.mark.parametrize("layout", [CHW, HWC], ids=["CHW", "HWC"])
def test_pictures_arrive_as_lerobot_stores_them(tmp_path: Path, dtype: str, layout: tuple[str, ...]) -> None:
    schema = small_schema(2, dtype=dtype, layout=layout)
    with session(tmp_path, schema=schema) as (bench, script):
        random = np.random.default_rng(3)
        slot = bench.ring.next_slot()
        assert slot is not None
        expected = []
        for stream, target in zip(schema.pictures, slot.pictures, strict=True):
            picture = random.integers(0, 256, stream.shape, np.uint8)
            if dtype != "uint8":
                picture = random.random(stream.shape).astype(dtype)
            target[:] = picture
            stored = picture if dtype == "uint8" else (picture * 255).astype(np.uint8)
            expected.append(stored.transpose(1, 2, 0) if layout == CHW else stored)
        bench.ring.append_frame(0, 0)
        script.fetch(0, 1)
        script.until(script.data)
        _, parts = script.data()[0]
        for part, picture in zip(parts[1:], expected, strict=True):
            assert np.array_equal(np.frombuffer(part, np.uint8).reshape(24, 32, 3), picture)


def test_damage_in_memory_shows_after_a_restart_and_becomes_a_gap(tmp_path: Path) -> None:
    """The CRC of the first sending is in the ring; a new publisher neither forgets it nor blesses the damage."""
    with session(tmp_path) as (bench, script):
        bench.publish(3)
        script.fetch(0, 1)
        script.until(lambda: len(script.data()) == 3)
        before = {message.seq: message.crcs for message, _ in script.data()}
        bench.kill()
        bench.ring.read(2)[3].pictures[0][5, 5, 1] ^= 1
        bench.start()
        script.welcome()
        script.fetch(0, 1)
        script.until(lambda: len(script.data()) == 3)
        assert {message.seq: message.crcs for message, _ in script.data()} == before
        fetcher = Fetcher(script.epoch, 0, bench.ring.schema, PLENTY)
        taken = [fetcher.accept(message, parts) for message, parts in script.data()]
        assert [record is not None for record in taken] == [True, False, False]
        assert fetcher.refused == {"damaged": 1, "older request": 1}
        script.say(fetcher.fetch(0))
        script.until(lambda: script.all_of(msg.Gap))
        (gap,) = script.all_of(msg.Gap)
        assert (gap.first_seq, gap.last_seq) == (2, 2)
        assert fetcher.gap(gap)
        script.until(lambda: script.seqs(1) == [3])
        assert fetcher.accept(*script.data(1)[0])


@pytest.mark.parametrize("publisher_too", [False, True], ids=["control", "control and publisher"])
def test_the_death_of_control_closes_the_log_as_aborted(tmp_path: Path, publisher_too: bool) -> None:
    with session(tmp_path) as (bench, script):
        append(bench, EpisodeBegan(0, "task"))
        append(bench, EpisodeEnded(0, 0, EndReason.NEXT))
        append(bench, Verdict(0, Judgement.KEEP))
        append(bench, EpisodeBegan(1, "task"))
        for index in range(3):
            slot = bench.ring.next_slot()
            assert slot is not None
            bench.ring.append_frame(1, index)
        if publisher_too:
            bench.kill()
        bench.control.kill()
        if publisher_too:
            bench.start()
            script.welcome()
        script.fetch(0, 1)
        script.until(lambda: len(script.data()) == 10)
        last = [unpack_event(message.kind, parts[0]) for message, parts in script.data()[-3:]]
        ended, verdict, over = last
        assert isinstance(ended, EpisodeEnded)
        assert (ended.episode_id, ended.frames, ended.reason) == (1, 3, EndReason.ABORTED)
        assert verdict == Verdict(1, Judgement.ABORTED)
        assert isinstance(over, SessionEnded)
        assert "control" in over.detail
        assert [message.episode_id for message, _ in script.data()] == [0, 0, 0, 1, 1, 1, 1, 1, 1, 0]


def test_a_session_that_ended_in_order_is_not_closed_again(tmp_path: Path) -> None:
    with session(tmp_path) as (bench, script):
        append(bench, SessionEnded())
        bench.control.kill()
        bench.control.wait()
        script.fetch(0, 1)
        script.until(script.data)
        script.next_beat()
        assert script.seqs() == [1]


def test_finished_is_answered_with_bye_and_exit_code_0(tmp_path: Path) -> None:
    with session(tmp_path) as (bench, script):
        append(bench, SessionEnded())
        script.fetch(0, 1)
        script.until(script.data)
        script.status(1, finished=True)
        assert bench.wait() == FINISHED == 0
        script.until(lambda: script.all_of(msg.Bye))
        assert script.all_of(msg.Bye) == [msg.Bye(script.epoch)]
        assert any(told.get("finished") for told in bench.told)


def test_refused_before_the_first_record_it_ends_with_a_code_and_the_reason(tmp_path: Path) -> None:
    with harness.bench(tmp_path) as bench:
        script = Script(bench)
        try:
            bench.start()
            script.until(lambda: script.epoch >= 0)
            script.say(msg.Refused(script.epoch, "the disk is\nfull"))
            assert bench.wait() == REFUSED == 1
            assert {"refused": "the disk is\nfull"} in bench.told
        finally:
            script.close()


def test_it_does_not_die_of_ctrl_c(tmp_path: Path) -> None:
    """In a terminal Ctrl-C reaches whole process groups; only the supervisor decides what it means."""
    with session(tmp_path) as (bench, script):
        assert bench.process is not None
        bench.process.send_signal(signal.SIGINT)
        bench.publish(1)
        script.fetch(0, 1)
        script.until(script.data)
        assert bench.process.poll() is None
