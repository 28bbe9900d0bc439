"""What the transport raises.

OnbeatError
├── UsageError          what the caller asked for cannot be done; exit code 2
├── SchemaError         a column, name, dtype or shape that LeRobot or the log cannot hold
├── CodecError          bytes that are not a message or a record of this protocol
│   └── DamagedSpillError   a part of a spill file; names the file
├── LogError            the log ring is missing, too small, or not ours
└── RefusedError        the other side said no; carries its reason

Every message is one line: what was found, what was expected, what to do.
"""

from __future__ import annotations

from pathlib import Path


class OnbeatError(Exception):
    """Base of everything that onbeat raises on purpose."""

    exit_code = 1


class UsageError(OnbeatError):
    """The request cannot be carried out as asked; the message says what to change."""

    exit_code = 2


class SchemaError(UsageError):
    """A stream that the log or LeRobot cannot hold."""


class CodecError(OnbeatError):
    """Bytes that are not a message or record of this protocol."""


class DamagedSpillError(CodecError):
    """A part of the spill file at `path` is not as it was written."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


class LogError(UsageError):
    """The log ring cannot be made or opened as asked."""


class RefusedError(UsageError):
    """The writer refused the session; the message is the writer's own."""
