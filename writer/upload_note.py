"""What becomes of a dataset's upload, kept beside the dataset (`ROOT.onbeat/upload.json`) until it has happened.

Whoever dies over an upload, the next one reads here that it is due: the restarted committer, `onbeat recover` or
`onbeat push`.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from transport.dataset_spec import UploadSpec
from transport.messages import UploadState
from writer.sync import make_directories, sync_directory
from writer.workdir import read_json, work_dir, write_json


@dataclass(frozen=True, slots=True)
class UploadNote:
    """One upload.

    Attributes:
        session_id: who asked for it last.
        state: UPLOADING from the moment that it is due until it has happened, has failed or is not wanted any more.
        detail: what people are told of it.
    """

    session_id: str
    repo_id: str
    upload: UploadSpec
    state: UploadState = UploadState.UPLOADING
    detail: str = ""

    @property
    def settled(self) -> bool:
        """Whether nothing more happens by itself."""
        return self.state is not UploadState.UPLOADING

    @property
    def needed(self) -> bool:
        """Whether it must not be forgotten."""
        return self.state in (UploadState.UPLOADING, UploadState.FAILED)


def write_note(root: Path, note: UploadNote) -> None:
    """Durable when it returns."""
    path = _path(root)
    make_directories(path.parent)
    write_json(path, asdict(note))


def read_note(root: Path) -> UploadNote | None:
    value: dict[str, Any] | None = read_json(_path(root))
    if value is None:
        return None
    upload = UploadSpec(value["upload"]["private"], tuple(value["upload"]["tags"]))
    return UploadNote(value["session_id"], value["repo_id"], upload, UploadState(value["state"]), value["detail"])


def forget_note(root: Path) -> None:
    path = _path(root)
    if path.exists():
        path.unlink()
        sync_directory(path.parent)


def _path(root: Path) -> Path:
    return work_dir(root) / "upload.json"
