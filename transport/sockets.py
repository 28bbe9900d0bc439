"""ZeroMQ sockets as both sides open them: every limit said aloud, before bind or connect."""

from __future__ import annotations

from collections.abc import Mapping

import zmq

# Messages, not bytes: the window of FETCH bounds the bytes.
_QUEUE_MESSAGES = 10_000
_HANDSHAKE_MS = 3_000
_RECONNECT_MS = 50
# What the writer says is small; what it hears is at most one picture in a part.
_MAX_CONTROL_BYTES = 1 << 21
MAX_PART_BYTES = 1 << 28


def _limits(socket: zmq.Socket[bytes], max_part_bytes: int) -> None:
    socket.setsockopt(zmq.SNDHWM, _QUEUE_MESSAGES)
    socket.setsockopt(zmq.RCVHWM, _QUEUE_MESSAGES)
    socket.setsockopt(zmq.LINGER, 0)
    socket.setsockopt(zmq.MAXMSGSIZE, max_part_bytes)
    socket.setsockopt(zmq.HANDSHAKE_IVL, _HANDSHAKE_MS)
    socket.setsockopt(zmq.IPV6, 1)


def publisher_socket(
    context: zmq.Context[zmq.Socket[bytes]], keys: Mapping[str, str] | None = None
) -> zmq.Socket[bytes]:
    """A DEALER, not yet connected. `keys` is reserved for CURVE: the recorder's pair and the writer's public key."""
    socket = context.socket(zmq.DEALER)
    _limits(socket, _MAX_CONTROL_BYTES)
    socket.setsockopt(zmq.RECONNECT_IVL, _RECONNECT_MS)
    # Without this, messages would be queued for a peer that is not there and reach a later one.
    socket.setsockopt(zmq.IMMEDIATE, 1)
    return socket


def writer_socket(context: zmq.Context[zmq.Socket[bytes]]) -> zmq.Socket[bytes]:
    """A ROUTER, not yet bound."""
    socket = context.socket(zmq.ROUTER)
    _limits(socket, MAX_PART_BYTES)
    # A peer that is gone is an error to handle, not a message to drop silently.
    socket.setsockopt(zmq.ROUTER_MANDATORY, 1)
    return socket
