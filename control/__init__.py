"""The robot side of onbeat: the hard-timed loop, what it records, and its supervisor."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from control.api import Recorded, record_dataset

__all__ = ["Recorded", "record_dataset"]


def __getattr__(name: str) -> object:
    """Load the public names when they are asked for: processes of the package import only what they need."""
    if name in __all__:
        from control import api

        return getattr(api, name)
    raise AttributeError(f"module 'control' has no attribute {name!r}")
