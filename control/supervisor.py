"""The supervisor: starts publisher and local writer, restarts them, watches control, tells the operator.

It owns no frame and no clock. It holds the log ring's file descriptor open, so that the memory outlives any one
process; it learns of deaths by pidfd, and it is quiet while everything goes on.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from control.before_first import await_ready, await_welcome, check_link
from control.board import Board
from control.child import Child
from control.children import Children
from control.control_handle import ControlHandle
from control.display import Display
from control.drain_watch import DrainWatch
from control.errors import told
from control.operator import Operator
from control.preview import Preview
from control.publisher_news import PublisherNews
from control.ready import Ready
from control.showing import Showing
from control.summary import Summary
from control.supervisor_settings import SupervisorSettings
from control.tones import Tones
from control.voice import Voice
from control.warden import Warden
from transport.errors import OnbeatError

_TURN_S = 0.25
# What control has to end its episode in when there is nobody to look after it any more.
_END_LIMIT_S = 10.0


class Supervisor:
    """One session. `run` returns what was recorded."""

    def __init__(
        self, settings: SupervisorSettings, control: ControlHandle, display: Display, operator: Operator | None = None
    ) -> None:
        self._settings, self._control, self._display, self._operator = settings, control, display, operator
        self._address = settings.writer_address or f"ipc://@onbeat-{os.getpid()}-{time.monotonic_ns()}"
        self._start = Children(settings, self._address, control.pidfd)
        self._tones = Tones(settings.play_sounds, display.bell, display.warn)
        self._voice = Voice(settings.play_sounds, display.bell, display.note)
        self._summary = Summary(requested=settings.num_episodes, repo_id=settings.spec.repo_id)
        self._children: list[Child] = []
        self._board: Board | None = None
        self._news: PublisherNews | None = None
        self._drain: DrainWatch | None = None
        self._preview: Preview | None = None
        self._warden: Warden | None = None
        self._stops = 0
        self._cancelled = False

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
        try:
            ready, news = self._prepare()
            self._warden = self._make_warden()
            self._control.link.send({"go": True})
            self._supervise(ready, news, self._warden)
        except OnbeatError as error:
            if self._warden is None:
                self._control.link.send({"refused": str(error)})
                self._control.wait(10)
            raise
        finally:
            if self._warden is not None:
                self._end_loop(self._warden)
            self._end_children()
            self._tones.close()
            self._voice.close()
            if self._preview is not None:
                self._preview.close()
            if self._operator is not None:
                self._operator.close()
            self._display.close()
        if news.left:
            self._summary.failed(news.left, 1)
        return self._summary

    # -- the course of a session ---------------------------------------------------------------------------------

    def _prepare(self) -> tuple[Ready, PublisherNews]:
        settings = self._settings
        ready, (ring_fd, board_fd, wake_fd) = await_ready(
            self._control, self._display, self._start_guardian, self._look_after_guardian
        )
        self._board = Board(board_fd)
        if settings.writer_address is None:
            # In front of the guardian, which ends before it: what the guardian says last must not wait for a commit.
            self._children.insert(0, self._start.writer(self._on_writer, ring_fd))
        self._display.protections(ready.protections)
        if settings.spill_warning:
            self._display.warn(settings.spill_warning)
        spec = replace(settings.spec, fps=ready.fps, robot_type=ready.robot_type)
        self._settings = settings = replace(settings, spec=spec)
        news = PublisherNews(
            ready, settings, self._address, self._display, self._tones, self._summary, self._stop_recording
        )
        self._news = news
        self._children.append(self._start.publisher(ready, settings, news, [ring_fd, wake_fd]))
        if settings.preview is not None:
            self._preview = Preview(settings.preview, ready, ring_fd, self._display.note, self._display.warn)
        self._display.note(f"waiting for the writer at {self._address}")
        await_welcome(news, self._control, settings, self._address, self._turn_unless_cancelled)
        if news.link_bytes_per_s is not None:
            check_link(ready, news.link_bytes_per_s, self._display, allow_slow=settings.spec.allow_slow_encoder)
        return ready, news

    def _make_warden(self) -> Warden:
        assert self._board is not None
        return Warden(self._control, self._board, self._summary, self._display, self._settings, time.monotonic())

    def _supervise(self, ready: Ready, news: PublisherNews, warden: Warden) -> None:
        assert self._board is not None
        showing = Showing(
            ready, self._board, self._display, self._voice, self._operator, first_index=self._settings.first_index
        )
        while not (news.finished or news.upload.abandoned):
            self._turn(_TURN_S)
            if self._drain is None:
                warden.look(time.monotonic())
            if self._drain is None and self._control.ended():
                self._on_control_ended("the control process died", 1)
            if self._drain is not None and not news.finished:
                done = sum(self._summary.states.values())
                self._drain.look(time.monotonic(), news.status, done, uploads=news.upload.under_way)
            showing.turn(news.status, draining=self._drain is not None)
        self._summary.root = self._summary.root or self._settings.spec.root or ""
        if not news.finished:
            self._summary.not_uploaded("it was not waited for")

    def _turn_unless_cancelled(self, timeout_s: float) -> None:
        self._turn(timeout_s)
        if self._cancelled:
            raise OnbeatError("ended by the operator before the first episode")

    def _turn(self, timeout_s: float) -> None:
        """Take in whatever arrives within `timeout_s`."""
        poller = select.poll()
        handlers: dict[int, Callable[[], object]] = {}
        if self._drain is None:
            handlers[self._control.link.fileno()] = self._on_control
        for child in reversed(self._children):
            handlers[child.link.fileno()] = child.take_message
            handlers[child.pidfd] = partial(self._on_death, child)
        others = [fd for each in (self._operator, self._preview) if each is not None for fd in each.fds()]
        for fd in (*handlers, *others):
            poller.register(fd, select.POLLIN)
        ready = [fd for fd, _ in poller.poll(timeout_s * 1000)]
        if self._operator is not None:
            self._obey(self._operator, ready)
        if self._preview is not None:
            self._preview.turn(ready)
        for fd in ready:
            if fd in handlers:
                handlers[fd]()

    def _obey(self, operator: Operator, ready: Sequence[int]) -> None:
        events, tasks = operator.turn(ready)
        for event in events:
            if self._board is not None:
                self._board.press(event)
            self._cancelled = self._cancelled or event == "stop"
        for take, task in tasks:
            self._control.link.send({"task": task, "take": take})

    # -- control -------------------------------------------------------------------------------------------------

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
        self._drain = DrainWatch(time.monotonic(), self._settings.give_up_s)
        if self._news is not None:
            self._news.recording = False
        if detail:
            self._summary.failed(detail, exit_code)
            self._display.warn(detail)

    def _stop_recording(self, why: str) -> None:
        if self._stops == 0 and self._board is not None:
            self._stops = 1
            self._board.press("stop")
            self._summary.failed(why, 1)
            self._display.warn(f"{why}; ending the session")

    def _on_interrupt(self) -> None:
        """Ctrl-C: once ends the session as q does, twice ends it at once; an upload is not waited for any more."""
        if self._news is not None and self._news.upload.abandon():
            return
        self._stops += 1
        if self._stops > 1 or self._board is None or self._news is None:
            self._end_control()
            return
        self._cancelled = True
        self._board.press("stop")
        if self._warden is not None:
            self._display.note("stopping after this frame; once more to stop at once")

    def _on_terminate(self) -> None:
        if self._news is not None:
            self._news.upload.abandon()
        self._end_control()

    def _end_control(self) -> None:
        if self._warden is None:
            self._control.terminate()
        else:
            self._warden.end(time.monotonic(), guarded=any(child.may_end for child in self._children))

    def _end_loop(self, warden: Warden) -> None:
        """Whatever the reason why this process goes: a loop that it leaves behind ends first, as after any fault."""
        limit_s = time.monotonic() + _END_LIMIT_S
        if self._drain is None:
            self._end_control()
        while self._drain is None and time.monotonic() < limit_s:
            if self._control.wait_readable(_TURN_S):
                self._on_control()
            elif self._control.ended():
                self._on_control_ended("the control process died", 1)
            warden.look(time.monotonic())
        if self._drain is None and self._control.is_ours:
            self._control.kill()

    # -- children ------------------------------------------------------------------------------------------------

    def _on_writer(self, message: dict[str, Any]) -> None:
        if "log" in message:
            self._display.warn(message["log"])
        elif "failed" in message:
            raise told(message)

    def _start_guardian(self, config: dict[str, Any], fds: list[int]) -> None:
        self._children.append(self._start.guardian(config, fds, self._summary, self._display))

    def _look_after_guardian(self) -> None:
        for child in tuple(self._children):
            if child.may_end and child.process.poll() is not None:
                self._on_death(child)

    def _on_death(self, child: Child) -> None:
        if child.may_end and child.process.wait() == 0:
            child.take_rest()
            self._children.remove(child)
        elif child.may_end or self._news is None or not self._news.finished:
            code = child.restart()
            self._display.warn(f"{child.name} ended with code {code} and was started again; recording goes on")

    def _end_children(self) -> None:
        self._control.release()
        finished = self._news is not None and self._news.finished
        for child in reversed(self._children):
            child.end(ask=not finished)
