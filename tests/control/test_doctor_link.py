from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from control.doctor_link import probe_link
from transport.errors import UsageError
from transport.keys import KeyPair, RecorderKeys, make_pair
from transport.sockets import writer_socket
from writer.doorkeeper import Doorkeeper
from writer.refusals import Refusals


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as context:
        yield context


@contextmanager
def listen(
    context: zmq.Context[zmq.Socket[bytes]], address: str, pair: KeyPair | None = None, known: str = ""
) -> Iterator[zmq.Socket[bytes]]:
    """A writer's socket with its doorkeeper, who knows one recorder by its public key."""
    with writer_socket(context, pair) as bound:
        doorkeeper = Doorkeeper(context, bound, Refusals(), 100, None if pair is None else lambda: {known: "robot"})
        doorkeeper.start()
        try:
            bound.bind(address)
            yield bound
        finally:
            doorkeeper.stop()


def at(bound: zmq.Socket[bytes]) -> str:
    """The address with its port, as a recorder writes it."""
    port = bound.getsockopt_string(zmq.LAST_ENDPOINT).rpartition(":")[2]
    return f"tcp://127.0.0.1:{port}"


def test_a_writer_that_listens_is_reached_and_told_nothing(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    with listen(context, "tcp://127.0.0.1:*") as writer:
        found = probe_link(at(writer))
        assert found.error == ""
        assert found.same_machine
        assert found.connect_ms is not None
        assert 0 < found.connect_ms[0] <= found.connect_ms[1]
        assert found.handshake_ms is not None
        assert not writer.poll(100)


def test_a_writer_at_an_ipc_address_is_reached(context: zmq.Context[zmq.Socket[bytes]], tmp_path: Path) -> None:
    with listen(context, f"ipc://{tmp_path}/writer"):
        found = probe_link(f"ipc://{tmp_path}/writer")
        assert (found.error, found.same_machine, found.connect_ms) == ("", True, None)


def test_where_nobody_listens_the_error_says_so() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        found = probe_link(f"tcp://127.0.0.1:{unused.getsockname()[1]}")
    assert "Connection refused" in found.error
    assert "onbeat writer" in found.error


def test_a_name_that_nobody_has_is_said() -> None:
    assert "no connection" in probe_link("tcp://nowhere.invalid:5757").error


def test_something_else_that_listens_is_no_writer() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        found = probe_link(f"tcp://127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.3)
    assert found.connect_ms is not None
    assert found.handshake_ms is None
    assert "does not speak as a writer" in found.error


def test_a_writer_with_keys_wants_them(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    pair, robot = make_pair(), make_pair()
    with listen(context, "tcp://127.0.0.1:*", pair, robot.public) as writer:
        assert "set --writer.keys" in probe_link(at(writer)).error
        assert probe_link(at(writer), RecorderKeys(robot, pair.public)).error == ""
        stranger = RecorderKeys(make_pair(), pair.public)
        assert "does not know this recorder's key" in probe_link(at(writer), stranger).error
        mistaken = RecorderKeys(robot, make_pair().public)
        assert "key of another writer" in probe_link(at(writer), mistaken, timeout_s=0.5).error


def test_a_writer_without_keys_wants_none(context: zmq.Context[zmq.Socket[bytes]]) -> None:
    with listen(context, "tcp://127.0.0.1:*") as writer:
        found = probe_link(at(writer), RecorderKeys(make_pair(), make_pair().public))
    assert "leave --writer.keys away" in found.error


@pytest.mark.parametrize("address", ["127.0.0.1:5757", "tcp://host", "tcp://host:99999", "udp://host:1", "ipc://", ""])
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match="expected tcp://HOST:PORT or ipc://PATH"):
        probe_link(address)
