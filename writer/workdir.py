"""What lies beside a dataset while it is recorded, and how an episode moves through it.

    ROOT.onbeat/                       same file system as ROOT, never pushed to the Hub
        lock                           held by the writer's parent; its text names the owner
        staging/ ...                   the committer's (writer/commit.py)
        upload.json                    an upload to the Hub that is due or has failed (writer/upload_note.py)
        sessions/SESSION/
            session.json               what was agreed in the handshake
            progress.json              the newest durable record when no episode is open
            reserve                    deleted when the disk is full, so that the last notes find room
            recording/e000007/         segments (MCAP) of an episode without a verdict
            ready/e000007/             verdict keep: to be committed
            aborted/e000007/           ended abnormally, or could not be committed: for `onbeat recover`
            done/e000007.json          final state, kept until the session is closed
        kept/SESSION-e000007/          journals of committed episodes, with --writer.keep_journal

An episode is in exactly one of the folders, and moves by one rename, so that any of the processes can die at any
moment and the next one reads off the disk what is left to do.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Container, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transport.errors import UsageError
from writer.sync import sync_directory

# Final states and progress of a session are some hundred bytes each; a file takes at least a block.
_RESERVE_BYTES = 1 << 20


def work_dir(root: Path) -> Path:
    """`ROOT.onbeat`."""
    return root.with_name(root.name + ".onbeat")


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Replace `path` durably: afterwards it holds the old text or the new one, whatever happens."""
    temporary = path.with_name(path.name + ".new")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(value, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def read_json(path: Path) -> dict[str, Any] | None:
    """What `write_json` wrote, or None where nothing was."""
    try:
        value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return value


@dataclass(frozen=True)
class SessionDir:
    """The folder of one session under `ROOT.onbeat/sessions`."""

    root: Path
    session_id: str

    @property
    def path(self) -> Path:
        return work_dir(self.root) / "sessions" / self.session_id

    def create(self, agreed: Mapping[str, Any]) -> None:
        for name in ("recording", "ready", "aborted", "done"):
            (self.path / name).mkdir(parents=True, exist_ok=True)
        write_json(self.path / "session.json", agreed)
        fd = os.open(self._reserve, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.posix_fallocate(fd, 0, _RESERVE_BYTES)
        finally:
            os.close(fd)

    @property
    def _reserve(self) -> Path:
        return self.path / "reserve"

    def drop_reserve(self) -> None:
        """Make the room that the last notes of a session on a full disk need."""
        self._reserve.unlink(missing_ok=True)

    def agreed(self) -> dict[str, Any] | None:
        """What the handshake agreed on, or None if this session is new here."""
        return read_json(self.path / "session.json")

    @property
    def keeps_journals(self) -> bool:
        """Whether journals of committed episodes are kept."""
        return bool((self.agreed() or {}).get("spec", {}).get("keep_journal"))

    def progress(self) -> dict[str, Any]:
        """`durable_seq` and `session_ended` (the SESSION_ENDED record is durable)."""
        return read_json(self.path / "progress.json") or {"durable_seq": 0, "session_ended": False}

    def set_progress(self, durable_seq: int, *, session_ended: bool) -> None:
        write_json(self.path / "progress.json", {"durable_seq": durable_seq, "session_ended": session_ended})

    def episode(self, state: str, episode_id: int) -> Path:
        """The episode's folder in the state recording, ready or aborted."""
        return self.path / state / _name(episode_id)

    def open_recordings(self) -> list[int]:
        return sorted(self._ids("recording"))

    def ready(self) -> list[int]:
        """Episodes to be committed, oldest first."""
        return sorted(self._ids("ready"))

    def aborted(self) -> list[int]:
        return sorted(self._ids("aborted"))

    def move(self, episode_id: int, origin: str, target: str) -> None:
        """Rename an episode's folder from one state to the next; doing it again does nothing."""
        source, goal = self.episode(origin, episode_id), self.episode(target, episode_id)
        if source.exists():
            source.rename(goal)
            sync_directory(goal.parent)
            sync_directory(source.parent)

    def drop(self, episode_id: int, state: str) -> None:
        """Delete an episode's folder in the given state, if it is there."""
        path = self.episode(state, episode_id)
        if path.exists():
            shutil.rmtree(path)

    def set_done(
        self,
        episode_id: int,
        state: str,
        *,
        index: int = -1,
        frames: int = 0,
        missing: int = 0,
        detail: str = "",
        published: int | None = None,
    ) -> None:
        """Note the final state of an episode: committed, discarded, aborted or failed.

        Args:
            published: frames that the recorder said it had, where the journal may not tell.
        """
        value: dict[str, Any] = {"state": state, "index": index, "frames": frames, "missing": missing, "detail": detail}
        if published is not None:
            value["published"] = published
        write_json(self.path / "done" / f"{_name(episode_id)}.json", value)

    def done(self, known: Container[int] = ()) -> dict[int, dict[str, Any]]:
        """Final states by episode, without those that are `known`."""
        found = {}
        for path in sorted((self.path / "done").glob("e*.json")):
            episode_id = int(path.stem[1:])
            value = None if episode_id in known else read_json(path)
            if value is not None:
                found[episode_id] = value
        return found

    @property
    def is_over(self) -> bool:
        """Whether its recorder has nothing more to deliver: the log's end is here, or no episode ever was."""
        progress = self.progress()
        return bool(progress["session_ended"]) or not (progress["durable_seq"] or self.done())

    def close(self) -> bool:
        """Remove what is finished; True if that is all. Other episodes stay, with what is needed to recover them."""
        if self.aborted() or self.open_recordings() or self.ready():
            return False
        shutil.rmtree(self.path)
        return True

    def _ids(self, state: str) -> Iterator[int]:
        return (int(path.name[1:]) for path in (self.path / state).glob("e*") if path.is_dir())


class RootLock:
    """The right to write one dataset. Held through a file lock, so it is gone when its holder dies."""

    def __init__(self, root: Path, owner: str) -> None:
        """Take the lock.

        Raises:
            UsageError: somebody else holds it; names the owner.
        """
        self._dir = work_dir(root)
        path = self._dir / "lock"
        while True:
            self._dir.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = os.pread(self._fd, 4096, 0).decode(errors="replace").strip() or "another writer"
                os.close(self._fd)
                raise UsageError(
                    f"{root} is being recorded by {holder}; wait for it to end or choose another --dataset.root"
                ) from error
            # The holder before us may have removed the file that we opened; then it guards nothing.
            if path.exists() and os.path.samestat(os.fstat(self._fd), path.stat()):
                break
            os.close(self._fd)
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, owner.encode(), 0)

    def release(self) -> None:
        """Give the lock up, and remove `ROOT.onbeat` if nothing is left in it that anybody could need."""
        sessions = self._dir / "sessions"
        needed = (sessions.exists() and any(sessions.iterdir())) or any(
            (self._dir / name).exists() for name in ("intent.json", "upload.json")
        )
        if not needed:
            for path in self._dir.iterdir():
                if path.name != "kept":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
            if not any(self._dir.iterdir()):
                self._dir.rmdir()
        os.close(self._fd)


def _name(episode_id: int) -> str:
    return f"e{episode_id:06d}"
