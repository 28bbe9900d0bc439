"""The publisher process: answers the writer's FETCHes from the log ring, and from the spill when the ring runs full.

It holds nothing that ring and spill do not hold, so it can be killed and started again at any moment. When control dies
it closes the log in control's place; when the supervisor dies it goes on until everything is durable. If that cannot
be, or on SIGTERM, it leaves what is undelivered in the spill folder, for `onbeat recover`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections import deque
from typing import Any

import zmq

from transport import ledger
from transport import messages as msg
from transport.connection import Connection
from transport.errors import OnbeatError
from transport.held_log import HeldLog
from transport.lent_pictures import can_be_lent
from transport.link import Link, child_link
from transport.link_probe import LinkProbe
from transport.ring import LogRing
from transport.schema import Schema
from transport.sender import IDLE_POLL_MS, Sender
from transport.spill import Spill, open_spill

_BEAT_S = 0.25
# A writer that refused in the middle of a session may be serving somebody else for a while.
_REFUSED_S = 2.0
# On SIGTERM: how long to wait for control's last words.
_LEAVE_S = 3.0
# libzmq gives the memory of a closed connection back within milliseconds.
_STUCK_S = 1.0

FINISHED, REFUSED, LEFT = 0, 1, 3


class Publisher:
    """One session's publisher. `run` returns the process's exit code."""

    def __init__(self, ring: LogRing, spill: Spill, config: dict[str, Any], link: Link, fds: dict[str, int]) -> None:
        self._ring, self._spill, self._link = ring, spill, link
        self._wake_fd, self._control_fd, self._supervisor_fd = fds["wake"], fds["control"], fds["supervisor"]
        self._give_up_s = float(config["give_up_s"])
        self._poller = zmq.Poller()
        for fd in fds.values():
            self._poller.register(fd, zmq.POLLIN)
        self._log = HeldLog(ring, spill, lends=bool(config.get("lends")) and can_be_lent(ring.schema))
        self._notices: deque[dict[str, Any]] = deque()
        self._connection = Connection(ring, config, self._poller, link.offer)
        self._sender = Sender(ring, self._log, self._connection, self._notices.append)
        self._writer: msg.Status | None = None
        self._upload: msg.Upload | None = None
        self._asks_upload = config["dataset"].get("upload") is not None
        self._control_dead = self._supervisor_dead = False
        self._finished = self._refused = self._terminated = False
        self._measures_link = bool(config.get("measure_link"))
        self._probe: LinkProbe | None = None
        self._leave_reason = ""
        self._retry_at_s = self._leave_at_s = float("inf")
        self._stuck_again_s = 0.0
        self._next_beat_s = 0.0
        self._progress: tuple[tuple[int, ...], float] = ((), time.monotonic())
        self._peak_slots = 0

    def run(self) -> int:
        """Serve until the writer has finished the session, has refused it, or nothing more can be done."""
        self._spill.describe("recording")
        poll_ms = IDLE_POLL_MS
        while not (self._finished or self._refused or self._has_left()):
            ready = dict(self._poller.poll(poll_ms))
            self._note_deaths(ready)
            self._connection.look_after(ready)
            for message in self._connection.received():
                self._handle(message)
            self._measure_link()
            poll_ms = self._sender.send()
            self._log.turn(time.monotonic(), leaving=bool(self._leave_reason))
            self._look_after_log()
            self._beat()
        return self._end()

    def terminate(self) -> None:
        """Leave what is undelivered and end; safe to call from a signal handler."""
        self._terminated = True

    def _note_deaths(self, ready: dict[Any, int]) -> None:
        if self._wake_fd in ready:
            with contextlib.suppress(BlockingIOError):
                os.eventfd_read(self._wake_fd)
        if self._control_fd in ready:
            self._poller.unregister(self._control_fd)
            self._control_dead = True
        if self._supervisor_fd in ready:
            self._poller.unregister(self._supervisor_fd)
            self._supervisor_dead = True

    # -- the writer's words --------------------------------------------------------------------------------------

    def _handle(self, message: msg.Message) -> None:
        if isinstance(message, msg.Fetch):
            if self._connection.outbox.fetch(message):
                self._log.note_durable(message.durable_seq)
        elif isinstance(message, msg.Status):
            self._writer = message
            self._log.note_durable(message.durable_seq)
            # What became of the upload is told before, but a message can be lost.
            told = not self._asks_upload or (self._upload is not None and self._upload.settled)
            self._finished = message.finished and told
        elif isinstance(message, msg.Upload):
            if self._upload is None or (message.state, message.detail) != (self._upload.state, self._upload.detail):
                self._notices.append({"upload": message.state, "detail": message.detail})
            self._upload = message
        elif isinstance(message, msg.Episode):
            self._notices.append(
                {
                    "episode": message.episode_id,
                    "state": message.state,
                    "index": message.index,
                    "frames": message.frames,
                    "missing": message.missing,
                    "detail": message.detail,
                }
            )
        elif isinstance(message, msg.Welcome):
            self._connection.welcome = True
            self._link.offer({"writer": "welcome", "root": message.dataset_root})
            if self._measures_link:
                self._probe = LinkProbe(time.monotonic)
        elif isinstance(message, msg.Probed) and self._probe is not None:
            self._probe.arrived(message.received_bytes)
        elif isinstance(message, msg.Refused):
            self._notices.append({"refused": message.reason})
            self._refused = self._ring.head_seq == 0
            self._retry_at_s = time.monotonic() + _REFUSED_S

    def _measure_link(self) -> None:
        """Before the first episode: see how much the link carries."""
        if self._probe is None:
            return
        messages = self._probe.due()
        if messages is not None:
            self._connection.send_filler(messages)
        if self._probe.bytes_per_s is not None:
            self._notices.append({"link_bytes_per_s": self._probe.bytes_per_s})
            self._measures_link, self._probe = False, None

    # -- the end -------------------------------------------------------------------------------------------------

    def _look_after_log(self) -> None:
        now_s = time.monotonic()
        if not self._spill.is_alive():
            raise OnbeatError("the spill thread failed; its message stands above")
        if self._control_dead and not self._ring.session_ended:
            self._log.close("control process ended without ending the session")
        if now_s >= self._retry_at_s:
            self._retry_at_s = float("inf")
            self._connection.reconnect()
        if self._log.stuck and now_s >= self._stuck_again_s:
            self._stuck_again_s = now_s + _STUCK_S
            self._link.offer({"writer": "behind; the connection, which held the ring, is made anew"})
            self._connection.reconnect()
        writer = self._writer
        position = (self._log.durable_seq, *((writer.received_seq, writer.committing) if writer else ()))
        uploads = self._upload is not None and self._upload.state == msg.UploadState.UPLOADING
        commits = self._connection.welcome and writer is not None and (writer.committing > 0 or uploads)
        if position != self._progress[0] or commits:
            self._progress = (position, now_s)
        if self._leave_reason:
            return
        if self._terminated:
            self._leave("ended by SIGTERM", now_s)
        elif self._nobody_records() and now_s - self._progress[1] > self._give_up_s:
            self._leave(f"the recorder is gone and the writer made no progress for {self._give_up_s:g} s", now_s)

    def _nobody_records(self) -> bool:
        return self._supervisor_dead and (self._control_dead or self._ring.session_ended)

    def _leave(self, reason: str, now_s: float) -> None:
        self._leave_reason, self._leave_at_s = reason, now_s + _LEAVE_S
        self._spill.trouble = ""  # of the ordinary limit, which does not hold any more

    def _has_left(self) -> bool:
        """Whether everything undelivered is in the spill, or cannot get there."""
        if not self._leave_reason:
            return False
        over = time.monotonic() >= self._leave_at_s
        if self._log.spilled_seq < self._ring.head_seq:
            return over and bool(self._spill.trouble)
        return over or self._ring.session_ended or self._ring.head_seq == 0

    def _end(self) -> int:
        says_bye = self._connection.welcome and (self._finished or self._nothing_began())
        if says_bye:
            self._connection.send(msg.Bye(self._connection.outbox.epoch))
        undelivered = self._ring.head_seq - self._log.durable_seq
        if self._nothing_began():
            undelivered = 0
        if self._leave_reason and undelivered:
            text = f"{self._leave_reason}; {self._log.farewell()}"
            self._notices.append({"left": text})
            print(f"publisher: {text}", file=sys.stderr, flush=True)
            self._spill.sync()
            self._spill.describe("left", text)
        elif self._leave_reason and self._ring.head_seq > 1:
            print(f"publisher: {self._leave_reason}; it has every record on disk", file=sys.stderr, flush=True)
        self._say_notices(patient=True)
        self._connection.close(linger_ms=1000 if says_bye else 0)
        self._spill.finish()
        if self._finished:
            self._link.send({"finished": True})
        if not undelivered:
            self._spill.remove()
        return FINISHED if self._finished else REFUSED if self._refused else LEFT

    def _nothing_began(self) -> bool:
        """Whether the session was called off before its first episode: then its log holds at most its end."""
        return self._ring.head_seq == 0 or (self._ring.session_ended and self._ring.head_seq == 1)

    # -- signs of life -------------------------------------------------------------------------------------------

    def _say_notices(self, *, patient: bool = False) -> None:
        """Tell the supervisor what it must not miss; it may be busy for a while."""
        while self._notices and (self._link.send if patient else self._link.offer)(self._notices[0]):
            self._notices.popleft()

    def _beat(self) -> None:
        self._say_notices()
        ring, log, spill, writer = self._ring, self._log, self._spill, self._writer
        now_s = time.monotonic()
        self._peak_slots = max(self._peak_slots, ring.fill_slots)
        if now_s < self._next_beat_s:
            return
        self._next_beat_s = now_s + _BEAT_S
        outbox = self._connection.outbox
        if self._connection.welcome:
            self._connection.send(msg.Head(outbox.epoch, outbox.generation, outbox.cursor, ring.head_seq))
        self._link.offer(
            {
                "head_seq": ring.head_seq,
                "durable_seq": log.durable_seq,
                "fill_slots": ring.fill_slots,
                "peak_slots": self._peak_slots,
                "capacity_slots": ring.capacity,
                "connected": self._connection.welcome,
                "spill_records": log.waiting_in_spill,
                "spill_bytes": spill.nbytes,
                "spill_room_bytes": spill.room_bytes,
                "spill_trouble": spill.trouble,
                "received_seq": 0 if writer is None else writer.received_seq,
                "committing": 0 if writer is None else writer.committing,
                "disk_free_bytes": -1 if writer is None else writer.disk_free_bytes,
                "warning": "" if writer is None else writer.warning,
            }
        )
        self._peak_slots = 0


def main() -> int:
    """Entry of the process; its link's first message has `schema`, `dataset`, `address`, `owner`, `spill` and fds."""
    link, config, fds = child_link()
    names = ("ring", "wake", "control", "supervisor")
    by_name = dict(zip(names, fds, strict=True))
    ring = LogRing.attach(by_name.pop("ring"), Schema.from_wire(config["schema"]))
    about = {name: config[name] for name in ("address", "owner", "dataset", "schema")}
    wake_fd = by_name["wake"]
    spill = open_spill(
        config["spill"]["dir"], ring, about, config["spill"]["max_bytes"], lambda: os.eventfd_write(wake_fd, 1)
    )
    publisher = Publisher(ring, spill, config, link, by_name)
    ledger.hold(ring.session_id)  # until this process ends
    signal.signal(signal.SIGTERM, lambda *_: publisher.terminate())
    return publisher.run()


if __name__ == "__main__":
    raise SystemExit(main())
