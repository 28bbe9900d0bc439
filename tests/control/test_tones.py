"""Tones: distinct, never waited for, and a broken player said once."""

from __future__ import annotations

import io
import os
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from control import tones
from control.tones import Tones, beeps

PLAYER = "onbeat-test-player"


@pytest.fixture
def player(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A player that keeps what it was given beside itself."""
    path = tmp_path / PLAYER
    path.write_text(f"#!/bin/sh\ncat > {tmp_path}/played.new && mv {tmp_path}/played.new {tmp_path}/played\n")
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(tones, "_PLAYERS", ((PLAYER, "-q"),))
    return path


def which(*found: str) -> Callable[[str], str | None]:
    return lambda name: f"/usr/bin/{name}" if name in found else None


def loudest_hz(urgency: int) -> tuple[float, float]:
    """Frequency of the strongest component, and length in seconds."""
    with wave.open(io.BytesIO(beeps(urgency))) as file:
        rate, samples = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), np.int16)
    spectrum = np.abs(np.fft.rfft(samples[: rate // 8]))
    return float(np.argmax(spectrum) * rate / (rate // 8)), len(samples) / rate


def test_the_more_urgent_the_higher_and_the_longer() -> None:
    pitches, lengths = zip(*(loudest_hz(urgency) for urgency in range(3)), strict=True)
    assert np.allclose(pitches, [440, 660, 990], atol=10)
    assert list(lengths) == sorted(set(lengths))


def test_a_player_gets_the_tone_and_is_reaped(player: Path) -> None:
    warnings: list[str] = []
    sound = Tones(None, lambda: None, warnings.append)
    sound.play(2)
    process = sound._sound.process
    assert process is not None
    assert process.wait(20) == 0
    sound.reap()
    assert (player.parent / "played").read_bytes() == beeps(2)
    assert warnings == []


def test_a_player_that_fails_is_said_once(player: Path) -> None:
    player.write_text("#!/bin/sh\nexit 3\n")
    warnings: list[str] = []
    sound = Tones(True, lambda: None, warnings.append)
    for _ in range(3):
        sound.play(0)
        if sound._sound.process is not None:
            sound._sound.process.wait(20)
        sound.reap()
    assert warnings == [f"no sound: {PLAYER} ended with code 3; --play_sounds=false stops trying"]


def test_a_player_that_hangs_holds_nothing_up(player: Path) -> None:
    player.write_text("#!/bin/sh\nsleep 300\n")
    sound = Tones(True, lambda: None, pytest.fail)
    sound.play(0)
    hanging = sound._sound.process
    sound.play(1)
    assert sound._sound.process is hanging
    assert hanging is not None
    sound.close()
    assert hanging.returncode == -9


def test_a_player_that_hangs_is_ended_after_a_while(player: Path) -> None:
    player.write_text("#!/bin/sh\nsleep 300\n")
    warnings: list[str] = []
    now_s = 0.0
    sound = Tones(True, lambda: None, warnings.append, now_s=lambda: now_s)
    sound.play(0)
    hanging = sound._sound.process
    assert hanging is not None
    now_s = 9.0
    sound.reap()
    assert warnings == []
    now_s = 11.0
    sound.reap()
    assert warnings == [f"no sound: {PLAYER} did not end within 10 s; --play_sounds=false stops trying"]
    assert hanging.returncode == -9


@pytest.mark.parametrize(
    ("play", "programs", "rings", "speaks"),
    [
        (False, ("aplay", "spd-say"), False, False),
        (None, (), False, False),
        (True, (), True, False),
    ],
)
def test_without_a_player_only_who_asked_for_sounds_gets_the_bell(
    play: bool | None, programs: tuple[str, ...], rings: bool, speaks: bool
) -> None:
    rung: list[int] = []
    sound = Tones(play, lambda: rung.append(1), pytest.fail, which(*programs))
    sound.play(1)
    assert bool(rung) is rings
    assert (sound._sound.process is not None) is speaks


def test_a_speaker_says_it_in_words(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    speaker = tmp_path / "spd-say"
    speaker.write_text(f'#!/bin/sh\necho "$1" > {tmp_path}/said\n')
    speaker.chmod(0o755)
    sound = Tones(None, lambda: None, pytest.fail, lambda name: str(speaker) if name == "spd-say" else None)
    sound.play(1)
    assert sound._sound.process is not None
    assert sound._sound.process.wait(20) == 0
    assert (tmp_path / "said").read_text() == "log nearly full\n"
