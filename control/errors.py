"""What the control side raises, below transport's tree.

OnbeatError (transport.errors)
├── UsageError
│   └── EnvironmentRefused  an environment that cannot be made or recorded as asked; exit code 2
└── SourceError             the environment or robot failed while recording; the episode is aborted
"""

from __future__ import annotations

from transport.errors import OnbeatError, UsageError


class EnvironmentRefused(UsageError):
    """The environment cannot be made, or cannot be recorded as it is; the message says what to change."""


class SourceError(OnbeatError):
    """The environment or robot failed during a tick or a reset; the running episode is aborted."""
