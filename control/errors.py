"""What the control side raises, below transport's tree.

OnbeatError (transport.errors)
├── UsageError
│   └── EnvironmentRefused      an environment that cannot be made or recorded as asked; exit code 2
├── SourceError                 the environment or robot failed while recording; the episode is aborted
│   └── ObservationChangedError an observation is not as the source declared it; exit code 2
└── SessionAborted              a signal ended the session
"""

from __future__ import annotations

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


def told(text: str, exit_code: int) -> OnbeatError:
    """The error of another process, from what it told."""
    return RefusedError(text) if exit_code == 2 else OnbeatError(text)
