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

from transport import messages as msg
from transport.connection import Connection
from transport.errors import CodecError, OnbeatError
from transport.held_log import HeldLog
from transport.link import Link, child_link
from transport.link_probe import LinkProbe
from transport.outbox import InFlight
from transport.records import RecordKind
from transport.ring import LogRing
from transport.schema import Schema
from transport.spill import Spill, open_spill

_BEAT_S = 0.25
_POLL_MS = 50
# While only a full link holds sending up: nothing wakes us when libzmq has sent something.
_LINK_POLL_MS = 2
# What may be on its way into the socket at once, however much the writer asks for: the less a slow link holds, the
# sooner slots are free again. The kernel's own buffers come on top and cover the delay of a long line.
_IN_FLIGHT_BYTES = 8 << 20
_IN_FLIGHT_PART = 4  # of the ring
_TURN_BYTES = 16 << 20
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
        self._log = HeldLog(ring, spill)
        self._copies = InFlight()
        self._notices: deque[dict[str, Any]] = deque()
        self._connection = Connection(ring, config, self._poller, link.offer)
        self._writer: msg.Status | None = None
        self._control_dead = self._supervisor_dead = False
        self._finished = self._refused = self._terminated = False
        self._measures_link = bool(config.get("measure_link"))
        self._probe: LinkProbe | None = None
        self._leave_reason = ""
        self._retry_at_s = self._leave_at_s = float("inf")
        self._stuck_again_s = 0.0
        self._highest_sent = 0
        self._next_beat_s = 0.0
        self._progress: tuple[tuple[int, ...], float] = ((), time.monotonic())
        self._peak_slots = 0

    def run(self) -> int:
        """Serve until the writer has finished the session, has refused it, or nothing more can be done."""
        self._spill.describe("recording")
        poll_ms = _POLL_MS
        while not (self._finished or self._refused or self._has_left()):
            ready = dict(self._poller.poll(poll_ms))
            self._note_deaths(ready)
            self._connection.look_after(ready)
            for message in self._connection.received():
                self._handle(message)
            self._measure_link()
            poll_ms = self._send_records()
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
            self._finished = message.finished
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

    # -- the records ---------------------------------------------------------------------------------------------

    def _send_records(self) -> int:
        """Send what was asked for; returns how long to wait, in milliseconds, before trying to send more."""
        outbox, log = self._connection.outbox, self._log
        turn_bytes = 0
        while outbox.may_send(self._ring.head_seq):
            if turn_bytes > _TURN_BYTES:
                return 0
            if self._link_is_full():
                return _LINK_POLL_MS
            seq = outbox.cursor
            held = log.first_held(seq)
            if held > seq:
                self._skip(seq, held - 1, "no longer held by the publisher")
                continue
            try:
                record = log.read(seq, verify=seq <= self._highest_sent)
            except (CodecError, OSError) as error:
                self._skip(seq, seq, str(error))
                continue
            nbytes = sum(memoryview(part).nbytes for part in record.parts)
            header = msg.Data(
                outbox.epoch, outbox.generation, seq, record.kind, record.episode_id, record.frame_index,
                self._ring.head_seq, record.crcs,
            )  # fmt: skip
            sending = self._connection.send_record(header, list(record.parts))
            if sending is None:
                return _LINK_POLL_MS
            (log.reading if record.in_ring else self._copies).add(seq, sending, nbytes)
            self._highest_sent = max(self._highest_sent, seq)
            outbox.sent(nbytes)
            turn_bytes += nbytes
        return _POLL_MS

    def _link_is_full(self) -> bool:
        in_ring = self._log.reading.nbytes
        ring_part = self._ring.nbytes // _IN_FLIGHT_PART
        return in_ring > ring_part or in_ring + self._copies.nbytes > _IN_FLIGHT_BYTES

    def _skip(self, first_seq: int, last_seq: int, reason: str) -> None:
        outbox = self._connection.outbox
        if self._connection.send(msg.Gap(outbox.epoch, outbox.generation, first_seq, last_seq, reason)):
            outbox.skip_to(last_seq + 1)
            self._notices.append({"lost": f"records {first_seq} to {last_seq} of the log are lost: {reason}"})

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
        if position != self._progress[0]:
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
        if self._finished:
            self._connection.send(msg.Bye(self._connection.outbox.epoch))
        undelivered = self._ring.head_seq - self._log.durable_seq
        if self._ring.session_ended and self._ring.head_seq == 1:
            undelivered = 0  # refused before anything began: the end of the session is all that its log holds
        if self._leave_reason and undelivered:
            text = self._last_words(undelivered)
            self._notices.append({"left": text})
            print(f"publisher: {text}", file=sys.stderr, flush=True)
            self._spill.sync()
            self._spill.describe("left", text)
        self._say_notices(patient=True)
        self._connection.close(linger_ms=1000 if self._finished else 0)
        self._spill.finish()
        if self._finished:
            self._link.send({"finished": True})
        if not undelivered:
            self._spill.remove()
        return FINISHED if self._finished else REFUSED if self._refused else LEFT

    def _last_words(self, undelivered: int) -> str:
        kept = self._log.spilled_seq - self._log.durable_seq
        text = f"{self._leave_reason}; {kept} undelivered records are in {self._spill.folder} for `onbeat recover`"
        if kept == undelivered:
            return text
        first = self._log.spilled_seq + 1
        frames = [f for f in map(self._frame_at, range(first, self._ring.head_seq + 1)) if f is not None]
        lost = f"; {undelivered - kept} records from {first} on are lost ({self._spill.trouble})"
        if frames:
            lost += f": frame {frames[0][1]} of take {frames[0][0]} to frame {frames[-1][1]} of take {frames[-1][0]}"
        return text + lost

    def _frame_at(self, seq: int) -> tuple[int, int] | None:
        kind, episode_id, frame_index, _ = self._ring.read(seq)
        return (episode_id, frame_index) if kind is RecordKind.FRAME else None

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
    signal.signal(signal.SIGTERM, lambda *_: publisher.terminate())
    return publisher.run()


if __name__ == "__main__":
    raise SystemExit(main())
