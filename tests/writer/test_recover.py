"""`onbeat recover`: every state of an episode on disk, decided either way, read by stock afterwards."""

from __future__ import annotations

import json
from pathlib import Path

import crashed
import pytest
import stock
from mcap.reader import make_reader

from transport import ledger
from writer import recover_cli
from writer.journal_thread import JournalThread
from writer.leftovers import State, survey
from writer.workdir import RootLock, SessionDir, work_dir


@pytest.fixture(autouse=True)
def spill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test may find what this user's recordings left."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def test_every_state_is_told_apart_without_changing_anything(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    made, seq = crashed.session(root), 1
    states = [crashed.ABORTED, crashed.KEPT, crashed.UNDECIDED, crashed.RECORDING]
    for episode_id, state in enumerate(states):
        seq = crashed.leave(made, episode_id, 3 + episode_id, state, first_seq=seq)
    before = {path: path.read_bytes() for path in work_dir(root).rglob("*") if path.is_file()}
    found = survey(root)
    assert [leftover.state for leftover in found] == states
    assert [leftover.durable for leftover in found] == [3, 4, 5, 6]
    assert [leftover.published for leftover in found] == [3, 4, 5, None]
    assert recover_cli.main([str(root), "--dry-run"]) == 0
    assert {path: path.read_bytes() for path in work_dir(root).rglob("*") if path.is_file()} == before


def test_keeping_everything_commits_it_in_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "ds"
    made, seq = crashed.session(root), 1
    for episode_id, state in enumerate([crashed.KEPT, crashed.ABORTED, crashed.UNDECIDED]):
        seq = crashed.leave(made, episode_id, 2 + episode_id, state, first_seq=seq)
    assert recover_cli.main([str(root), "--undecided=keep", "--aborted=keep"]) == 0
    assert "published 9  durable 9  lost 0  committed 3  dropped 0  left 0" in capsys.readouterr().out
    dataset = stock.assert_decodes(root, 3, 9)
    assert [int(dataset[i]["next.done"]) in (0, 1) for i in range(9)]
    assert not work_dir(root).exists()
    assert recover_cli.main([str(root)]) == 0


def test_what_is_dropped_is_gone_and_what_nobody_decides_stays(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "ds"
    made = crashed.session(root)
    seq = crashed.leave(made, 0, 2, crashed.ABORTED)
    seq = crashed.leave(made, 1, 3, crashed.UNDECIDED, first_seq=seq)
    crashed.leave(made, 2, 4, crashed.KEPT, first_seq=seq)
    # Standard input of a test is no terminal: nobody can be asked.
    assert recover_cli.main([str(root), "--aborted=drop"]) == 0
    assert "committed 1  dropped 1  left 1" in capsys.readouterr().out
    stock.assert_decodes(root, 1, 4)
    assert [leftover.episode_id for leftover in survey(root)] == [1]
    assert recover_cli.main([str(root), "--undecided=keep"]) == 0
    stock.assert_decodes(root, 2, 7)


def test_a_loss_is_named_frame_by_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "ds"
    made = crashed.session(root)
    crashed.leave(made, 0, 5, crashed.KEPT, more=7)
    assert recover_cli.main([str(root), "--aborted=keep"]) == 3
    output = capsys.readouterr().out
    assert "lost     episode 0 of session 01234567: frames 5 to 11" in output
    assert "published 12  durable 5  lost 7  committed 1" in output
    assert "a test lost them" in output
    stock.assert_decodes(root, 1, 5)
    sidecar = json.loads((root / "meta/onbeat/episode-000000.json").read_text())
    assert (sidecar["reason"], sidecar["detail"]) == ("aborted", "recovered: 5 of 12 frames")


def test_the_ledger_knows_what_was_published_when_all_processes_died(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "ds"
    made = crashed.session(root)
    crashed.leave(made, 0, 4, crashed.RECORDING)
    ledger.Ledger(made.session_id).note(0, 6)
    try:
        assert recover_cli.main([str(root), "--undecided=keep"]) == 3
        assert "frames 4 to 5" in capsys.readouterr().out
        assert ledger.published(made.session_id) == {}
    finally:
        ledger.forget(made.session_id)
    stock.assert_decodes(root, 1, 4)


def test_the_ledger_knows_both_sides_of_an_end_that_was_not_durable_yet(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "ds"
    made = crashed.session(root)
    crashed.leave(made, 0, 4, crashed.RECORDING)
    book = ledger.Ledger(made.session_id)
    for frames in range(1, 8):
        book.note(0, frames)
    book.note(1, 2)
    try:
        assert recover_cli.main([str(root), "--undecided=keep"]) == 3
    finally:
        ledger.forget(made.session_id)
    output = capsys.readouterr().out
    assert "episode 0 of session 01234567: frames 4 to 6" in output
    assert "episode 1 of session 01234567: frames 0 to 1" in output
    assert "published 9  durable 4  lost 5  committed 1  dropped 1" in output
    assert "not known any more" not in output
    stock.assert_decodes(root, 1, 4)


def test_an_episode_of_which_nothing_reached_the_disk_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "ds"
    made = crashed.session(root)
    crashed.leave(made, 0, 4, crashed.KEPT)
    ledger.Ledger(made.session_id).note(1, 9)
    try:
        assert recover_cli.main([str(root), "--undecided=keep"]) == 3
    finally:
        ledger.forget(made.session_id)
    output = capsys.readouterr().out
    assert "episode 1 of session 01234567: frames 0 to 8" in output
    assert "published 13  durable 4  lost 9  committed 1  dropped 1" in output
    stock.assert_decodes(root, 1, 4)


def test_sessions_are_settled_oldest_first(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    for number, session_id in enumerate(("f" * 32, "0" * 32)):
        crashed.leave(crashed.session(root, session_id), 0, 2 + number, crashed.KEPT)
    assert recover_cli.main([str(root)]) == 0
    stock.assert_decodes(root, 2, 5)
    sidecar = json.loads((root / "meta/onbeat/episode-000000.json").read_text())
    assert sidecar["session_id"] == "f" * 32


def test_a_dataset_that_is_being_recorded_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "ds"
    crashed.leave(crashed.session(root), 0, 2, crashed.KEPT)
    lock = RootLock(root, "the robot")
    assert recover_cli.main([str(root)]) == 2
    assert "being recorded by the robot" in capsys.readouterr().err
    lock.release()
    assert [leftover.state for leftover in survey(root)] == [State.ENDED]


def test_nothing_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert recover_cli.main([str(tmp_path / "ds")]) == 2
    assert "neither" in capsys.readouterr().err


def test_kept_journals_open_in_a_public_reader(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    made = crashed.session(root, keep_journal=True)
    crashed.leave(made, 0, 5, crashed.KEPT)
    assert recover_cli.main([str(root)]) == 0
    (kept,) = (work_dir(root) / "kept").rglob("*.mcap")
    with kept.open("rb") as file:
        topics = [channel.topic for _, channel, _ in make_reader(file).iter_messages()]
    assert topics.count("/rows") == 5
    assert topics.count("/video/observation.images.cam0") == 5
    assert sorted(path.name for path in work_dir(root).iterdir()) == ["kept"]


def test_a_disk_that_refuses_costs_the_open_episode_and_ends_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "ds"
    made = crashed.session(root)
    seq = crashed.leave(made, 0, 3, crashed.KEPT)
    import writer.journal as journal_module

    def refuse(file: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(journal_module._File, "sync", refuse)
    crashed.leave(made, 1, 3, crashed.KEPT, first_seq=seq)
    monkeypatch.undo()
    assert made.folder.done()[1]["detail"] == "frames from 0 on: the writer's disk refused (No space left on device)"
    assert not (made.folder.path / "reserve").exists()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert recover_cli.main([str(root), "--aborted=keep"]) == 3
    assert "episode 1 of session 01234567: frames 0 to 2" in capsys.readouterr().out
    stock.assert_decodes(root, 1, 3)


def test_the_log_goes_on_past_a_disk_that_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import writer.journal as journal_module

    made = crashed.session(tmp_path / "ds")

    def refuse(file: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(journal_module._File, "sync", refuse)
    journal = JournalThread(SessionDir(made.root, made.session_id), 0, lambda: None, lambda: None)
    journal.start()
    journal.passed(1)
    journal.session_ended(2)
    journal.stop(10)
    assert journal.durable_seq == 2
    assert journal.session_over
