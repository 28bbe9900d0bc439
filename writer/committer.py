"""The committer process: puts finished journals into the dataset, one after the other, at low priority.

It learns what to do from the folder `ready` alone; the eventfd is only a bell. lerobot is imported while the first
episode is still being recorded.
"""

from __future__ import annotations

import contextlib
import os
import select
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transport import ledger
from transport.errors import OnbeatError
from transport.link import Link, child_link
from writer.commit_record import Committed, read_intent
from writer.encode_cost import read_runs
from writer.errors import CommitError
from writer.handshake import Session, again
from writer.journal_join import to_finished
from writer.keep import keep_journal
from writer.mux import write_mp4
from writer.priority import give_up_realtime
from writer.resume import read_episode
from writer.tries import Tries
from writer.uploading import Uploading
from writer.workdir import SessionDir, work_dir

if TYPE_CHECKING:
    from writer.commit import Committer

# A commit that failed for a reason that may pass (a full disk, a kill) is tried this often before the episode is set
# aside.
_TRIES = 3
# One that has been decided only goes forward, a step at least with each process.
_FORWARD_TRIES = 30


class CommitterProcess:
    """Commits what is ready in the open session."""

    def __init__(self, link: Link, ready_fd: int, done_fd: int) -> None:
        from writer.commit import Committer

        self._make = Committer
        self._link = link
        self._ready_fd, self._done_fd = ready_fd, done_fd
        self._session: Session | None = None
        self._committer: Committer | None = None
        self._uploading: Uploading | None = None
        self._refusal = ""
        self._up = False
        self._tries: dict[int, Tries] = {}

    def run(self) -> None:
        """Serve until the parent says to stop."""
        while True:
            poller = select.poll()
            uploads = [] if self._uploading is None else self._uploading.fds()
            for fd in (self._ready_fd, self._link.fileno(), *uploads):
                poller.register(fd, select.POLLIN)
            ready = dict(poller.poll(1000))
            if self._ready_fd in ready:
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(self._ready_fd)
            if self._link.fileno() in ready:
                received = self._link.receive()
                if received is None or "stop" in received[0]:
                    if self._uploading is not None:
                        self._uploading.stop()
                    return
                self._on_message(received[0])
                # Not before: what ends a committer may be the session that it opens.
                self._say_up()
            self._commit_ready()
            if self._uploading is not None:
                self._uploading.turn(readable=any(fd in ready for fd in uploads))

    def _on_message(self, message: dict[str, Any]) -> None:
        if "open" in message:
            opened = message["open"]
            session = again(Path(opened["root"]), opened["session_id"])
            if session is None:
                raise OnbeatError(f"session {opened['session_id']} has no folder beside {opened['root']}")
            self._session = session
            self._open_dataset(session)
            if self._refusal:
                self._link.send({"log": self._refusal})
            self._uploading = Uploading(session, lambda text: self._link.send({"log": text}))
        elif "close" in message:
            self._commit_ready()
            if self._uploading is not None:
                self._uploading.close()
            if self._session is not None:
                folder = self._session.folder
                # What its recorder still has can be taken in only as long as the session is known here.
                if folder.is_over and folder.close():
                    ledger.forget(self._session.session_id)
            self._session = self._committer = self._uploading = None
            self._refusal = ""
            self._tries.clear()
            self._link.send({"closed": True})

    def _open_dataset(self, session: Session) -> None:
        """Complete what was interrupted; until that is done, no episode of the session is committed."""
        work = work_dir(session.root)
        tries = Tries(session.folder.path / "forward.json")
        try:
            if read_intent(work) is not None:
                if tries.begun >= _FORWARD_TRIES:
                    raise CommitError(f"the committer ended {tries.begun} times over it")
                tries.begin()
                self._say_up()  # these have a limit of their own
            self._committer = self._make(session.root, work, session.spec, session.schema)
            tries.forget()
            self._refusal = ""
        except (OnbeatError, OSError, ValueError) as error:
            self._refusal = f"an interrupted commit cannot be completed: {error}"

    def _commit_ready(self) -> None:
        if self._session is None:
            return
        folder = self._session.folder
        for episode_id in folder.ready():
            tries = self._tries.setdefault(episode_id, Tries(folder.episode("ready", episode_id) / "tries.json"))
            if self._committer is None:
                self._open_dataset(self._session)
            done = self._find(self._session, episode_id)
            if done is not None:
                # Another committer put it in, and was killed before it had cleaned up.
                self._put_away(folder, episode_id, done)
            elif tries.begun >= _TRIES:
                self._say_failed(episode_id, why := f"the committer ended {tries.begun} times while it tried")
                self._set_aside(folder, episode_id, why)
            else:
                tries.begin()
                try:
                    done = self._commit(self._session, episode_id)
                except (OnbeatError, OSError, ValueError) as error:
                    self._say_failed(episode_id, str(error))
                    if tries.begun < _TRIES or self._find(self._session, episode_id) is not None:
                        return
                    self._set_aside(folder, episode_id, str(error))
                else:
                    self._put_away(folder, episode_id, done)
            with contextlib.suppress(BlockingIOError):
                os.eventfd_write(self._done_fd, 1)

    def _find(self, session: Session, episode_id: int) -> Committed | None:
        return None if self._committer is None else self._committer.find(session.session_id, episode_id)

    def _say_up(self) -> None:
        if not self._up:
            self._up = True
            self._link.send({"up": True})

    def _say_failed(self, episode_id: int, why: str) -> None:
        self._link.send({"log": f"episode {episode_id} could not be committed: {why}"})

    def _say_unnoted(self, episode_id: int, error: OSError) -> None:
        self._link.send({"log": f"the end of episode {episode_id} could not be noted: {error}"})

    def _set_aside(self, folder: SessionDir, episode_id: int, why: str) -> None:
        """Leave an episode to `onbeat recover`; the session must be able to end, also on a full disk."""
        folder.drop_reserve()
        try:
            folder.set_done(episode_id, "failed", detail=why[:1000])
        except OSError as error:
            self._say_unnoted(episode_id, error)
        self._tries.pop(episode_id).forget()
        folder.move(episode_id, "ready", "aborted")

    def _commit(self, session: Session, episode_id: int) -> Committed:
        if self._committer is None:
            raise CommitError(self._refusal)
        folder = session.folder
        joined = read_episode(folder, episode_id, "ready")
        if joined is None:
            raise OnbeatError(f"the journal of episode {episode_id} is empty")
        runs = read_runs(folder.episode("ready", episode_id), lambda text: self._link.send({"log": text}))
        finished = replace(to_finished(joined), encode_runs=runs)
        return self._committer.commit(
            finished, lambda key, path: write_mp4(finished.videos[key], session.spec.fps, path)
        )

    def _put_away(self, folder: SessionDir, episode_id: int, committed: Committed) -> None:
        """Note the end of an episode that is in the dataset, and take its journal away."""
        missing = sum(max(committed.frames - packets, 0) for packets in committed.packets_by_camera.values())
        index, frames = committed.episode_index, committed.frames
        try:
            folder.set_done(episode_id, "committed", index=index, frames=frames, missing=missing)
        except OSError as error:
            # The commit's own record has it.
            self._say_unnoted(episode_id, error)
        self._tries.pop(episode_id).forget()
        try:
            keep_journal(folder, episode_id, "ready")
        except OSError as error:
            # The session must be able to end; whoever recovers finds that it is committed.
            self._link.send({"log": f"the journal of episode {episode_id}, which is committed, stays: {error}"})
            folder.move(episode_id, "ready", "aborted")


def main() -> None:
    """Entry of the process; its link's first message comes with two eventfds."""
    link, _, (ready_fd, done_fd) = child_link()
    # A session opens its encoder to check it: with SVT-AV1, every commit would then run before the loop.
    give_up_realtime()
    CommitterProcess(link, ready_fd, done_fd).run()


if __name__ == "__main__":
    main()
