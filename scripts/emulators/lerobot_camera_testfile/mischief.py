"""When a `testfile` camera stalls or dies: as configured, or as another process orders through a file.

An order is one line: `stall SECONDS` or `die`.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

_LONGEST_STALL_S = 3600.0


@dataclass(frozen=True, slots=True)
class Stall:
    """Deliver nothing for so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Death:
    """Deliver nothing any more."""


Deed = Stall | Death


class Mischief:
    """Hands out each deed once, when its time has come."""

    def __init__(
        self, stall_after_s: float | None, stall_s: float, die_after_s: float | None, orders: Path | None
    ) -> None:
        planned: list[tuple[float, Deed]] = []
        if stall_after_s is not None:
            planned.append((stall_after_s, Stall(stall_s)))
        if die_after_s is not None:
            planned.append((die_after_s, Death()))
        self._planned = sorted(planned, key=lambda deed: deed[0])
        self._orders = orders

    def due(self, elapsed_s: float) -> Deed | None:
        """What to do now, `elapsed_s` after the first picture.

        Raises:
            ValueError: the file of orders holds something else.
        """
        if self._planned and elapsed_s >= self._planned[0][0]:
            return self._planned.pop(0)[1]
        return None if self._orders is None else _take(self._orders)


def order(path: Path, line: str) -> None:
    """Leave an order for the camera that looks at `path`."""
    _parse(line)
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    temporary.write_text(line)
    temporary.replace(path)


def _take(path: Path) -> Deed | None:
    try:
        line = path.read_text()
    except FileNotFoundError:
        return None
    path.unlink()
    return _parse(line)


def _parse(line: str) -> Deed:
    match line.split():
        case ["die"]:
            return Death()
        case ["stall", number]:
            seconds = float(number)
            if math.isnan(seconds) or seconds < 0:
                raise ValueError(f"a stall of {number} s found, expected a length of at least 0")
            return Stall(min(seconds, _LONGEST_STALL_S))
    raise ValueError(f"order {line!r} found, expected `stall SECONDS` or `die`")
