"""The processes beside control: how each is started."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from control.child import Child
from control.display import Display
from control.publisher_news import PublisherNews
from control.ready import Ready
from control.summary import Summary
from control.supervisor_settings import SupervisorSettings
from transport.errors import OnbeatError
from transport.keys import load_recorder
from transport.link import Link, read_only, spawn
from transport.sockets import keys_to_wire

_LOCAL_WRITER = "writer.local"
# The publisher may have to write a whole ring to disk before it ends, the writer to finish a commit.
_PUBLISHER_END_S, _WRITER_END_S = 60.0, 90.0
# It tries for ten seconds to reach a robot that does not answer.
_GUARDIAN_END_S = 20.0


class Children:
    """Starts them, with what they are told of this process and of control.

    Args:
        address: of the writer.
        control_pidfd: of the control process.

    Raises:
        UsageError: the key file is not one.
    """

    def __init__(self, settings: SupervisorSettings, address: str, control_pidfd: int) -> None:
        self._address, self._control_pidfd = address, control_pidfd
        self._keys = None if settings.writer_keys is None else keys_to_wire(load_recorder(Path(settings.writer_keys)))
        self._own_pidfd = os.pidfd_open(os.getpid())

    def writer(self, take: Callable[[dict[str, Any]], None], ring_fd: int) -> Child:
        """A writer on this machine, which reads pictures out of the log ring."""
        ring_fd = read_only(ring_fd)

        # Not told to die with us: it finishes what is in the ring when we are killed.
        def start() -> tuple[subprocess.Popen[bytes], Link]:
            return spawn(_LOCAL_WRITER, {"address": self._address}, [self._own_pidfd, ring_fd])

        return Child("writer", start, take, _WRITER_END_S)

    def guardian(self, config: dict[str, Any], fds: Sequence[int], summary: Summary, display: Display) -> Child:
        """Who looks after the robot when control has failed; it watches already. `fds` are control's words to it.

        Raises:
            OnbeatError: it cannot be started.
        """

        def take(message: dict[str, Any]) -> None:
            if "failed" in message:
                summary.failed(message["failed"], 1)
            for text in message.values():
                if isinstance(text, str):
                    display.warn(text)

        # Not told to die with us either, and it ends only when control has.
        def start() -> tuple[subprocess.Popen[bytes], Link]:
            return spawn("control.guardian", config, [self._control_pidfd, self._own_pidfd, *fds])

        guardian = Child("guardian", start, take, _GUARDIAN_END_S, last_words=True, may_end=True)
        if not guardian.take_message():
            raise OnbeatError(f"the guardian ended with code {guardian.process.wait()} before the session began")
        return guardian

    def publisher(self, ready: Ready, settings: SupervisorSettings, news: PublisherNews, fds: Sequence[int]) -> Child:
        """The publisher; `fds` are log ring and wake-up."""

        def start() -> tuple[subprocess.Popen[bytes], Link]:
            config = {
                "schema": ready.schema,
                "dataset": settings.spec.to_wire(),
                "address": self._address,
                "owner": settings.owner,
                "spill": {"dir": settings.spill_dir, "max_bytes": settings.spill_max_bytes},
                "give_up_s": settings.give_up_s,
                "keys": self._keys,
                "lends": settings.writer_address is None,
                "measure_link": settings.writer_address is not None and not news.welcome,
            }
            return spawn("transport.publisher", config, [*fds, self._control_pidfd, self._own_pidfd])

        return Child("publisher", start, news.take, _PUBLISHER_END_S, last_words=True)
