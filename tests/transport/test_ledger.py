"""The page that outlives a session's processes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from transport import ledger


@pytest.fixture
def session_id() -> Iterator[str]:
    name = uuid4().hex
    yield name
    ledger.forget(name)


def test_it_has_the_frames_of_the_newest_episodes(session_id: str) -> None:
    assert ledger.published(session_id) == {}
    book = ledger.Ledger(session_id)
    assert ledger.published(session_id) == {}
    for episode_id in range(300):
        for frames in range(1, 1 + episode_id % 5):
            book.note(episode_id, frames)
    found = ledger.published(session_id)
    # Every fifth published nothing, and its place may still be another's.
    assert {e: found[e] for e in range(200, 300) if e % 5} == {e: e % 5 for e in range(200, 300) if e % 5}
    assert len(found) <= 128


def test_holding_it_leaves_what_it_says(session_id: str) -> None:
    book = ledger.Ledger(session_id)
    book.note(0, 7)
    fd = ledger.hold(session_id)
    assert fd is not None
    assert ledger.published(session_id) == {0: 7}


def test_a_page_that_is_not_finished_says_nothing(session_id: str) -> None:
    path = Path("/dev/shm") / f"onbeat-{session_id}"
    path.write_bytes(bytes(4096))  # killed while it was made
    assert ledger.published(session_id) == {}
    path.write_bytes(b"\x03" + bytes(7) + b"\x28" + bytes(4087))  # of another layout
    assert ledger.published(session_id) == {}


def test_an_episode_that_has_begun_and_has_no_frame_is_not_one_with_an_older_count(session_id: str) -> None:
    book = ledger.Ledger(session_id)
    book.note(0, 7)
    book.note(128, 0)  # in the same place
    assert ledger.published(session_id) == {128: 0}
