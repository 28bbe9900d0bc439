"""Imports every module with drills, in the order of the table."""

from __future__ import annotations

from importlib import import_module

_MODULES = ("kills", "commit_kills", "disks", "links", "sessions", "messages", "episodes", "arms", "soak")


def load() -> None:
    for name in _MODULES:
        import_module(f"scripts.drills.{name}")
