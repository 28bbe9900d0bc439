"""The list of drills."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scripts.drills.stage import Stage


@dataclass(frozen=True, slots=True)
class Result:
    """One row of the table.

    Attributes:
        published: frames that control published, takes discarded by the operator included.
        durable: of these, how many are in the dataset or were discarded.
        control_p99_us, fault_free_p99_us: the loop's lateness; None where no loop ran.
    """

    name: str
    passed: bool
    published: int = 0
    durable: int = 0
    lost: int = 0
    duplicated: int = 0
    control_p99_us: float | None = None
    fault_free_p99_us: float | None = None
    notes: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Drill:
    """One drill.

    Attributes:
        may_lose: what it may lose, in words; empty if nothing.
        fast: part of the subset that continuous integration runs.
        soak: runs only with `--soak`.
    """

    name: str
    about: str
    run: Callable[[Stage], Result]
    may_lose: str = ""
    fast: bool = False
    soak: bool = False


_DRILLS: dict[str, Drill] = {}


def drill(
    name: str, *, may_lose: str = "", fast: bool = False, soak: bool = False
) -> Callable[[Callable[[Stage], Result]], Callable[[Stage], Result]]:
    """Add a function to the list; its docstring says what it does."""

    def add(run: Callable[[Stage], Result]) -> Callable[[Stage], Result]:
        assert name not in _DRILLS
        about = (run.__doc__ or "").strip().splitlines()[0]
        _DRILLS[name] = Drill(name, about, run, may_lose, fast, soak)
        return run

    return add


def drills() -> Iterator[Drill]:
    """All of them, in the order in which they are written down."""
    from scripts.drills import catalogue

    catalogue.load()
    yield from _DRILLS.values()
