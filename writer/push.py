"""Upload a dataset by hand, or one whose upload is due: what `onbeat push` and `onbeat recover` do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from transport import ledger
from transport.dataset_spec import DatasetSpec
from transport.errors import OnbeatError, UsageError
from transport.messages import UploadState
from writer.commit_record import read_intent
from writer.commit_steps import counted_episodes
from writer.hub_login import ask_hub
from writer.leftovers import sessions
from writer.upload import Uploaded, UploadRequest, upload
from writer.upload_note import UploadNote, forget_note, read_note, write_note
from writer.workdir import RootLock, work_dir


def due_upload(root: Path) -> UploadNote | None:
    """The upload that was asked for and has not happened; also where the session that wanted it never came so far."""
    note = read_note(root)
    if note is not None and note.needed:
        return note
    for session in reversed(sessions(root)):
        spec = DatasetSpec.from_wire((session.agreed() or {})["spec"])
        if spec.upload is not None:
            return UploadNote(session.session_id, spec.repo_id, spec.upload)
    return None


def keep_due(root: Path) -> None:
    """Note an upload that only a session's folder tells of, before that folder goes."""
    note = due_upload(root)
    if note is not None:
        write_note(root, note)


def push(root: Path, note: UploadNote, tell: Callable[[str], object]) -> Uploaded:
    """Upload the dataset at `root` now.

    Raises:
        UsageError: it cannot be, and what to do; or it is being recorded.
        UploadError: it did not work.
    """
    if counted_episodes(root) == 0:
        raise UsageError(f"{root} holds no dataset with episodes; give the path that --dataset.root had")
    lock = RootLock(root, "onbeat push")
    try:
        if read_intent(work_dir(root)) is not None:
            raise UsageError(f"a commit into {root} was interrupted; run `onbeat recover {root}` first")
        write_note(root, note)
        try:
            ask_hub(note.repo_id, root)
            from writer.lerobot_private import hub_card

            card, version = hub_card(root, note.repo_id, note.upload.tags)
            done = upload(UploadRequest(root, note.repo_id, note.upload, card, version), tell)
        except OnbeatError as error:
            write_note(root, replace(note, state=UploadState.FAILED, detail=str(error)))
            raise
        forget_note(root)
        for session in sessions(root):
            if session.is_over and session.close():
                ledger.forget(session.session_id)
        return done
    finally:
        lock.release()
