"""When it is no use to wait any longer for a writer that is to take what was recorded. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transport.errors import OnbeatError


class DrainWatch:
    """One drain.

    Args:
        now_s: when it began.
        give_up_s: without any progress for so long, it is given up.
    """

    def __init__(self, now_s: float, give_up_s: float) -> None:
        self._give_up_s = give_up_s
        self._position, self._since_s = 0, now_s

    def look(self, now_s: float, status: Mapping[str, Any], episodes: int, *, uploads: bool = False) -> None:
        """Compare with the last look.

        Args:
            status: the publisher's newest.
            episodes: how many have their final state.
            uploads: the writer has said that it uploads.

        Raises:
            OnbeatError: there was no progress for too long.
        """
        position = status.get("durable_seq", 0) + episodes
        # What a writer was committing when the link broke says nothing about now.
        busy = status.get("connected") and (status.get("committing", 0) or uploads)
        if position != self._position or busy:
            self._position, self._since_s = position, now_s
        elif now_s - self._since_s > self._give_up_s:
            waiting = status.get("head_seq", 0) - status.get("durable_seq", 0)
            if uploads and not waiting:
                raise OnbeatError(
                    f"the writer was not heard of for {self._give_up_s:g} s; the recording is complete there, whether "
                    "its upload ended is not known: see `onbeat push` on its machine"
                )
            raise OnbeatError(
                f"the writer made no progress for {self._give_up_s:g} s and {waiting} records are not "
                "durable; they are left in the spill folder, see `onbeat recover`"
            )
