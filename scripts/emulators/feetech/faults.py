"""Which answers go wrong, and how; drawn once a request from a seeded generator: same requests, same faults."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any

from scripts.emulators.feetech.packets import Instruction


class Fault(StrEnum):
    """What happens to the answers to a request."""

    SILENCE = "silence"  # none comes, though the servos did what they were told
    CHECKSUM = "checksum"  # one of them ends with a wrong byte
    LATE = "late"  # they come `late_s` after their time


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Faults to inject from now on.

    Fields:
        silence, checksum, late: the fraction of requests that go wrong so; their sum is at most 1.
        next: how many of the following requests go wrong for certain, by fault, before any fraction counts.
        late_s: how much too late.
        ids: the servos whose answers are hit; empty: all of them.
        instructions: the requests that can go wrong, such as `sync_read`; empty: all that are answered.
    """

    silence: float = 0.0
    checksum: float = 0.0
    late: float = 0.0
    next: Mapping[str, int] = field(default_factory=dict)
    late_s: float = 0.1
    ids: tuple[int, ...] = ()
    instructions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.silence + self.checksum + self.late <= 1:
            raise ValueError("the fractions of silence, checksum and late must add up to between 0 and 1")
        for name in self.next:
            Fault(name)
        for name in self.instructions:
            if name not in _INSTRUCTIONS:
                raise ValueError(f"instruction {name!r} found, expected one of {', '.join(_INSTRUCTIONS)}")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> FaultPlan:
        """The plan that a JSON object with some of the fields describes.

        Raises:
            ValueError: an unknown field, fault or instruction, or fractions beyond 1.
        """
        if unknown := set(values) - {each.name for each in fields(cls)}:
            raise ValueError(
                f"fault field {sorted(unknown)[0]!r} found, expected {[each.name for each in fields(cls)]}"
            )
        lists = {name: tuple(values[name]) for name in ("ids", "instructions") if name in values}
        return cls(**{**values, **lists})


_INSTRUCTIONS = {instruction.name.lower(): instruction for instruction in Instruction}


class FaultInjector:
    """Draws the fault of each request from a plan."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._left: dict[Fault, int] = {}
        self.plan = FaultPlan()

    def follow(self, plan: FaultPlan) -> None:
        """Replace the plan."""
        self._left = {Fault(name): count for name, count in plan.next.items()}
        self.plan = plan

    def draw(self, instruction: int) -> Fault | None:
        """The fault of the request that has come in, if any."""
        plan = self.plan
        if plan.instructions and instruction not in {_INSTRUCTIONS[name] for name in plan.instructions}:
            return None
        for fault, left in self._left.items():
            if left:
                self._left[fault] = left - 1
                return fault
        drawn = self._random.random()
        for fault, fraction in (
            (Fault.SILENCE, plan.silence),
            (Fault.CHECKSUM, plan.checksum),
            (Fault.LATE, plan.late),
        ):
            if drawn < fraction:
                return fault
            drawn -= fraction
        return None

    def victims(self, fault: Fault, answering: Iterable[int]) -> set[int]:
        """Whose answers the fault hits: noise one of those that the plan names, silence and delay all of them."""
        named = [servo_id for servo_id in answering if not self.plan.ids or servo_id in self.plan.ids]
        if fault == Fault.CHECKSUM and named:
            return {self._random.choice(named)}
        return set(named)
