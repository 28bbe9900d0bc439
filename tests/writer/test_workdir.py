"""The folders beside a dataset, and who may write it."""

from __future__ import annotations

from pathlib import Path

import pytest

from transport.errors import UsageError
from writer.workdir import RootLock, SessionDir, work_dir

SESSION = "ab" * 16


def session(tmp_path: Path) -> SessionDir:
    folder = SessionDir(tmp_path / "ds", SESSION)
    folder.create({"owner": "me"})
    return folder


def test_an_episode_moves_by_one_rename_and_again_is_nothing(tmp_path: Path) -> None:
    folder = session(tmp_path)
    folder.episode("recording", 3).mkdir()
    for _ in range(2):
        folder.move(3, "recording", "ready")
        assert (folder.open_recordings(), folder.ready()) == ([], [3])


def test_final_states_are_read_once(tmp_path: Path) -> None:
    folder = session(tmp_path)
    folder.set_done(1, "committed", index=0, frames=9)
    folder.set_done(2, "discarded")
    assert folder.done()[1] == {"state": "committed", "index": 0, "frames": 9, "missing": 0, "detail": ""}
    assert set(folder.done(known={1})) == {2}


def test_closing_removes_what_is_finished_and_nothing_else(tmp_path: Path) -> None:
    folder = session(tmp_path)
    folder.episode("aborted", 1).mkdir()
    folder.close()
    assert folder.path.exists()
    folder.drop(1, "aborted")
    folder.close()
    assert not folder.path.exists()


def test_a_dataset_has_one_writer_and_the_second_is_told_who(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    lock = RootLock(root, "anna's recorder")
    with pytest.raises(UsageError, match=r"ds is being recorded by anna's recorder; wait"):
        RootLock(root, "ben's recorder")
    lock.release()
    assert not work_dir(root).exists()
    RootLock(root, "ben's recorder").release()


def test_the_lock_leaves_what_recover_needs(tmp_path: Path) -> None:
    lock = RootLock(tmp_path / "ds", "me")
    folder = session(tmp_path)
    folder.episode("aborted", 0).mkdir()
    lock.release()
    assert folder.episode("aborted", 0).exists()
