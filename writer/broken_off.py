"""How far a session's log went beyond the end of what its publisher had spilled when every process died.

Noted before that log is closed with an end that control never wrote: it looks like any other end from then on. And the
ledger that knows may be gone when `onbeat recover` is called again.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from writer.workdir import SessionDir, read_json, write_json


@dataclass(frozen=True, slots=True)
class BrokenOff:
    """Where the log broke off.

    Attributes:
        episode_id: the newest episode that was spilled; -1 for none.
        is_open: it has no end there.
        published: frames that the open episode, or else the newest one, is known to have had; None when nobody knows.
    """

    episode_id: int
    is_open: bool
    published: int | None


def read_broken_off(session: SessionDir) -> BrokenOff | None:
    value = read_json(_path(session))
    return None if value is None else BrokenOff(**value)


def write_broken_off(session: SessionDir, noted: BrokenOff) -> None:
    """Durable when it returns."""
    write_json(_path(session), asdict(noted))


def _path(session: SessionDir) -> Path:
    return session.path / "broken_off.json"
