"""The link is measured right whatever it is like, in bounded time and with little left under way."""

from __future__ import annotations

from collections import deque

import pytest

from transport.link_probe import MESSAGE_BYTES, LinkProbe

_STEP_S = 0.001


class _Link:
    """A link with a rate and a delay, in virtual time; answers every message when it has come through."""

    def __init__(self, bytes_per_s: float, round_trip_s: float) -> None:
        self.now_s = 1000.0
        self._rate, self._round_trip_s = bytes_per_s, round_trip_s
        self._free_at_s = self.now_s
        self._answers: deque[tuple[float, int]] = deque()
        self._sent_bytes = 0

    def measure(self, limit_s: float) -> tuple[float, float, float]:
        """Result, how long it took, and what is still under way then, in seconds of the link."""
        probe = LinkProbe(lambda: self.now_s)
        began_s = self.now_s
        while probe.bytes_per_s is None:
            assert self.now_s < began_s + limit_s
            due = probe.due()
            if due is not None:
                self._send(due)
            self.now_s += _STEP_S
            while self._answers and self._answers[0][0] <= self.now_s:
                probe.arrived(self._answers.popleft()[1])
        return probe.bytes_per_s, self.now_s - began_s, max(self._free_at_s - self.now_s, 0)

    def _send(self, messages: int) -> None:
        for _ in range(max(messages, 1)):
            nbytes = MESSAGE_BYTES if messages else 0
            self._free_at_s = max(self._free_at_s, self.now_s) + nbytes / self._rate
            self._sent_bytes += nbytes
            self._answers.append((self._free_at_s + self._round_trip_s, self._sent_bytes))


@pytest.mark.parametrize("mb_per_s", [0.5, 1.2, 12, 55, 110, 900])
@pytest.mark.parametrize("round_trip_s", [0.0002, 0.05, 0.3])
def test_rate_is_found_within_a_tenth(mb_per_s: float, round_trip_s: float) -> None:
    found, took_s, left_s = _Link(mb_per_s * 1e6, round_trip_s).measure(limit_s=4.5)
    assert found == pytest.approx(mb_per_s * 1e6, rel=0.1)
    assert took_s < 4.5
    assert left_s < 1.0


def test_a_link_that_carries_next_to_nothing_is_said_to() -> None:
    found, _, _ = _Link(20e3, 0.1).measure(limit_s=4.5)
    assert found <= 20e3


def test_a_writer_that_stops_answering_does_not_hold_the_start_up() -> None:
    now_s = [0.0]
    probe = LinkProbe(lambda: now_s[0])
    assert probe.due() == 0
    while probe.bytes_per_s is None:
        assert now_s[0] < 5
        now_s[0] += 0.05
        assert probe.due() is None
    assert probe.bytes_per_s == 0
