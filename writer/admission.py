"""Considers one HELLO at a time, in a thread of its own: a codec is measured for seconds, and meanwhile ingest serves.

Being refused must not be a way to keep a writer busy: checks that end in a refusal may take a third of the time, and
ten seconds on top for people who try one flag after the other.
"""

from __future__ import annotations

import math
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from transport.errors import OnbeatError, UsageError
from transport.messages import Hello
from writer import handshake
from writer.handshake import Session

_PART = 1 / 3
_ON_TOP_S = 10.0


@dataclass
class Candidate:
    """Who asks. `peer` and `hello` follow the recorder through reconnections; `key` is what it proved to have."""

    peer: bytes
    connection: int | None
    hello: Hello
    key: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A session, or why not."""

    candidate: Candidate
    session: Session | None
    reason: str = ""


class Admission:
    """See the module's text.

    Args:
        base: as in `handshake.consider`.
        wake: called from the thread when `answer` has something.
        may_upload: as in `handshake.consider`.
    """

    def __init__(
        self,
        base: Path | None,
        wake: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        may_upload: bool = True,
    ) -> None:
        self._base, self._wake, self._clock, self._may_upload = base, wake, clock, may_upload
        self.candidate: Candidate | None = None
        self._answer: Answer | None = None
        self._thread: threading.Thread | None = None
        self._wasted_s, self._wasted_at_s = 0.0, clock()

    def ask(self, candidate: Candidate) -> None:
        """Begin to consider, or note where a recorder is that asks again.

        Raises:
            UsageError: somebody else is being considered, or was a moment ago.
        """
        handshake.check_form(candidate.hello)
        present = self.candidate
        if present is not None:
            if (present.hello.session_id, present.key) != (candidate.hello.session_id, candidate.key):
                raise UsageError(f"this writer is checking the request of {present.hello.owner}; try again in a moment")
            if candidate.hello.schema != present.hello.schema or candidate.hello.dataset != present.hello.dataset:
                raise UsageError("the session was begun with another request; start a new session")
            present.peer, present.connection, present.hello = candidate.peer, candidate.connection, candidate.hello
            return
        wait_s = (self._waste(0.0) - _ON_TOP_S) / _PART
        if wait_s > 0:
            raise UsageError(f"this writer has refused many requests; try again in {math.ceil(wait_s)} s")
        self.candidate = candidate
        self._thread = threading.Thread(target=self._consider, args=(candidate,), name="admission", daemon=True)
        self._thread.start()

    def answer(self) -> Answer | None:
        """The answer, once; the candidate stays until `done`."""
        answer, self._answer = self._answer, None
        return answer

    def done(self) -> None:
        """The candidate has been answered."""
        self.candidate = None

    def _waste(self, took_s: float) -> float:
        """Note a check for nothing; how much of such is not yet made up for by the time since."""
        now_s = self._clock()
        left_s = self._wasted_s - _PART * (now_s - self._wasted_at_s)
        self._wasted_s, self._wasted_at_s = max(left_s, 0.0) + took_s, now_s
        return self._wasted_s

    def _consider(self, candidate: Candidate) -> None:
        started_s = self._clock()
        session, reason = None, ""
        try:
            session = handshake.consider(candidate.hello, self._base, candidate.key, may_upload=self._may_upload)
        except OnbeatError as error:
            reason = str(error)
        except OSError as error:
            reason = f"the dataset's folder cannot be read: {error.strerror}"
        except Exception as error:  # noqa: BLE001 - whatever a request does to its check, it is refused, not obeyed
            traceback.print_exc()
            reason = f"the request could not be checked ({type(error).__name__}); the writer's messages have more"
        if session is None:
            self._waste(self._clock() - started_s)
        self._answer = Answer(candidate, session, reason)
        self._wake()
