"""What the control side raises, below transport's tree.

OnbeatError (transport.errors)
├── UsageError
│   ├── EnvironmentRefused      an environment that cannot be made or recorded as asked; exit code 2
│   └── UncalibratedError       a device needs to be calibrated first; exit code 2
├── SourceError                 the environment or robot failed while recording; the episode is aborted
│   └── ObservationChangedError an observation is not as the source declared it; exit code 2
└── SessionAborted              a signal ended the session
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from transport.errors import OnbeatError, RefusedError, UsageError


class EnvironmentRefused(UsageError):
    """The environment cannot be made, or cannot be recorded as it is; the message says what to change."""


class SourceError(OnbeatError):
    """The environment or robot failed during a tick or a reset; the running episode is aborted."""


class ObservationChangedError(SourceError):
    """An observation has another shape or dtype than the source declared; names the key, both values, what to do."""

    exit_code = 2


class SessionAborted(OnbeatError):
    """The session was ended from outside; the running episode is aborted, the kept ones stay."""


class UncalibratedError(UsageError):
    """A robot or teleoperator needs to be calibrated before it is recorded.

    Attributes:
        section: of its flags: `robot` or `teleop`.
    """

    def __init__(self, text: str, section: str) -> None:
        super().__init__(text)
        self.section = section


def tell(error: OnbeatError) -> dict[str, Any]:
    """What another process is told of an error that ends this one."""
    uncalibrated = {"uncalibrated": error.section} if isinstance(error, UncalibratedError) else {}
    return {"failed": str(error), "exit_code": error.exit_code, **uncalibrated}


def told(message: Mapping[str, Any]) -> OnbeatError:
    """The error of another process, from what it told."""
    if "uncalibrated" in message:
        return UncalibratedError(message["failed"], message["uncalibrated"])
    return RefusedError(message["failed"]) if message["exit_code"] == 2 else OnbeatError(message["failed"])
