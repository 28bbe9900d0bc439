"""The way to a writer: reachable, how far, and through which interface.

A writer carries out sessions and nothing else, so no throughput is measured here: what is looked at is what any peer
can see, TCP's connect and ZeroMQ's handshake.
"""

from __future__ import annotations

import fcntl
import socket
import statistics
import struct
import time
from pathlib import Path
from urllib.parse import urlsplit

import zmq
from zmq.utils.monitor import recv_monitor_message

from control.doctor_figures import LinkProbe
from transport.errors import UsageError
from transport.keys import RecorderKeys
from transport.sockets import HANDSHAKE_FAILED, keys_to_wire, publisher_socket, why_refused

# The writer counts each of them as a peer that went away.
_CONNECTS = 3
_TIMEOUT_S = 3.0
_SIOCGIFADDR = 0x8915


def probe_link(address: str, keys: RecorderKeys | None = None, timeout_s: float = _TIMEOUT_S) -> LinkProbe:
    """Connect as a recorder would, without beginning a session.

    Args:
        address: tcp://HOST:PORT or ipc://PATH.

    Raises:
        UsageError: an address of another form.
    """
    parts = _parsed(address)
    if parts is None:
        handshake_ms, error = _handshake(address, keys, timeout_s)
        return LinkProbe(address, same_machine=True, handshake_ms=handshake_ms, error=error)
    try:
        times_ms, ours, theirs = _connects(parts, timeout_s)
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        return LinkProbe(address, error=f"no connection ({reason}); start `onbeat writer` there, and look at firewalls")
    handshake_ms, error_text = _handshake(address, keys, timeout_s)
    interface, bytes_per_s = _interface(ours)
    return LinkProbe(
        address,
        same_machine=ours == theirs,
        connect_ms=(statistics.median(times_ms), max(times_ms)),
        handshake_ms=handshake_ms,
        interface=interface,
        interface_bytes_per_s=bytes_per_s,
        error=error_text,
    )


def _parsed(address: str) -> tuple[str, int] | None:
    """Host and port; None for an ipc address."""
    parts = urlsplit(address)
    if parts.scheme == "ipc" and (parts.netloc or parts.path):
        return None
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if parts.scheme != "tcp" or host is None or port is None:
        raise UsageError(f"--writer.address={address} found, expected tcp://HOST:PORT or ipc://PATH")
    return host, port


def _connects(to: tuple[str, int], timeout_s: float) -> tuple[list[float], str, str]:
    """Milliseconds of some TCP connects; our own and the writer's IP address."""
    times_ms = []
    for _ in range(_CONNECTS):
        began_s = time.monotonic()
        with socket.create_connection(to, timeout_s) as connection:
            times_ms.append((time.monotonic() - began_s) * 1e3)
            ours, theirs = connection.getsockname()[0], connection.getpeername()[0]
    return times_ms, ours, theirs


def _handshake(address: str, keys: RecorderKeys | None, timeout_s: float) -> tuple[float | None, str]:
    """Milliseconds until a writer has let us in, or why it has not."""
    began_s = time.monotonic()
    with (
        zmq.Context() as context,
        publisher_socket(context, None if keys is None else keys_to_wire(keys)) as dealer,
        dealer.get_monitor_socket(zmq.EVENT_HANDSHAKE_SUCCEEDED | HANDSHAKE_FAILED) as monitor,
    ):
        dealer.connect(address)
        while (left_s := began_s + timeout_s - time.monotonic()) > 0 and monitor.poll(int(left_s * 1e3) + 1):
            event = recv_monitor_message(monitor)
            if event["event"] == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                return (time.monotonic() - began_s) * 1e3, ""
            refused = why_refused(event, with_keys=keys is not None)
            if refused is not None:
                return None, refused
    if keys is not None:
        return None, "it does not answer to --writer.keys: they hold the key of another writer, or it is not a writer"
    return None, "something listens there that does not speak as a writer does; check address and port"


def _interface(address: str) -> tuple[str, float | None]:
    """Name and nominal bytes per second of the interface with this IPv4 address; ("", None) where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as query:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode())
            try:
                answer = fcntl.ioctl(query.fileno(), _SIOCGIFADDR, request)
            except OSError:
                continue  # an interface without an IPv4 address
            if socket.inet_ntoa(answer[20:24]) == address:
                return name, _nominal_bytes_per_s(name)
    return "", None


def _nominal_bytes_per_s(name: str) -> float | None:
    try:
        megabits = int(Path(f"/sys/class/net/{name}/speed").read_text())
    except (OSError, ValueError):
        return None  # the kernel does not know it, as for loopback and many virtual interfaces
    return megabits * 1e6 / 8 if megabits > 0 else None
