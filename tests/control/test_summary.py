"""What a session amounted to."""

from __future__ import annotations

from control.summary import Summary


def final(episode: int, state: str, *, index: int = -1, frames: int = 10, missing: int = 0, detail: str = "") -> dict:  # type: ignore[type-arg]
    return {
        "episode": episode, "state": state, "index": index, "frames": frames, "missing": missing, "detail": detail,
    }  # fmt: skip


def test_committed_episodes_are_counted_once() -> None:
    summary = Summary(requested=2, repo_id="me/pick", root="/data/pick")
    for message in (final(0, "committed", index=0), final(1, "discarded"), final(2, "committed", index=1)):
        summary.episode(message)
        summary.episode(message)  # the writer says it again after a reconnection
    assert (summary.episodes, summary.frames, summary.missing_frames, summary.exit_code) == (2, 20, 0, 0)
    assert "episodes  2 (1 discarded)" in summary.lines()
    assert "open      LeRobotDataset('me/pick', root='/data/pick')" in summary.lines()


def test_what_is_not_in_the_dataset_is_named_and_fails_the_command() -> None:
    summary = Summary(requested=1)
    summary.episode(final(0, "aborted", detail="control died"))
    assert summary.exit_code == 1
    assert summary.lines() == ["nothing was recorded", "episode 0 aborted: control died; its journal is kept"]


def test_the_first_cause_decides_the_exit_code() -> None:
    summary = Summary(requested=1)
    summary.failed("an observation changed its shape", 2)
    summary.episode(final(0, "aborted"))
    assert summary.exit_code == 2
