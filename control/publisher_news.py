"""What the publisher says, and with it the writer: how far the log is durable, what became of each episode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from control.display import Display
from control.overload import LogFill, OverloadWatch
from control.ready import Ready
from control.summary import Summary
from control.supervisor_settings import SupervisorSettings
from control.tones import Tones
from control.upload_news import UploadNews
from transport import ledger
from transport.errors import RefusedError


class PublisherNews:
    """Takes the messages of one session's publishers, one after the other.

    Args:
        address: of the writer, for people.
        summary: collects what the session amounts to.
        stop: ends the recording, with a reason; may be called again.

    Attributes:
        recording: there may be frames to come.
        welcome: a writer has agreed to the session.
        finished: everything recorded is in the dataset, or said to be missing.
        left: what is left in the spill folder, in words; empty when nothing is.
        link_bytes_per_s: of the link to a writer elsewhere, once it is measured.
        status: the newest figures.
        upload: what becomes of it, where one was asked for.
    """

    def __init__(
        self,
        ready: Ready,
        settings: SupervisorSettings,
        address: str,
        display: Display,
        tones: Tones,
        summary: Summary,
        stop: Callable[[str], None],
    ) -> None:
        self._session_id, self._address = ready.session_id, address
        self._min_free_bytes = settings.min_free_bytes
        self._display, self._tones, self._summary, self._stop = display, tones, summary, stop
        self._overload = OverloadWatch(ready.fps, ready.record_bytes)
        self.recording = True
        self.welcome = self.finished = False
        self.left = ""
        self.link_bytes_per_s: float | None = None
        self.status: dict[str, Any] = {}
        self.upload = UploadNews(display, summary)

    def take(self, message: dict[str, Any]) -> None:
        """Take one message in.

        Raises:
            RefusedError: the writer said no before the first episode.
        """
        if "refused" in message:
            error = RefusedError(message["refused"])
            if not self.welcome:
                raise error
            self._stop(str(error))
        elif "lost" in message:
            self._summary.failed(message["lost"], 1)
            self._display.warn(message["lost"])
        elif "left" in message:
            # No failure of the session yet: the next publisher may deliver it.
            self.left = message["left"]
            self._display.warn(self.left)
        elif "no_entry" in message:
            if not self.welcome:
                raise RefusedError(f"no entry at {self._address}: {message['no_entry']}")
            self._display.warn(message["no_entry"])
        elif message.get("writer") == "welcome":
            if self.welcome:
                self._display.note("writer back")
            self.welcome = True
            self._summary.root = message["root"]
        elif "writer" in message:
            if self.welcome:
                self._display.warn(f"writer {message['writer']}; recording goes on into the log ring")
        elif "link_bytes_per_s" in message:
            self.link_bytes_per_s = message["link_bytes_per_s"]
        elif "episode" in message:
            self._summary.episode(message)
            self._display.episode(message)
        elif "upload" in message:
            self.upload.take(message["upload"], message["detail"])
        elif "finished" in message:
            self.finished = True
            self.left = ""
            ledger.forget(self._session_id)
        elif "head_seq" in message:
            self._take_status(message)
        elif "warning" in message:
            self._display.warn(message["warning"])

    def _take_status(self, status: dict[str, Any]) -> None:
        if status["warning"] and status["warning"] != self.status.get("warning"):
            self._display.warn(status["warning"])
        self.status = status
        self._look_at_log(status)
        free = status["disk_free_bytes"]
        if 0 <= free <= self._min_free_bytes and self.recording:
            self._stop(f"the writer's disk has {free / 1e9:.1f} GB left; free some, or set --writer.min_free_gb")

    def _look_at_log(self, status: dict[str, Any]) -> None:
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
