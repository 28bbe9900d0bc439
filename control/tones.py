"""Tones for the operator, who looks at the robot and not at the terminal: the more urgent, the more and the higher."""

from __future__ import annotations

import array
import io
import math
import shutil
import time
import wave
from collections.abc import Callable, Sequence

from control.one_sound import OneSound

_RATE_HZ = 16_000
_BEEP_S, _PAUSE_S = 0.15, 0.08
_PITCH_HZ = (440.0, 660.0, 990.0)
# Players that take a WAV on standard input, then one that speaks.
_PLAYERS = (("aplay", "-q", "-"), ("pw-play", "-"), ("paplay",))
_WORDS = ("log half full", "log nearly full", "log full")


class Tones:
    """Plays alarms without waiting; a player that fails is said once and then left alone.

    Args:
        play: None plays when the machine has a player; True falls back to the terminal's bell.
        bell: rings the terminal's bell.
        warn: one line for the operator.
        which: as `shutil.which`.
        now_s: a monotonic clock.
    """

    def __init__(
        self,
        play: bool | None,
        bell: Callable[[], None],
        warn: Callable[[str], None],
        which: Callable[[str], str | None] = shutil.which,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bell, self._warn = bell, warn
        self._player = None if play is False else find_player(which)
        self._speaker = None if play is False or self._player else which("spd-say")
        self._rings = bool(play)
        self._sound = OneSound(now_s)

    def play(self, urgency: int) -> None:
        """Urgency 0, 1 or 2: that many beeps and one, each higher than the last urgency's."""
        self.reap()
        if self._sound.process is not None:
            return  # one at a time: the line on the terminal has been written already
        if self._player is not None:
            self._start(self._player, beeps(urgency))
        elif self._speaker is not None:
            self._start([self._speaker, _WORDS[urgency]], b"")
        elif self._rings:
            self._bell()

    def reap(self) -> None:
        """Notice the end of what was played, and end a player that hangs; call it now and then."""
        if why := self._sound.failure():
            self._give_up(why)

    def close(self) -> None:
        """End what is still being played."""
        self._sound.end()

    def _start(self, command: Sequence[str], sound: bytes) -> None:
        try:
            self._sound.start(command, sound)
        except OSError as error:
            self._give_up(str(error))

    def _give_up(self, why: str) -> None:
        name = self._player[0] if self._player is not None else "spd-say"
        self._warn(f"no sound: {name} {why}; --play_sounds=false stops trying")
        self._player, self._speaker = None, None


def find_player(which: Callable[[str], str | None]) -> Sequence[str] | None:
    """The command of a player that takes a WAV on standard input; None where there is none."""
    return next((player for player in _PLAYERS if which(player[0])), None)


def beeps(urgency: int) -> bytes:
    """The alarm of an urgency: one pitch, again and again."""
    return melody([_PITCH_HZ[urgency]] * (urgency + 1), _BEEP_S)


def melody(pitches_hz: Sequence[float], each_s: float) -> bytes:
    """Notes one after the other as a WAV file, 16 bit mono."""
    samples = array.array("h")
    pause, length = int(_PAUSE_S * _RATE_HZ), int(each_s * _RATE_HZ)
    for pitch_hz in pitches_hz:
        step = 2 * math.pi * pitch_hz / _RATE_HZ
        samples.extend(int(12_000 * math.sin(step * i) * min(i, length - i, 160) / 160) for i in range(length))
        samples.extend([0] * pause)
    data = io.BytesIO()
    with wave.open(data, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE_HZ)
        file.writeframes(samples.tobytes())
    return data.getvalue()
