"""Peers below ZeroMQ's messages: connections by the hundred, messages without an end, greetings of another time."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from ingest_harness import LIMIT_S, Parent, Recorder, ingesting

from transport import messages as msg
from transport.records import RecordKind

_GREETING = b"\xff\0\0\0\0\0\0\0\1\x7f\3\0" + b"NULL".ljust(20, b"\0") + b"\0" * 32
_READY = b"\x04\x29\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\0"
_MORE = b"\x01"


def _greeted(address: tuple[str, int]) -> socket.socket:
    """A connection that has finished ZeroMQ's handshake."""
    peer = socket.create_connection(address, LIMIT_S)
    peer.sendall(_GREETING + _READY)
    answer = b""
    while b"READY" not in answer:
        answer += peer.recv(4096)
        assert answer
    return peer


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[tuple[str, int], Parent, Recorder]]:
    """Where ingest listens, its parent, and a recorder in an episode; it must still be served at the end."""
    with ingesting(tmp_path) as (address, parent):
        good = Recorder(address)
        assert isinstance(good.hello(), msg.Welcome)
        good.record(1, RecordKind.EPISODE_BEGAN, (0, "task"))
        good.hear(msg.Status, durable_seq=1)
        yield ("127.0.0.1", int(address.rpartition(":")[2])), parent, good
        good.record(2, RecordKind.FRAME)
        good.hear(msg.Status, durable_seq=2)
        good.close()


def test_too_many_connections_cost_the_oldest_strangers(
    served: tuple[tuple[str, int], Parent, Recorder],
) -> None:
    address, parent, _ = served
    with contextlib.ExitStack() as stack:
        peers = [stack.enter_context(socket.create_connection(address, LIMIT_S)) for _ in range(700)]
        parent.wait_for("log", "too many connections")
        # The first ones are closed from the other side; the recorder's, which is older than all, is not.
        assert peers[0].recv(4096, socket.MSG_WAITALL) is not None
        with contextlib.suppress(ConnectionResetError):
            while peers[0].recv(4096):
                pass


def test_a_message_without_an_end_is_cut_off(served: tuple[tuple[str, int], Parent, Recorder]) -> None:
    address, parent, _ = served
    with _greeted(address) as peer:
        piece = (_MORE + b"\0") * 32768
        sent = 0
        # Shut down with the window closed, a peer is not told at once.
        peer.settimeout(2)
        with contextlib.suppress(ConnectionError, TimeoutError):
            while sent < 1 << 30:
                peer.sendall(piece)
                sent += len(piece)
        assert sent < 1 << 30
    parent.wait_for("log", "said too much before it was accepted 1")


def test_greetings_of_an_older_protocol_open_nothing(served: tuple[tuple[str, int], Parent, Recorder]) -> None:
    address, parent, _ = served
    with socket.create_connection(address, LIMIT_S) as peer, contextlib.suppress(ConnectionError):
        # Version 1: an empty identity, then one message a frame, without any handshake.
        peer.sendall(b"\x01\x00" + b"\x05\x00junk" * 1000)
        while peer.recv(4096):
            pass
    parent.wait_for("log", "left without having said what it wants 1")
    assert not any("not a message" in str(said) for said in parent.said)


def test_a_frame_that_claims_to_be_larger_than_any_is_not_read(
    served: tuple[tuple[str, int], Parent, Recorder],
) -> None:
    address, _, _ = served
    with _greeted(address) as peer:
        peer.sendall(b"\x02" + (1 << 40).to_bytes(8, "big") + b"x" * 1000)
        with contextlib.suppress(ConnectionResetError):
            while peer.recv(4096):
                pass
