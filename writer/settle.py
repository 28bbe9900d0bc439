"""Where an episode goes once its verdict is known."""

from __future__ import annotations

from transport.records import Judgement, Verdict
from writer.workdir import SessionDir


def settle(
    session: SessionDir,
    verdict: Verdict,
    seq: int,
    *,
    frames: int,
    lacking: str = "",
    published: int | None = None,
) -> None:
    """Move an episode on to where its verdict, record `seq`, sends it. May be repeated.

    Args:
        lacking: what it lacks, in words; such an episode is never committed.
        published: frames that the recorder said it had.

    Raises:
        OSError: the disk does not take it.
    """
    episode_id = verdict.episode_id
    session.set_progress(seq, session_ended=False)
    if verdict.judgement is Judgement.DISCARD:
        session.set_done(episode_id, "discarded", frames=frames)
        session.drop(episode_id, "recording")
    elif verdict.judgement is Judgement.ABORTED or lacking:
        session.set_done(episode_id, "aborted", frames=frames, detail=lacking, published=published)
        session.move(episode_id, "recording", "aborted")
    else:
        session.move(episode_id, "recording", "ready")
