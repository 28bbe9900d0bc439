"""The committer's upload of a session: due after the last commit, done once, told through the note on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from transport.messages import UploadState
from writer.handshake import Session
from writer.upload import UploadRequest
from writer.upload_note import UploadNote, forget_note, read_note, write_note
from writer.upload_process import UploadProcess

# A process that is killed is started again so often.
_STARTS = 3


class Uploading:
    """Watches one session; `turn` is called whenever something may have changed.

    Args:
        log: one line for people.
    """

    def __init__(self, session: Session, log: Callable[[str], object]) -> None:
        self._session, self._log = session, log
        self._process: UploadProcess | None = None
        self._starts = 0

    def fds(self) -> list[int]:
        """What to poll."""
        return [] if self._process is None else [self._process.fileno()]

    def turn(self, *, readable: bool) -> None:
        """Begin what is due, and note what has ended."""
        if self._process is not None:
            if readable:
                self._take(self._process)
        elif self._session.spec.upload is not None and self._is_due():
            self._begin()

    def close(self) -> None:
        """The session is over: an upload under way is stopped, and stays due."""
        self._stop()
        note = self._note()
        if note is None:
            return
        if not note.needed:
            forget_note(self._session.root)
        elif not note.settled:
            self._log(f"not uploaded yet: {note.repo_id}; run `onbeat push {self._session.root}`")

    def stop(self) -> None:
        """The committer ends; the next one begins again."""
        self._stop()

    def _stop(self) -> None:
        if self._process is not None:
            self._process.stop()
            self._process = None

    def _is_due(self) -> bool:
        folder = self._session.folder
        if not folder.progress()["session_ended"] or folder.ready():
            return False
        note = self._note()
        return note is None or not note.settled

    def _note(self) -> UploadNote | None:
        """Of this session; another one's is an upload that failed, and this one does its work too."""
        note = read_note(self._session.root)
        return note if note is not None and note.session_id == self._session.session_id else None

    def _begin(self) -> None:
        session = self._session
        assert session.spec.upload is not None
        note = UploadNote(session.session_id, session.spec.repo_id, session.spec.upload)
        if not any(final["state"] == "committed" for final in session.folder.done().values()):
            self._settle(note, UploadState.SKIPPED, "no episode was committed")
            return
        self._write(note)
        from writer.lerobot_private import hub_card

        try:
            card, version = hub_card(session.root, note.repo_id, note.upload.tags)
        except (OSError, ValueError, LookupError) as error:
            self._settle(note, UploadState.FAILED, f"the dataset cannot be described: {error}")
            return
        self._process = UploadProcess(UploadRequest(session.root, note.repo_id, note.upload, card, version))
        self._starts += 1

    def _take(self, process: UploadProcess) -> None:
        message = process.receive()
        if "log" in message:
            self._log(message["log"])
            return
        self._stop()
        note = self._note()
        assert note is not None
        if "uploaded" in message:
            self._settle(note, UploadState.UPLOADED, message["uploaded"])
        elif "failed" in message:
            self._settle(note, UploadState.FAILED, message["failed"])
        elif self._starts >= _STARTS:
            self._settle(note, UploadState.FAILED, f"the uploading process ended with code {message['died']}")
        else:
            self._log(f"the uploading process ended with code {message['died']}; starting it again")

    def _settle(self, note: UploadNote, state: UploadState, detail: str) -> None:
        self._write(replace(note, state=state, detail=detail))

    def _write(self, note: UploadNote) -> None:
        try:
            write_note(self._session.root, note)
        except OSError:
            # The session must be able to end, also on a full disk.
            self._session.folder.drop_reserve()
            write_note(self._session.root, note)
