"""ZeroMQ sockets as both sides open them: every limit said aloud, before bind or connect."""

from __future__ import annotations

import os
from collections.abc import Mapping

import zmq

from transport import schema
from transport.keys import KeyPair, RecorderKeys, require_curve

# Messages, not bytes: the window of FETCH bounds the bytes of whoever keeps to it, this those of whoever does not.
_SEND_QUEUE_MESSAGES = 10_000
_RECEIVE_QUEUE_MESSAGES = 256
_HANDSHAKE_MS = 3_000
_RECONNECT_MS = 50
_BACKLOG = 128
# What CURVE adds to a part.
_CURVE_BYTES = 64
# What the writer says is small; what it hears is at most one picture in a part.
_MAX_CONTROL_BYTES = 1 << 21
MAX_PART_BYTES = schema.MAX_PART_BYTES + _CURVE_BYTES
# Makes libzmq ask the ZAP handler of the context (writer/doorkeeper.py) about every connection.
ZAP_DOMAIN = b"onbeat"

# Of libzmq's ZMQ_PROTOCOL_ERROR_*, as its monitor gives them.
_CRYPTOGRAPHIC = 0x11000001
_MECHANISM_MISMATCH = 0x11000002
# Which monitor events say that a connection did not come about.
HANDSHAKE_FAILED = (
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL | zmq.EVENT_HANDSHAKE_FAILED_AUTH
)


def _limits(socket: zmq.Socket[bytes], max_part_bytes: int) -> None:
    socket.setsockopt(zmq.SNDHWM, _SEND_QUEUE_MESSAGES)
    socket.setsockopt(zmq.RCVHWM, _RECEIVE_QUEUE_MESSAGES)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, max_part_bytes)
    socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
    socket.setsockopt(zmq.IPV6, 1)


def publisher_socket(
    context: zmq.Context[zmq.Socket[bytes]], keys: Mapping[str, str] | None = None
) -> zmq.Socket[bytes]:
    """A DEALER, not yet connected. `keys` are `keys_to_wire`'s; None talks in the clear."""
    socket = context.socket(zmq.DEALER)
    _limits(socket, _MAX_CONTROL_BYTES)
    socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
    # Without this, messages would be queued for a peer that is not there and reach a later one.
    socket.setsockopt(zmq.IMMEDIATE, 1)
    if keys is not None:
        require_curve()
        socket.setsockopt(zmq.CURVE_PUBLICKEY, keys["public"].encode())
        socket.setsockopt(zmq.CURVE_SECRETKEY, keys["secret"].encode())
        socket.setsockopt(zmq.CURVE_SERVERKEY, keys["writer"].encode())
    return socket


def writer_socket(context: zmq.Context[zmq.Socket[bytes]], pair: KeyPair | None = None) -> zmq.Socket[bytes]:
    """A ROUTER, not yet bound. Whom the context's ZAP handler does not know is not let in.

    With a `pair` only peers get so far that encrypt for it.
    """
    socket = context.socket(zmq.ROUTER)
    _limits(socket, MAX_PART_BYTES)
    socket.setsockopt(zmq.BACKLOG, _BACKLOG)
    # A peer that is gone is an error to handle, not a message to drop silently.
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    # An ipc address can be reached by every user of the machine.
    socket.setsockopt(zmq.IPC_FILTER_UID, os.getuid())
    if pair is not None:
        require_curve()
        socket.setsockopt(zmq.CURVE_SERVER, 1)
        socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret.encode())
        # Without anybody to ask, libzmq would let in whoever has any key at all.
        socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
    # With a domain libzmq asks about everybody, and takes nobody who greets as it did before version 3 of its protocol:
    # to those, any byte is the beginning of a message.
    socket.setsockopt(zmq.ZAP_DOMAIN, ZAP_DOMAIN)
    return socket


def keys_to_wire(keys: RecorderKeys) -> dict[str, str]:
    """For the link to the publisher process: never an argument, never an environment variable."""
    return {"public": keys.pair.public, "secret": keys.pair.secret, "writer": keys.writer_public}


def why_refused(event: Mapping[str, object], *, with_keys: bool) -> str | None:
    """What a recorder's user does about a HANDSHAKE_FAILED event; None where trying again may help."""
    if event["event"] == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return "the writer does not know this recorder's key; add it to recorders.toml in the writer's folder of keys"
    if event["event"] == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL and event["value"] == _MECHANISM_MISMATCH:
        if with_keys:
            return "the writer runs without keys; leave --writer.keys away, or start the writer with --keys"
        return "the writer lets in only recorders with a key; set --writer.keys (`onbeat keys` makes them)"
    return None


def why_turned_away(event: Mapping[str, object]) -> str | None:
    """The same event as the writer counts it; None for events that are no refusal."""
    if event["event"] == zmq.EVENT_HANDSHAKE_FAILED_AUTH:
        return "key not on the list"
    if event["event"] == zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL:
        return "handshake not finished"
    if event["event"] == zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL:
        return {_CRYPTOGRAPHIC: "wrong writer key", _MECHANISM_MISMATCH: "no key, or keys not wanted"}.get(
            int(str(event["value"])), "not ZeroMQ's handshake"
        )
    return None
