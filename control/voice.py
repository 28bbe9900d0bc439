"""Speaks the cues, as lerobot-record does, with whatever program of the machine speaks; else plays notes for them.

Alarms are tones of their own (`control.tones`): one pitch again and again, where a cue is a short melody.
"""

from __future__ import annotations

import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence

from control.cues import Cue
from control.one_sound import OneSound
from control.tones import find_player, melody

# Each waits until it has spoken.
_SPEAKERS = (("spd-say", "--wait"), ("say",), ("espeak-ng",), ("espeak",))
_LAST_WORDS_S = 2.0
_NOTE_S = 0.12
_NOTES_HZ = {
    Cue.RECORDING: (262, 392, 523),
    Cue.RESET: (523, 392, 262),
    Cue.AGAIN: (392, 262, 392),
    Cue.READY: (523, 523),
    Cue.REVIEW: (392, 523, 392),
    Cue.STOP: (392, 196),
}


class Voice:
    """One cue at a time, without waiting; a cue that has not been begun when the next one comes may be left out.

    Args:
        play: None speaks or plays where the machine can; True falls back to the terminal's bell; False is silent.
        bell: rings the terminal's bell.
        note: one line for the operator.
        which: as `shutil.which`.
        now_s: a monotonic clock.
    """

    def __init__(
        self,
        play: bool | None,
        bell: Callable[[], None],
        note: Callable[[str], None],
        which: Callable[[str], str | None] = shutil.which,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bell, self._note = bell, note
        self._speaker: Sequence[str] | None = None
        self._player: Sequence[str] | None = None
        self._rings = bool(play)
        if play is not False:
            self._speaker = next((speaker for speaker in _SPEAKERS if which(speaker[0])), None)
            self._player = find_player(which)
        if self._speaker is None and (self._player or play):
            self._say_what_is_heard("no program speaks here (spd-say, say, espeak-ng or espeak)")
        self._sound = OneSound(now_s)
        # A re-record and the episode that follows it are the most that are worth hearing late.
        self._waiting: deque[tuple[Cue, str]] = deque(maxlen=2)

    def say(self, cue: Cue, words: str) -> None:
        """Speak as soon as what is being spoken has ended."""
        self._waiting.append((cue, words))
        self.turn()

    def turn(self) -> None:
        """Go on; call it now and then."""
        if why := self._sound.failure():
            self._give_up(why)
        while self._waiting and self._sound.process is None:
            self._begin(*self._waiting.popleft())

    def close(self) -> None:
        """End what is being spoken, unless it ends by itself in a moment."""
        self._waiting.clear()
        self._sound.end(_LAST_WORDS_S)

    def _begin(self, cue: Cue, words: str) -> None:
        try:
            if self._speaker is not None:
                self._sound.start([*self._speaker, words])
            elif self._player is not None:
                self._sound.start(self._player, melody(_NOTES_HZ[cue], _NOTE_S))
            elif self._rings:
                self._bell()
        except OSError as error:
            self._give_up(str(error))

    def _give_up(self, why: str) -> None:
        if self._speaker is not None:
            name, self._speaker = self._speaker[0], None
        elif self._player is not None:
            name, self._player = self._player[0], None
        else:
            return
        self._say_what_is_heard(f"{name} {why}")

    def _say_what_is_heard(self, why: str) -> None:
        how = "short melodies" if self._player is not None else "the terminal's bell" if self._rings else "not heard"
        self._note(f"{why}: cues are {how}")
