"""Makes what a crash leaves beside a dataset: journals of real packets, in any state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import stock

from transport.dataset_spec import UploadSpec
from transport.records import EndReason, EpisodeEnded, Judgement, Verdict
from writer import codecs
from writer.handshake import Session
from writer.journal_format import JournalHeader
from writer.journal_thread import JournalThread
from writer.recording import Recording

RECORDING, UNDECIDED, KEPT, ABORTED = "recording", "undecided", "ended", "aborted"


def session(
    root: Path, session_id: str = stock.SESSION, *, keep_journal: bool = False, upload: bool = False
) -> Session:
    """A session as the handshake agrees on it, with its folder."""
    from dataclasses import replace

    asked = UploadSpec(private=True) if upload else None
    spec = replace(stock.SPEC, root=str(root), keep_journal=keep_journal, upload=asked)
    made = Session(session_id, "a test", stock.schema(), spec, root, codecs.resolve(spec.rgb_encoder, None))
    made.folder.create(made.agreed())
    return made


def leave(made: Session, episode_id: int, frames: int, state: str, *, more: int = 0, first_seq: int = 1) -> int:
    """Journal an episode up to `state`; returns the next sequence number.

    Args:
        more: frames that the log says the episode has beyond those that are here.
    """
    journal = JournalThread(made.folder, first_seq - 1, lambda: None, lambda: None)
    journal.start()
    seq = first_seq
    cameras = [stream.key for stream in made.schema.pictures]
    header = JournalHeader(
        session_id=made.session_id,
        episode_id=episode_id,
        task="lift the cube",
        segment=0,
        first_frame_index=0,
        schema=made.schema.to_wire(),
        spec=made.spec.to_wire(),
        codec_options=made.codec.options,
        began_seq=seq,
    )
    journal.begin(seq, header, cameras, seq - 1)
    recording = Recording(episode_id, made.schema, made.spec.fps, made.codecs, journal, lambda nbytes: None)
    rows = stock.rows(made.schema, max(frames, 1), episode_id)
    images = [stock.pictures(stream, max(frames, 1), episode_id) for stream in made.schema.pictures]
    for index in range(frames):
        seq += 1
        pictures = [memoryview(np.ascontiguousarray(of[index])).cast("B") for of in images]
        recording.frame(seq, index, rows[index : index + 1].tobytes(), pictures)
    if more:
        recording.lose("a test lost them")
    if state == RECORDING:
        for encoder in recording._encoders or ():
            encoder.flush()
        recording.abandon()
    else:
        seq += 1
        reason = EndReason.ABORTED if state == ABORTED else EndReason.SUCCESS
        recording.end(seq, EpisodeEnded(episode_id, frames + more, reason))
        if state != UNDECIDED:
            seq += 1
            judgement = Judgement.ABORTED if state == ABORTED else Judgement.KEEP
            journal.verdict(seq, Verdict(episode_id, judgement))
    journal.stop(30)
    return seq + 1
