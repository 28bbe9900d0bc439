"""Words, and what they mean."""

from __future__ import annotations

from collections.abc import Sequence

from lerobot.teleoperators import TeleopEvents

# Of an intervention, exact in float32: x, y, z, and 2, which opens the gripper.
MOVE = (0.5, -0.25, 0.125, 2.0)


class Script:
    """Words, read one by one."""

    def __init__(self, words: Sequence[str]) -> None:
        self._words = list(words)
        self._step = 0

    def next_word(self) -> str:
        self._step += 1
        return self._words[min(self._step, len(self._words)) - 1]


def events(word: str) -> dict[TeleopEvents, bool]:
    """As lerobot's gamepad gives them."""
    return {
        TeleopEvents.IS_INTERVENTION: word == "move",
        TeleopEvents.TERMINATE_EPISODE: word in ("fail", "again"),
        TeleopEvents.SUCCESS: word == "success",
        TeleopEvents.RERECORD_EPISODE: word == "again",
    }
