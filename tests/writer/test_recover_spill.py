"""`onbeat recover` takes in what a publisher left in its spill folder."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import crashed
import pytest
import stock
from spilled import Spill

from transport import ledger
from transport.records import EndReason, EpisodeBegan, EpisodeEnded, Judgement, SessionEnded, Verdict
from transport.spill import AGAIN
from transport.spill_lock import SpillLock
from writer import recover, recover_cli
from writer.workdir import SessionDir, work_dir


def broken_off_at_frame_7(root: Path, folder: Path) -> SessionDir:
    """Episode 0 with frames 0 to 3 in its journal and 4 to 7 in the spill, and nothing after that."""
    made = crashed.session(root)
    crashed.leave(made, 0, 4, crashed.RECORDING)
    spill = Spill(made, folder)
    spill.frames(6, 0, 4, 7)
    spill.files.close()
    return made


def test_an_episode_goes_on_where_its_journal_ends(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, folder = tmp_path / "ds", tmp_path / "spill"
    made = crashed.session(root)
    crashed.leave(made, 0, 4, crashed.RECORDING)  # records 1 (began) to 5 (frame 3)
    spill = Spill(made, folder)
    spill.frames(5, 0, 3, 9)  # record 5 is durable already
    spill.event(12, EpisodeEnded(0, 10, EndReason.SUCCESS))
    spill.event(13, Verdict(0, Judgement.KEEP))
    spill.event(14, EpisodeBegan(1, "lift the cube"))
    spill.frames(15, 1, 0, 5)
    spill.event(21, EpisodeEnded(1, 6, EndReason.SUCCESS))
    spill.event(22, Verdict(1, Judgement.KEEP))
    spill.event(23, SessionEnded())
    spill.files.close()
    assert recover_cli.main([str(root), f"--spill={folder}"]) == 0
    assert "published 16  durable 16  lost 0  committed 2" in capsys.readouterr().out
    stock.assert_decodes(root, 2, 16)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("ledger_says", "described", "lost"),
    [
        ((0, 13), "published 13, durable 8, lost 5", "episode 0 of session 01234567: frames 8 to 12"),
        # Killed between the append and the note.
        ((0, 7), "published 8, durable 8, lost 0", ""),
        # A power cut, or the writer's machine is another one.
        (None, "published unknown, durable 8, lost 0", "beyond its 8 durable ones is not known any more"),
        # The rest of episode 0, all of episode 1: in the part of the ring that was never spilled.
        ((2, 4), "published unknown, durable 8, lost 0", "episode 2 of session 01234567: frames 0 to 3"),
    ],
)
def test_what_was_published_after_the_last_spilled_record_is_lost_or_not_known(
    ledger_says: tuple[int, int] | None,
    described: str,
    lost: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    root, folder = tmp_path / "ds", tmp_path / "spill"
    made = broken_off_at_frame_7(root, folder)
    if ledger_says is not None:
        ledger.Ledger(made.session_id).note(*ledger_says)
    try:
        assert recover_cli.main([str(root), f"--spill={folder}", "--aborted=leave"]) == (3 if lost else 0)
        first = capsys.readouterr().out
        assert "took in   4 records" in first
        ledger.forget(made.session_id)  # whoever comes next must say the same
        code = recover_cli.main([str(root), f"--spill={folder}", "--aborted=keep"])
    finally:
        ledger.forget(made.session_id)
    second = capsys.readouterr().out
    for output in (first, second) if ledger_says != (2, 4) else (first,):
        assert f"aborted, {described}" in output
        assert lost in output
    assert code == (3 if lost else 0)
    stock.assert_decodes(root, 1, 8)
    assert list(folder.iterdir()) == []
    assert not work_dir(root).exists()


def test_killed_after_it_has_closed_the_log_recover_still_knows_what_the_ledger_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root, folder = tmp_path / "ds", tmp_path / "spill"
    made = broken_off_at_frame_7(root, folder)
    book = ledger.Ledger(made.session_id)
    book.note(0, 13)
    book.note(1, 5)

    def killed(root: Path) -> None:
        raise KeyboardInterrupt

    try:
        with monkeypatch.context() as patch:
            patch.setattr(recover, "survey", killed)
            with pytest.raises(KeyboardInterrupt):
                recover_cli.main([str(root), f"--spill={folder}", "--aborted=keep"])
    finally:
        ledger.forget(made.session_id)  # and the machine starts again
    assert recover_cli.main([str(root), f"--spill={folder}", "--aborted=keep"]) == 3
    output = capsys.readouterr().out
    assert "episode 0 of session 01234567: frames 8 to 12" in output
    assert "episode 1 of session 01234567: frames 0 to 4" in output
    stock.assert_decodes(root, 1, 8)


def test_a_log_that_breaks_off_between_episodes_may_have_gone_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, folder = tmp_path / "ds", tmp_path / "spill"
    made = crashed.session(root)
    crashed.leave(made, 0, 4, crashed.RECORDING)
    spill = Spill(made, folder)
    spill.event(6, EpisodeEnded(0, 4, EndReason.SUCCESS))
    spill.event(7, Verdict(0, Judgement.KEEP))
    spill.files.close()
    assert recover_cli.main([str(root), f"--spill={folder}"]) == 3
    assert "session 01234567: what came after episode 0 is not known any more" in capsys.readouterr().out
    stock.assert_decodes(root, 1, 4)


def test_a_gap_before_the_spill_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, folder = tmp_path / "ds", tmp_path / "spill"
    made = crashed.session(root)
    crashed.leave(made, 0, 4, crashed.RECORDING)
    spill = Spill(made, folder)
    spill.frames(8, 0, 6, 9)  # frames 4 and 5 are nowhere
    spill.event(12, EpisodeEnded(0, 10, EndReason.SUCCESS))
    spill.event(13, Verdict(0, Judgement.KEEP))
    spill.event(14, SessionEnded())
    spill.files.close()
    assert recover_cli.main([str(root), f"--spill={folder}", "--aborted=keep"]) == 3
    output = capsys.readouterr().out
    assert "lost     episode 0 of session 01234567: frames 4 to 9" in output
    assert "published 10  durable 4  lost 6" in output
    stock.assert_decodes(root, 1, 4)


def test_other_sessions_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root, folder = tmp_path / "ds", tmp_path / "spill"
    crashed.leave(crashed.session(root), 0, 4, crashed.KEPT)
    stranger = crashed.session(tmp_path / "other", "f" * 32)
    spill = Spill(stranger, folder)
    spill.event(1, EpisodeBegan(0, "lift the cube"))
    spill.files.close()
    assert recover_cli.main([str(root), f"--spill={folder}"]) == 0
    assert [path.name for path in folder.iterdir()] == ["f" * 32]


def test_a_publisher_that_lives_keeps_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, folder = tmp_path / "ds", tmp_path / "spill"
    made = crashed.session(root)
    crashed.leave(made, 0, 4, crashed.UNDECIDED)
    spill = Spill(made, folder)
    spill.event(7, Verdict(0, Judgement.KEEP))
    spill.event(8, SessionEnded())
    spill.files.close()
    publisher = SpillLock(folder / made.session_id)
    assert recover_cli.main([str(root), f"--spill={folder}", "--undecided=drop"]) == 2
    assert f"{folder / made.session_id} is in use by process {os.getpid()}, a publisher" in capsys.readouterr().err
    assert len(list(folder.rglob("*.spill"))) == 1
    publisher.release()
    assert recover_cli.main([str(root), f"--spill={folder}"]) == 0
    stock.assert_decodes(root, 1, 4)


def test_a_publisher_that_spills_to_another_folder_is_waited_for_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "ds"
    made = crashed.session(root)
    crashed.leave(made, 0, 4, crashed.UNDECIDED)
    ledger.Ledger(made.session_id).note(0, 4)
    try:
        fd = ledger.hold(made.session_id)
        assert fd is not None
        assert recover_cli.main([str(root), f"--spill={tmp_path / 'spill'}", "--undecided=drop"]) == 2
        assert f"session 01234567 is in use by process {os.getpid()}, a publisher" in capsys.readouterr().err
        os.close(fd)
        assert ledger.published(made.session_id) == {0: 4}
        assert recover_cli.main([str(root), f"--spill={tmp_path / 'spill'}", "--undecided=drop"]) == 0
    finally:
        ledger.forget(made.session_id)


def _truncate(path: Path) -> None:
    os.truncate(path, 0)


def _cut(path: Path) -> None:
    os.truncate(path, 20)


def _flip_in_the_first_record(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"REC1") + 8] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("damage", [_truncate, _cut, _flip_in_the_first_record])
def test_a_file_that_is_not_whole_is_named_and_stays_and_the_rest_is_taken(
    damage: Callable[[Path], None], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, folder = tmp_path / "ds", tmp_path / "spill"
    made = crashed.session(root)
    crashed.leave(made, 0, 4, crashed.RECORDING)
    spill = Spill(made, folder, file_bytes=1)  # a record a file
    spill.event(6, EpisodeEnded(0, 4, EndReason.SUCCESS))
    spill.event(7, Verdict(0, Judgement.KEEP))
    spill.event(8, EpisodeBegan(1, "lift the cube"))
    spill.frames(9, 1, 0, 3)
    spill.event(13, EpisodeEnded(1, 4, EndReason.SUCCESS))
    spill.event(14, Verdict(1, Judgement.KEEP))
    spill.event(15, SessionEnded())
    spill.files.close()
    torn = folder / made.session_id / f"{11:020d}.spill"
    damage(torn)
    assert recover_cli.main([str(root), f"--spill={folder}", "--aborted=keep"]) == 3
    output = capsys.readouterr().out
    assert f"damaged  {torn}: " in output
    assert f"lost     what is not whole in {torn}, which stays there" in output
    assert "lost     episode 1 of session 01234567: frames 2 to 3" in output
    assert list(folder.rglob("*.spill")) == [torn]
    stock.assert_decodes(root, 2, 6)


def test_what_cannot_stand_in_the_log_is_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, folder = tmp_path / "ds", tmp_path / "spill"
    made = crashed.session(root)
    crashed.leave(made, 0, 4, crashed.RECORDING)
    spill = Spill(made, folder, file_bytes=1)
    spill.event(6, EpisodeEnded(0, 4, EndReason.SUCCESS))
    spill.event(7, Verdict(0, Judgement.KEEP))
    spill.event(8, EpisodeBegan(0, "lift the cube"))  # a second time
    spill.event(9, SessionEnded())
    spill.files.close()
    assert recover_cli.main([str(root), f"--spill={folder}"]) == 3
    strange = folder / made.session_id / f"{8:020d}.spill"
    assert f"damaged  {strange}: record 8: the beginning of an episode that is over" in capsys.readouterr().out
    assert list(folder.rglob("*.spill")) == [strange]
    stock.assert_decodes(root, 1, 4)


def test_both_folders_of_a_session_are_taken_in(tmp_path: Path) -> None:
    root, folder = tmp_path / "ds", tmp_path / "spill"
    made = crashed.session(root)
    crashed.leave(made, 0, 4, crashed.RECORDING)
    spill, again = Spill(made, folder), Spill(made, folder, suffix=AGAIN)
    spill.frames(6, 0, 4, 7)
    again.frames(10, 0, 8, 9)
    again.event(12, EpisodeEnded(0, 10, EndReason.SUCCESS))
    again.event(13, Verdict(0, Judgement.KEEP))
    again.event(14, SessionEnded())
    for made_of in (spill, again):
        made_of.files.close()
    assert recover_cli.main([str(root), f"--spill={folder}"]) == 0
    stock.assert_decodes(root, 1, 10)
    assert list(folder.iterdir()) == []
