"""Make files and folders durable: what these functions return from survives a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def sync_tree(tree: Path) -> None:
    """Make every file and folder of `tree` durable."""
    for folder, _, files in os.walk(tree):
        for name in files:
            with Path(folder, name).open("rb") as file:
                os.fsync(file.fileno())
        sync_directory(Path(folder))


def sync_directory(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_directories(folder: Path) -> None:
    """Make `folder` and what is missing above it, durably."""
    if folder.exists():
        return
    make_directories(folder.parent)
    folder.mkdir()
    sync_directory(folder.parent)
