"""Committers that end over an episode, one after the other: what each finds on disk, and when they give up."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import crashed
import pytest
import stock
from spilled import Spill

from transport.link import Link
from transport.records import EndReason, EpisodeBegan, EpisodeEnded, Judgement, SessionEnded, Verdict
from writer import recover_cli
from writer.commit import Committer
from writer.commit_record import Intent, write_intent
from writer.committer import CommitterProcess
from writer.handshake import Session
from writer.workdir import SessionDir, work_dir


class Killed(BaseException):
    """Nothing catches it, as nothing catches SIGKILL."""


def run_committer(made: Session, *, close: bool = False) -> list[str]:
    """One committer process from its start until nothing is left to do, or until it is killed; what it says."""
    ours, theirs = Link.pair()
    bells = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(2)]
    try:
        ours.send({"open": {"root": str(made.root), "session_id": made.session_id}})
        if close:
            ours.send({"close": True})
        ours.send({"stop": True})
        CommitterProcess(theirs, *bells).run()
    finally:
        theirs.close()
        said: list[dict[str, Any]] = []
        while (received := ours.receive(1)) is not None:
            said.append(received[0])
        ours.close()
        for fd in bells:
            os.close(fd)
    return [message["log"] for message in said if "log" in message]


def test_an_episode_that_kills_its_committer_is_set_aside_after_three_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = crashed.session(tmp_path / "ds")
    seq = crashed.leave(made, 0, 3, crashed.KEPT)
    crashed.leave(made, 1, 4, crashed.KEPT, first_seq=seq)
    real, tries = Committer.commit, 0

    def deadly(committer: Committer, episode: Any, write_video: Any) -> Any:
        nonlocal tries
        if episode.episode_id == 0:
            tries += 1
            raise Killed
        return real(committer, episode, write_video)

    monkeypatch.setattr(Committer, "commit", deadly)
    for _ in range(3):
        with pytest.raises(Killed):
            run_committer(made)
        assert made.folder.ready() == [0, 1]
    said = run_committer(made)
    assert tries == 3
    assert said == ["episode 0 could not be committed: the committer ended 3 times while it tried"]
    done = made.folder.done()
    assert (done[0]["state"], done[1]["state"], done[1]["frames"]) == ("failed", "committed", 4)
    assert (made.folder.ready(), made.folder.aborted()) == ([], [0])
    stock.assert_decodes(made.root, 1, 4)
    assert [path.name for path in made.folder.episode("aborted", 0).iterdir() if path.suffix != ".json"] == [
        "segment-000.mcap"
    ]


@pytest.mark.parametrize("keep_journal", [False, True])
def test_a_committed_episode_stays_committed_when_the_end_comes_while_its_journal_goes(
    keep_journal: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = crashed.session(tmp_path / "ds", keep_journal=keep_journal)
    crashed.leave(made, 0, 3, crashed.KEPT)

    def half(session: SessionDir, episode_id: int, state: str, **_: Any) -> None:
        for path in session.episode(state, episode_id).iterdir():
            path.unlink()
        raise Killed

    monkeypatch.setattr("writer.committer.keep_journal", half)
    with pytest.raises(Killed):
        run_committer(made)
    assert made.folder.ready() == [0]
    monkeypatch.undo()
    assert run_committer(made) == []
    assert made.folder.done()[0] == {"state": "committed", "index": 0, "frames": 3, "missing": 0, "detail": ""}
    assert (made.folder.ready(), made.folder.aborted()) == ([], [])
    stock.assert_decodes(made.root, 1, 3)


def test_an_interrupted_commit_that_cannot_be_completed_is_said_and_episodes_are_set_aside(tmp_path: Path) -> None:
    made = crashed.session(tmp_path / "ds")
    crashed.leave(made, 0, 3, crashed.KEPT)
    work = work_dir(made.root)
    write_intent(Intent(made.session_id, 7, 3, 5, {}, ()), work)
    for _ in range(3):
        assert made.folder.ready() == [0]
        first, second = run_committer(made)
        assert first.startswith("an interrupted commit cannot be completed: ")
        assert "has 0 episodes, expected 3 before" in first
        assert second == f"episode 0 could not be committed: {first}"
    assert (made.folder.ready(), made.folder.aborted()) == ([], [0])
    assert made.folder.done()[0]["state"] == "failed"
    assert json.loads((work / "intent.json").read_text())["episode_id"] == 7


def test_a_commit_that_kills_whoever_completes_it_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = crashed.session(tmp_path / "ds")
    crashed.leave(made, 0, 3, crashed.KEPT)
    write_intent(Intent(made.session_id, 0, 0, 3, {}, ()), work_dir(made.root))

    def deadly(committer: Committer) -> None:
        raise Killed

    monkeypatch.setattr(Committer, "recover", deadly)
    for _ in range(30):
        with pytest.raises(Killed):
            run_committer(made)
    for _ in range(3):
        assert "the committer ended 30 times over it" in run_committer(made)[0]
    assert made.folder.aborted() == [0]


def test_a_journal_that_cannot_be_deleted_keeps_no_session_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = crashed.session(tmp_path / "ds")
    crashed.leave(made, 0, 3, crashed.KEPT)

    def refuse(session: SessionDir, episode_id: int, state: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(SessionDir, "drop", refuse)
    assert run_committer(made) == ["the journal of episode 0, which is committed, stays: [Errno 5] Input/output error"]
    monkeypatch.undo()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert (made.folder.ready(), made.folder.done()[0]["state"]) == ([], "committed")
    assert recover_cli.main([str(made.root)]) == 0
    stock.assert_decodes(made.root, 1, 3)
    assert not work_dir(made.root).exists()


def test_a_session_whose_recorder_is_gone_is_known_until_its_log_is_over(tmp_path: Path) -> None:
    made = crashed.session(tmp_path / "ds")
    seq = crashed.leave(made, 0, 3, crashed.KEPT)
    run_committer(made, close=True)
    assert made.folder.done()[0]["state"] == "committed"
    # Its publisher has left the next episode in the spill folder.
    spill = Spill(made, tmp_path / "spill")
    spill.event(seq, EpisodeBegan(1, "lift the cube"))
    spill.frames(seq + 1, 1, 0, 4)
    spill.event(seq + 6, EpisodeEnded(1, 5, EndReason.SUCCESS))
    spill.event(seq + 7, Verdict(1, Judgement.KEEP))
    spill.event(seq + 8, SessionEnded())
    spill.files.close()
    assert recover_cli.main([str(made.root), f"--spill={tmp_path / 'spill'}"]) == 0
    stock.assert_decodes(made.root, 2, 8)
    assert not work_dir(made.root).exists()


def test_a_session_that_is_over_leaves_nothing(tmp_path: Path) -> None:
    made = crashed.session(tmp_path / "ds")
    seq = crashed.leave(made, 0, 3, crashed.KEPT)
    made.folder.set_progress(seq, session_ended=True)
    run_committer(made, close=True)
    assert not made.folder.path.exists()
    stock.assert_decodes(made.root, 1, 3)
