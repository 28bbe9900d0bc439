"""Shared memory between the loop and the policy's process: which observation is there, and what the policy answers.

The loop says which tick's observation lies in the log ring; the policy's process answers with a chunk of actions, the
first of which is for the very tick whose observation it answers. Neither side ever waits. Layout, 64-bit words in the
machine's order, everything aligned to 64 bytes:

    page 0      the loop's words: episode, its first record's sequence number, newest observation, not before
                the policy's words (from byte 64): number of the newest answer
    slot i      number begun, episode, observed tick, rows, microseconds of inference; the actions, float64

Answer a (from 1) lies in slot a % SLOTS; it is written as `control.camera_memory` writes pictures: its number into the
slot first, the number of the newest last. A reader that finds another number in the slot afterwards takes the newer.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transport.fence import fence

SLOTS = 4
# Rows of a chunk that are kept: no policy is trusted further ahead.
MAX_ROWS = 1024
_PAGE = 4096
_SLOT_HEADER_BYTES = 64
_ATTEMPTS = 16

_EPISODE, _FIRST_SEQ, _OBSERVED, _NOT_BEFORE = range(4)
_NEWEST = 8
_BEGUN, _OF_EPISODE, _OBSERVED_TICK, _ROWS, _INFERENCE_US = range(5)

Actions = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Request:
    """What the loop has.

    Attributes:
        episode: counts from 1, attempts that are recorded again included; 0 before the first.
        first_seq: sequence number, in the log ring, of the record of the episode's tick 0.
        observed: the newest tick whose observation is complete in its slot; -1: none of this episode yet.
        not_before: a person acted until this tick: answers to earlier observations are not used.
    """

    episode: int
    first_seq: int
    observed: int
    not_before: int


@dataclass(frozen=True, slots=True)
class Answer:
    """A chunk of actions.

    Attributes:
        number: counts from 1 over the session.
        observed: the tick whose observation it answers; row 0 is for that tick, row 1 for the next.
        actions: shape (rows, elements of an action).
        inference_us: what it took, pre- and post-processing included.
    """

    number: int
    episode: int
    observed: int
    actions: Actions
    inference_us: int


class PolicyMemory:
    """Both sides' view.

    Args:
        fd: a memfd made by `create_memory`.
        size: elements of an action.
    """

    def __init__(self, fd: int, size: int) -> None:
        self._size = size
        self._map = mmap.mmap(fd, _bytes(size))
        whole = np.frombuffer(self._map, np.uint8)
        self._words = whole[:_PAGE].view(np.int64)
        slot_bytes = _slot_bytes(size)
        starts = range(_PAGE, _PAGE + SLOTS * slot_bytes, slot_bytes)
        self._headers = [whole[start : start + _SLOT_HEADER_BYTES].view(np.int64) for start in starts]
        self._actions = [
            whole[start + _SLOT_HEADER_BYTES :][: MAX_ROWS * size * 8].view(np.float64).reshape(MAX_ROWS, size)
            for start in starts
        ]

    # -- the loop's side -----------------------------------------------------------------------------------------

    def begin_episode(self, first_seq: int) -> int:
        """A new episode, no observation yet; returns its number."""
        words = self._words
        episode = int(words[_EPISODE]) + 1
        words[_OBSERVED] = -1
        words[_NOT_BEFORE] = 0
        words[_FIRST_SEQ] = first_seq
        fence()
        words[_EPISODE] = episode
        return episode

    def observe(self, tick: int) -> None:
        """The observation of this tick lies complete in its slot of the log ring."""
        fence()
        self._words[_OBSERVED] = tick

    def set_not_before(self, tick: int) -> None:
        """A person acts until this tick."""
        self._words[_NOT_BEFORE] = tick

    @property
    def newest(self) -> int:
        """Number of the newest answer; 0 before the first."""
        return int(self._words[_NEWEST])

    def read_newest(self) -> Answer | None:
        """The newest answer, copied; None before the first.

        Raises:
            OSError: the policy's process keeps overtaking.
        """
        for _ in range(_ATTEMPTS):
            number = self.newest
            if number == 0:
                return None
            fence()
            header = self._headers[number % SLOTS]
            _, episode, observed, rows, inference_us = header[:5].tolist()
            actions = self._actions[number % SLOTS][:rows].copy()
            fence()
            if int(header[_BEGUN]) == number:
                return Answer(number, episode, observed, actions, inference_us)
        raise OSError(f"the policy overtook its reader {_ATTEMPTS} times in a row; is the machine overloaded?")

    # -- the policy's side ---------------------------------------------------------------------------------------

    def request(self) -> Request:
        """What the loop has; all of one episode."""
        while True:
            episode, first_seq, observed, not_before = self._words[:4].tolist()
            fence()
            if int(self._words[_EPISODE]) == episode and int(self._words[_FIRST_SEQ]) == first_seq:
                return Request(episode, first_seq, observed, not_before)

    def answer(self, episode: int, observed: int, actions: Actions, inference_us: int) -> int:
        """Publish a chunk of shape (rows, size), of at most `MAX_ROWS` rows; returns its number."""
        number = self.newest + 1
        header = self._headers[number % SLOTS]
        header[_BEGUN] = number
        fence()
        header[_OF_EPISODE : _INFERENCE_US + 1] = (episode, observed, len(actions), inference_us)
        np.copyto(self._actions[number % SLOTS][: len(actions)], actions)
        fence()
        self._words[_NEWEST] = number
        return number


def create_memory(size: int) -> int:
    """Allocate the memory for actions of `size` elements; returns the memfd."""
    fd = os.memfd_create("onbeat-policy", os.MFD_CLOEXEC)
    os.posix_fallocate(fd, 0, _bytes(size))
    return fd


def _slot_bytes(size: int) -> int:
    return _SLOT_HEADER_BYTES + -(-MAX_ROWS * size * 8 // 64) * 64


def _bytes(size: int) -> int:
    return -(-(_PAGE + SLOTS * _slot_bytes(size)) // _PAGE) * _PAGE
