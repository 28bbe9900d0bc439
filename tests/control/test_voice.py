"""Cues: lerobot-record's words at lerobot-record's moments, one at a time, and never waited for."""

from __future__ import annotations

import io
import os
import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from control import tones
from control.board import Board, LoopFigures, Phase
from control.cues import Cue, CueWatch
from control.tones import beeps, melody
from control.voice import _NOTE_S, _NOTES_HZ, Voice


def figures(phase: Phase, take: int, recorded: int) -> LoopFigures:
    board = Board.create()
    board.set_phase(phase, episode_id=take, recorded=recorded)
    found = board.figures(30)
    os.close(board.fd)
    return found


def heard(*states: tuple[Phase, int, int], first_index: int = 0) -> list[str]:
    watch = CueWatch(first_index)
    return [words for state in states for _, words in watch.look(figures(*state))]


def test_the_course_of_a_session() -> None:
    said = heard(
        (Phase.STARTING, 0, 0), (Phase.RESETTING, 0, 0), (Phase.RECORDING, 0, 0), (Phase.RECORDING, 0, 0),
        (Phase.RESET_PHASE, 0, 0), (Phase.RESETTING, 1, 1), (Phase.RECORDING, 1, 1), (Phase.RESET_PHASE, 1, 1),
        (Phase.RECORDING, 2, 1), (Phase.ENDED, 2, 2), (Phase.ENDED, 2, 2), first_index=3,
    )  # fmt: skip
    assert said == [
        "Recording episode 3", "Reset the environment", "Recording episode 4", "Reset the environment",
        "Re-record episode", "Recording episode 4", "Stop recording",
    ]  # fmt: skip


def test_episodes_that_follow_between_two_looks() -> None:
    assert heard((Phase.RECORDING, 0, 0), (Phase.RECORDING, 1, 1), (Phase.RECORDING, 2, 1)) == [
        "Recording episode 0", "Recording episode 1", "Re-record episode", "Recording episode 1",
    ]  # fmt: skip


def test_gate_and_review_are_heard() -> None:
    assert heard((Phase.START_GATE, 0, 0), (Phase.RECORDING, 0, 0), (Phase.REVIEW, 0, 0), (Phase.ENDED, 0, 1)) == [
        "Ready", "Recording episode 0", "Keep the last episode?", "Stop recording",
    ]  # fmt: skip


# -- the voice ---------------------------------------------------------------------------------------------------------


class Machine:
    """Programs that note what they were told, in a folder of their own; time is set by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.bells, self.now_s = folder, 0, 0.0
        self.notes: list[str] = []

    def program(self, name: str, does: str = "true") -> None:
        path = self.folder / name
        path.write_text(f'#!/bin/sh\nsound=$(cksum)\necho "$@ $sound" >> {self.folder}/heard\n{does}\n')
        path.chmod(0o755)

    def which(self, name: str) -> str | None:
        return str(self.folder / name) if (self.folder / name).exists() else None

    def voice(self, play: bool | None) -> Voice:
        return Voice(play, self._ring, self.notes.append, self.which, lambda: self.now_s)

    def heard(self) -> list[str]:
        path = self.folder / "heard"
        return [line.split("  ")[0] for line in path.read_text().splitlines()] if path.exists() else []

    def _ring(self) -> None:
        self.bells += 1


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(tones, "_PLAYERS", (("onbeat-test-player", "-q"),))
    return Machine(tmp_path)


def until_silent(voice: Voice) -> None:
    while voice._sound.process is not None:
        voice._sound.process.wait(20)
        voice.turn()


EMPTY = "4294967295 0"  # cksum of nothing


def test_a_speaker_says_one_after_the_other(machine: Machine) -> None:
    machine.program("spd-say")
    voice = machine.voice(None)
    voice.say(Cue.AGAIN, "Re-record episode")
    first = voice._sound.process
    voice.say(Cue.RECORDING, "Recording episode 3")
    assert voice._sound.process is first, "at most one at a time"
    until_silent(voice)
    assert machine.heard() == [f"--wait Re-record episode {EMPTY}", f"--wait Recording episode 3 {EMPTY}"]
    assert (machine.notes, machine.bells) == ([], 0)


def test_what_is_no_longer_true_when_its_turn_comes_is_left_out(machine: Machine) -> None:
    machine.program("say", "sleep 0.2")
    voice = machine.voice(True)
    for cue, words in [(Cue.READY, "a"), (Cue.RESET, "b"), (Cue.AGAIN, "c"), (Cue.RECORDING, "d")]:
        voice.say(cue, words)
    until_silent(voice)
    assert machine.heard() == [f"{words} {EMPTY}" for words in ("a", "c", "d")]


def test_a_speaker_that_hangs_holds_nothing_up_and_is_ended(machine: Machine) -> None:
    machine.program("espeak", "sleep 300")
    voice = machine.voice(True)
    voice.say(Cue.RESET, "Reset the environment")
    hanging = voice._sound.process
    assert hanging is not None
    machine.now_s = 11.0
    voice.turn()
    assert hanging.returncode == -9
    assert machine.notes == ["espeak did not end within 10 s: cues are the terminal's bell"]
    voice.say(Cue.RECORDING, "Recording episode 0")
    assert machine.bells == 1


def test_close_ends_it(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("control.voice._LAST_WORDS_S", 0.05)
    machine.program("spd-say", "sleep 300")
    voice = machine.voice(None)
    voice.say(Cue.STOP, "Stop recording")
    process = voice._sound.process
    assert process is not None
    voice.close()
    assert process.returncode == -9


def test_a_speaker_that_fails_is_said_once_and_melodies_follow(machine: Machine) -> None:
    machine.program("spd-say", "exit 1")
    machine.program("onbeat-test-player")
    voice = machine.voice(None)
    for cue in (Cue.RECORDING, Cue.RESET, Cue.STOP):
        voice.say(cue, cue.value)
        until_silent(voice)
    assert machine.notes == ["spd-say ended with code 1: cues are short melodies"]
    assert len(machine.heard()) == len(set(machine.heard())) == 3


@pytest.mark.parametrize(
    ("play", "player", "bells", "notes"),
    [
        (None, False, 0, []),
        (False, True, 0, []),
        (True, False, 2, ["no program speaks here (spd-say, say, espeak-ng or espeak): cues are the terminal's bell"]),
        (True, True, 0, ["no program speaks here (spd-say, say, espeak-ng or espeak): cues are short melodies"]),
        (None, True, 0, ["no program speaks here (spd-say, say, espeak-ng or espeak): cues are short melodies"]),
    ],
)
def test_without_a_speaker(machine: Machine, play: bool | None, player: bool, bells: int, notes: list[str]) -> None:
    if player:
        machine.program("onbeat-test-player")
    voice = machine.voice(play)
    for _ in range(2):
        voice.say(Cue.READY, "Ready")
        until_silent(voice)
    assert (machine.bells, machine.notes) == (bells, notes)
    assert len(machine.heard()) == (2 if player and play is not False else 0)


def strongest_hz(data: bytes) -> set[int]:
    """The strongest frequency of each eighth of a second."""
    with wave.open(io.BytesIO(data)) as file:
        rate, samples = file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), np.int16)
    window = rate // 8
    loud: Callable[[int], int] = lambda at: int(np.argmax(np.abs(np.fft.rfft(samples[at : at + window]))) * 8)  # noqa: E731
    return {loud(at) for at in range(0, len(samples) - window, rate // 5)}


def test_no_melody_is_like_an_alarm_or_like_another() -> None:
    alarms = [strongest_hz(beeps(urgency)) for urgency in range(3)]
    melodies = {cue: melody(notes, _NOTE_S) for cue, notes in _NOTES_HZ.items()}
    assert set(melodies) == set(Cue)
    assert len(set(melodies.values())) == len(Cue)
    for data in melodies.values():
        assert not any(strongest_hz(data) & alarm for alarm in alarms)
