"""Between two episodes: the keeper of the cameras is there, and the next episode begins with pictures of now.

A keeper that dies takes its cameras with it. In an episode their last pictures are repeated, because starting a process
takes milliseconds that the loop does not have; between two there is the time, and a frame 0 whose pictures are from
before the keeper died would end the session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

# One that dies at once is not started in every tick.
_LOOK_NS = 1_000_000_000
_POLL_S = 0.01
_TELL_AFTER_NS = 1_000_000_000
# As long as a camera may take when it is connected, and less than a reset may; the first tick names what does not
# deliver by then.
_WAIT_LIMIT_NS = 90 * 1_000_000_000


class WatchedMemory(Protocol):
    """What is known of a camera's newest picture."""

    @property
    def newest_seq(self) -> int: ...

    @property
    def newest_capture_ns(self) -> int: ...


class WatchedSet(Protocol):
    """The cameras of a robot; see `control.camera_set.CameraSet`."""

    @property
    def memories(self) -> Mapping[str, WatchedMemory]: ...

    def start(self) -> bool: ...


class CameraWatch:
    """One session's.

    Args:
        stale_ns: a picture that is older is not of now.
        now_ns: CLOCK_MONOTONIC.
        sleep: sleeps for so many seconds; raises when the session is to end.
        log: one line for the operator; must not wait.
    """

    def __init__(
        self,
        cameras: WatchedSet,
        stale_ns: int,
        *,
        now_ns: Callable[[], int],
        sleep: Callable[[float], None],
        log: Callable[[str], None],
    ) -> None:
        self._cameras, self._stale_ns = cameras, stale_ns
        self._now_ns, self._sleep, self._log = now_ns, sleep, log
        self._looked_ns = now_ns()

    def look(self) -> None:
        """Replace a keeper that has died; for every tick in which nothing is recorded."""
        now_ns = self._now_ns()
        if now_ns - self._looked_ns >= _LOOK_NS:
            self._replace(now_ns)

    def await_fresh(self) -> None:
        """Before an episode: wait until each camera has delivered a picture of now, or for too long.

        Raises:
            SessionAborted: as `sleep` does.
        """
        memories = self._cameras.memories
        before = {name: memory.newest_seq for name, memory in memories.items()}
        began_ns = now_ns = self._now_ns()
        # With a keeper that is dead, no picture is of now, however young it is.
        limit_ns = -1 if self._replace(began_ns) else self._stale_ns
        told = False
        while now_ns - began_ns <= _WAIT_LIMIT_NS:
            # A camera that is slower than the limit has a picture of now when it has a new one.
            late_ns = {
                name: now_ns - memory.newest_capture_ns
                for name, memory in memories.items()
                if memory.newest_seq == before[name] and now_ns - memory.newest_capture_ns > limit_ns
            }
            if not late_ns:
                return
            if not told and now_ns - began_ns > _TELL_AFTER_NS:
                told = True
                ages = "; ".join(f"camera {name}, the last is {age / 1e9:.1f} s old" for name, age in late_ns.items())
                self._log(f"waiting for a picture of {ages}")
            self._sleep(_POLL_S)
            self.look()
            now_ns = self._now_ns()

    def _replace(self, now_ns: int) -> bool:
        self._looked_ns = now_ns
        if died := self._cameras.start():
            self._log("the keeper of the cameras has died; it is started again, and the cameras with it")
        return died
