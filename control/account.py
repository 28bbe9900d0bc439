"""The account of an episode's time: which section of which tick it went to, for the sidecar and for one warning.

Four readings of the clock a tick: work done (`asked`), tick started, action done (`acted`), and again work done. From
the end of one action to the end of the next: publish, wait, policy, teleop, step.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from control.clock import Clock
from control.frame_telemetry import FrameTelemetry
from control.overruns import HeavyStep, Overruns
from control.pacer import Tick
from control.source import Outcome
from transport.ring import LogRing
from transport.ring_layout import Slot
from transport.schema import LoopFlag

_NOTHING: Mapping[str, int] = {}


class TimeAccount:
    """One episode. `start`, then per tick: `asked`, `started`, `acted`, `fill`, in this order.

    Attributes:
        overruns: the episode's missed slots so far.
    """

    def __init__(self, ring: LogRing, clock: Clock, fps: int) -> None:
        self._ring, self._now_ns = ring, clock.now_ns
        self._telemetry = FrameTelemetry(ring.schema)
        self._ring_slots = ring.slot_count
        self._heavy = HeavyStep(fps, time.thread_time_ns)
        self.overruns = Overruns(fps)
        self._sections_ns = _NOTHING
        self._publish_us = self._wait_us = 0
        self.start()

    def start(self) -> None:
        """Frame 0 is next: what came before, such as a reset, is no tick's."""
        self._asked_ns = self._acted_ns = self._now_ns()
        self._tick = Tick(0, self._acted_ns, self._acted_ns, 0)

    def asked(self) -> bool:
        """The work of a tick is done. True when the loop has been too heavy for its priority for a second."""
        asked_ns = self._asked_ns = self._now_ns()
        return self._heavy.is_heavy(self._tick.started_ns, asked_ns)

    def started(self, tick: Tick) -> None:
        """The next tick has begun."""
        publish_ns = self._asked_ns - self._acted_ns
        overruns = self.overruns
        overruns.ticks += 1
        if tick.missed_slots:
            overruns.missed_after(tick.missed_slots, self._tick.lateness_ns, self._spent(), publish_ns)
        self._publish_us, self._wait_us = publish_ns // 1000, (tick.started_ns - self._asked_ns) // 1000
        self._tick = tick

    def acted(self, outcome: Outcome) -> None:
        """The source's tick is over."""
        self._acted_ns = self._now_ns()
        self._sections_ns = outcome.sections_ns

    def fill(self, slot: Slot, outcome: Outcome, flags: LoopFlag) -> None:
        """Put the tick's telemetry into its row."""
        tick, ring, sections_ns = self._tick, self._ring, self._sections_ns
        policy_ns, teleop_ns = sections_ns.get("policy", 0), sections_ns.get("teleop", 0)
        head_seq = ring.head_seq
        self._telemetry.pack(
            slot,
            tick.scheduled_ns,
            tick.started_ns,
            outcome.action_sent_ns,
            tick.missed_slots,
            outcome.is_intervention,
            flags,
            self._publish_us,
            self._wait_us,
            policy_ns // 1000,
            teleop_ns // 1000,
            (self._acted_ns - tick.started_ns - policy_ns - teleop_ns) // 1000,
            head_seq + 1 - ring.tail_seq,
            self._ring_slots,
            head_seq - ring.durable_seq,
        )

    def _spent(self) -> Mapping[str, int]:
        """What the last tick's source spent, by section; what it did not name itself comes last."""
        named = self._sections_ns
        rest_ns = self._acted_ns - self._tick.started_ns - sum(named.values())
        return {**named, "the rest of the step": rest_ns}
