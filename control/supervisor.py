"""The supervisor: starts publisher and local writer, restarts them, watches control, tells the operator.

It owns no frame and no clock. It holds the log ring's file descriptor open, so that the memory outlives any one
process; it learns of deaths by pidfd, and it is quiet while everything goes on.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from control.board import Board
from control.control_handle import ControlHandle
from control.display import Display
from control.link_load import LinkLoad
from control.overload import LogFill, OverloadWatch
from control.summary import Summary
from control.tones import Tones
from transport import ledger
from transport.dataset_spec import DatasetSpec
from transport.errors import OnbeatError, RefusedError
from transport.keys import load_recorder
from transport.link import Link, spawn
from transport.schema import Schema
from transport.sockets import keys_to_wire

_TURN_S = 0.25
_MAX_RESTARTS = 10
# The publisher may have to write a whole ring to disk before it ends.
_PUBLISHER_END_S = 60.0
_LOCAL_WRITER = "writer.local"


@dataclass(frozen=True, slots=True)
class SupervisorSettings:
    """What of the flags concerns the supervisor.

    Attributes:
        writer_address: of a writer of its own; None starts one here.
        writer_keys: file of this recorder's key; None where the writer wants none.
        timeout_s: how long the writer may take to answer before the first episode.
        min_free_bytes: on the writer's disk; below it the session ends.
        spill_dir, spill_max_bytes: where the publisher puts what the ring has no room for, and how much of it.
        spill_warning: what is wrong with that folder; empty when nothing is.
        give_up_s: without any progress of the writer for so long after the recording ended, what is undelivered is
            left in the spill folder.
        play_sounds: None plays them where the machine has a player.
        others_cpus: processors of supervisor, publisher and local writer; None for all.
    """

    spec: DatasetSpec
    owner: str
    writer_address: str | None = None
    timeout_s: float = 60.0
    min_free_bytes: int = 500_000_000
    num_episodes: int = 1
    spill_dir: str = ""
    spill_warning: str = ""
    spill_max_bytes: int = 0
    give_up_s: float = 120.0
    play_sounds: bool | None = None
    others_cpus: Sequence[int] | None = None
    writer_keys: str | None = None


@dataclass
class _Process:
    """A child and the times at which it was started."""

    process: subprocess.Popen[bytes]
    link: Link
    pidfd: int
    starts: deque[float] = field(default_factory=deque)


class Supervisor:
    """One session. `run` returns what was recorded."""

    def __init__(self, settings: SupervisorSettings, control: ControlHandle, display: Display) -> None:
        self._settings, self._control, self._display = settings, control, display
        self._address = settings.writer_address or f"ipc://@onbeat-{os.getpid()}-{time.monotonic_ns()}"
        self._keys = None if settings.writer_keys is None else keys_to_wire(load_recorder(Path(settings.writer_keys)))
        self._own_pidfd = os.pidfd_open(os.getpid())
        self._ready: dict[str, Any] = {}
        self._fds: list[int] = []
        self._board: Board | None = None
        self._publisher: _Process | None = None
        self._writer: _Process | None = None
        self._welcome = self._finished = self._ended = False
        self._link_bytes_per_s: float | None = None
        self._left = ""
        self._publisher_status: dict[str, Any] = {}
        self._overload: OverloadWatch | None = None
        self._tones = Tones(settings.play_sounds, display.bell, display.warn)
        self._progress = (0, 0.0)
        self._stops = 0
        self._summary = Summary(requested=settings.num_episodes, repo_id=settings.spec.repo_id)

    def run(self) -> Summary:
        """Supervise until everything recorded is in the dataset, or cannot get there.

        Raises:
            RefusedError: the writer or the environment said no before the first episode.
            OnbeatError: a process keeps dying.
        """
        signal.signal(signal.SIGINT, lambda *_: self._on_interrupt())
        signal.signal(signal.SIGTERM, lambda *_: self._on_terminate())
        if self._settings.others_cpus is not None:
            # Every child and every thread of theirs is made here and stays there.
            os.sched_setaffinity(0, self._settings.others_cpus)
        if self._settings.writer_address is None:
            self._writer = self._start_writer()
        try:
            self._await_ready()
            self._publisher = self._start_publisher()
            self._await_welcome()
            self._control.link.send({"go": True})
            self._supervise()
        except OnbeatError as error:
            self._control.link.send({"refused": str(error)})
            self._control.wait(10)
            raise
        finally:
            self._stop_children()
            self._tones.close()
            self._display.close()
        if self._left:
            self._summary.failed(self._left, 1)
        return self._summary

    # -- before the first episode --------------------------------------------------------------------------------

    def _await_ready(self) -> None:
        """Wait for control's READY; how long an environment takes to load is its own affair."""
        while not self._ready:
            received = self._control.link.receive() if self._control.wait_readable(1.0) else None
            if received is not None:
                message, fds = received
                if "failed" in message:
                    raise _refusal(message["failed"], message["exit_code"])
                if "log" in message:
                    self._display.warn(message["log"])
                    continue
                self._ready, self._fds = message["ready"], fds
                self._board = Board(fds[1])
                self._display.protections(self._ready["protections"])
                if self._settings.spill_warning:
                    self._display.warn(self._settings.spill_warning)
                record_bytes = self._ready["ring_bytes"] // self._ready["ring_slots"]
                self._overload = OverloadWatch(self._ready["fps"], record_bytes)
                spec = replace(self._settings.spec, fps=self._ready["fps"], robot_type=self._ready["robot_type"])
                self._settings = replace(self._settings, spec=spec)
            elif self._control.ended():
                raise OnbeatError(
                    f"the control process ended with code {self._control.exit_code()} before it was ready"
                )

    def _await_welcome(self) -> None:
        limit_s = time.monotonic() + self._settings.timeout_s
        self._display.note(f"waiting for the writer at {self._address}")
        while not self._welcome or (self._settings.writer_address is not None and self._link_bytes_per_s is None):
            if time.monotonic() > limit_s:
                raise RefusedError(
                    f"no writer answered at {self._address} within {self._settings.timeout_s:g} s; start one with "
                    "`onbeat writer --bind=...` or leave --writer.address away"
                )
            if self._control.ended():
                raise OnbeatError("the control process ended before the first episode")
            self._turn(0.05)
        if self._link_bytes_per_s is not None:
            self._check_link(self._link_bytes_per_s)

    def _check_link(self, bytes_per_s: float) -> None:
        load = LinkLoad(Schema.from_wire(self._ready["schema"]), self._ready["fps"], bytes_per_s)
        self._display.note(load.text)
        if load.too_much and not self._settings.spec.allow_slow_encoder:
            raise RefusedError(load.refusal)
        if load.warning:
            self._display.warn(load.warning)

    # -- children ------------------------------------------------------------------------------------------------

    def _start_writer(self) -> _Process:
        # Not told to die with us: it finishes what is in the ring when we are killed.
        process, link = spawn(_LOCAL_WRITER, {"address": self._address}, [self._own_pidfd])
        return _Process(process, link, os.pidfd_open(process.pid), deque([time.monotonic()]))

    def _start_publisher(self) -> _Process:
        config = {
            "schema": self._ready["schema"],
            "dataset": self._settings.spec.to_wire(),
            "address": self._address,
            "owner": self._settings.owner,
            "spill": {"dir": self._settings.spill_dir, "max_bytes": self._settings.spill_max_bytes},
            "give_up_s": self._settings.give_up_s,
            "keys": self._keys,
            "measure_link": self._settings.writer_address is not None and not self._welcome,
        }
        ring_fd, _, wake_fd = self._fds
        process, link = spawn("transport.publisher", config, [ring_fd, wake_fd, self._control.pidfd, self._own_pidfd])
        return _Process(process, link, os.pidfd_open(process.pid), deque([time.monotonic()]))

    def _restarted(self, old: _Process, new: _Process, name: str) -> _Process:
        old.link.close()
        os.close(old.pidfd)
        code = old.process.wait()
        starts = deque(t for t in (*old.starts, *new.starts) if t > time.monotonic() - 60)
        if len(starts) > _MAX_RESTARTS:
            raise OnbeatError(f"{name} ended {_MAX_RESTARTS} times within a minute (last with code {code})")
        self._display.warn(f"{name} ended with code {code} and was started again; recording goes on")
        new.starts = starts
        return new

    def _stop_children(self) -> None:
        self._control.release()
        for child, patience_s in ((self._publisher, _PUBLISHER_END_S), (self._writer, 90.0)):
            if child is None:
                continue
            if not self._finished and child.process.poll() is None:
                child.process.terminate()
            try:
                child.process.wait(patience_s)
            except subprocess.TimeoutExpired:
                child.process.kill()
                child.process.wait()
            if child is self._publisher:
                while select.select([child.link.fileno()], [], [], 0)[0] and self._on_publisher():
                    pass

    # -- the session ---------------------------------------------------------------------------------------------

    def _supervise(self) -> None:
        while not self._finished:
            self._turn(_TURN_S)
            if not self._ended and self._control.ended():
                self._on_control_ended("the control process died", 1)
            if self._ended and not self._finished:
                self._watch_drain()
            self._show()
        self._summary.root = self._summary.root or self._settings.spec.root or ""

    def _turn(self, timeout_s: float) -> None:
        """Take in whatever arrives within `timeout_s`."""
        poller = select.poll()
        handlers: dict[int, Callable[[], object]] = {}
        if not self._ended:
            handlers[self._control.link.fileno()] = self._on_control
        for child, on_message, on_death in (
            (self._publisher, self._on_publisher, self._on_publisher_death),
            (self._writer, self._on_writer, self._on_writer_death),
        ):
            if child is not None:
                handlers[child.link.fileno()] = on_message
                handlers[child.pidfd] = on_death
        for fd in (*handlers, *self._display.fds()):
            poller.register(fd, select.POLLIN)
        ready = [fd for fd, _ in poller.poll(timeout_s * 1000)]
        for event in self._display.pressed(readable=any(fd in ready for fd in self._display.fds())):
            if self._board is not None:
                self._board.press(event)
        for fd in ready:
            if fd in handlers:
                handlers[fd]()

    def _on_control(self) -> None:
        received = self._control.link.receive()
        if received is None:
            self._on_control_ended("the control process died", 1)
        elif "ended" in received[0]:
            message = received[0]
            self._on_control_ended(message["ended"], message["exit_code"])
        elif "log" in received[0]:
            self._display.warn(received[0]["log"])

    def _on_control_ended(self, detail: str, exit_code: int) -> None:
        self._ended = True
        self._progress = (0, time.monotonic())
        if detail:
            self._summary.failed(detail, exit_code)
            self._display.warn(detail)

    def _on_publisher(self) -> bool:
        """Take one message in; False when there will be none."""
        assert self._publisher is not None
        received = self._publisher.link.receive()
        if received is None:
            return False
        message = received[0]
        if "refused" in message:
            error = RefusedError(message["refused"])
            if not self._welcome:
                raise error
            if self._stops == 0:
                self._stop_recording(str(error))
        elif "lost" in message:
            self._summary.failed(message["lost"], 1)
            self._display.warn(message["lost"])
        elif "left" in message:
            # No failure of the session yet: the next publisher may deliver it.
            self._left = message["left"]
            self._display.warn(self._left)
        elif "no_entry" in message:
            if not self._welcome:
                raise RefusedError(f"no entry at {self._address}: {message['no_entry']}")
            self._display.warn(message["no_entry"])
        elif message.get("writer") == "welcome":
            if self._welcome:
                self._display.note("writer back")
            self._welcome = True
            self._summary.root = message["root"]
        elif "writer" in message:
            if self._welcome:
                self._display.warn(f"writer {message['writer']}; recording goes on into the log ring")
        elif "link_bytes_per_s" in message:
            self._link_bytes_per_s = message["link_bytes_per_s"]
        elif "episode" in message:
            self._summary.episode(message)
            self._display.episode(message)
        elif "finished" in message:
            self._finished = True
            self._left = ""
            ledger.forget(self._ready["session_id"])
        elif "head_seq" in message:
            self._on_publisher_status(message)
        elif "warning" in message:
            self._display.warn(message["warning"])
        return True

    def _on_publisher_status(self, status: dict[str, Any]) -> None:
        if status["warning"] and status["warning"] != self._publisher_status.get("warning"):
            self._display.warn(status["warning"])
        self._publisher_status = status
        self._look_at_log(status)
        free = status["disk_free_bytes"]
        if 0 <= free <= self._settings.min_free_bytes and not self._ended:
            self._stop_recording(
                f"the writer's disk has {free / 1e9:.1f} GB left; free some, or set --writer.min_free_gb"
            )

    def _look_at_log(self, status: dict[str, Any]) -> None:
        assert self._overload is not None
        fill = LogFill(
            ring_records=status["peak_slots"],
            ring_capacity=status["capacity_slots"],
            spill_records=status["spill_records"],
            spill_bytes=status["spill_bytes"],
            spill_room_bytes=status["spill_room_bytes"],
            spill_trouble=status["spill_trouble"],
        )
        for alarm in self._overload.look(fill):
            self._display.alarm(alarm)
            self._tones.play(alarm.urgency)
        self._tones.reap()

    def _on_publisher_death(self) -> None:
        assert self._publisher is not None
        if self._finished:
            return
        self._publisher = self._restarted(self._publisher, self._start_publisher(), "publisher")

    def _on_writer(self) -> None:
        assert self._writer is not None
        received = self._writer.link.receive()
        if received is None:
            return
        if "log" in received[0]:
            self._display.warn(received[0]["log"])
        elif "failed" in received[0]:
            raise _refusal(received[0]["failed"], received[0]["exit_code"])

    def _on_writer_death(self) -> None:
        assert self._writer is not None
        if not self._finished:
            self._writer = self._restarted(self._writer, self._start_writer(), "writer")

    def _stop_recording(self, why: str) -> None:
        if self._stops == 0 and self._board is not None:
            self._board.press("stop")
            self._summary.failed(why, 1)
            self._display.warn(f"{why}; ending the session")
        self._stops += 1

    def _on_interrupt(self) -> None:
        """Ctrl-C: once ends the session as q does, twice ends it at once."""
        self._stops += 1
        if self._stops == 1 and self._board is not None and self._welcome:
            self._board.press("stop")
            self._display.note("stopping after this frame; once more to stop at once")
        else:
            self._control.terminate()

    def _on_terminate(self) -> None:
        self._control.terminate()

    def _watch_drain(self) -> None:
        status = self._publisher_status
        position = status.get("durable_seq", 0) + sum(self._summary.states.values())
        now_s = time.monotonic()
        # What a writer was committing when the link broke says nothing about now.
        commits = status.get("connected") and status.get("committing", 0)
        if position != self._progress[0] or commits:
            self._progress = (position, now_s)
        elif now_s - self._progress[1] > self._settings.give_up_s:
            waiting = status.get("head_seq", 0) - status.get("durable_seq", 0)
            raise OnbeatError(
                f"the writer made no progress for {self._settings.give_up_s:g} s and {waiting} records are not "
                "durable; they are left in the spill folder, see `onbeat recover`"
            )

    def _show(self) -> None:
        if self._board is None:
            return
        fps = self._ready["fps"] if self._ready["paced"] else 0
        slots, nbytes = self._ready["ring_slots"], self._ready["ring_bytes"]
        fill = self._publisher_status.get("fill_slots", 0)
        capacity = self._publisher_status.get("capacity_slots", slots)
        self._display.update(
            figures=self._board.figures(fps),
            publisher=self._publisher_status,
            ring_fill_bytes=int(fill * nbytes / slots),
            ring_fill_s=fill / self._ready["fps"],
            ring_fraction=min(fill / capacity, 1.0),
            draining=self._ended,
        )


def _refusal(text: str, exit_code: int) -> OnbeatError:
    return RefusedError(text) if exit_code == 2 else OnbeatError(text)
