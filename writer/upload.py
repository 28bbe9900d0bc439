"""Uploads a dataset to the Hugging Face Hub as lerobot's `push_to_hub` does, again and again until it is there.

Repeating costs little: the Hub is asked first which contents it has, and those are not sent again. Only huggingface_hub
is needed here; what lerobot knows (card and version) comes with the request.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transport.dataset_spec import UploadSpec
from transport.errors import UsageError
from writer.errors import UploadError
from writer.hub_errors import in_words, passes
from writer.hub_files import README, check_arrived, check_same_dataset, local_files

# Seconds before each further try; huggingface_hub has by then repeated single requests for 25 s itself.
PAUSES_S = (2.0, 10.0, 30.0, 60.0, 120.0)
_CONNECT_S, _WRITE_S, _ANSWER_S = 15.0, 60.0, 300.0


@dataclass(frozen=True, slots=True)
class UploadRequest:
    """What goes where.

    Attributes:
        root: the dataset's folder.
        card: text of its README.md.
        version: the tag by which stock LeRobot finds a revision that it can read.
    """

    root: Path
    repo_id: str
    upload: UploadSpec
    card: str
    version: str


@dataclass(frozen=True, slots=True)
class Uploaded:
    """What is there now."""

    url: str
    files: int
    nbytes: int

    def __str__(self) -> str:
        return f"{self.url} ({self.files} files, {self.nbytes / 1e6:.1f} MB)"


def upload(
    request: UploadRequest,
    tell: Callable[[str], object],
    pauses_s: Sequence[float] = PAUSES_S,
    sleep: Callable[[float], object] = time.sleep,
) -> Uploaded:
    """Upload everything that the Hub has not got.

    Args:
        tell: one line for people before each further try.

    Raises:
        UploadError: it is not uploaded, and why.
        UsageError: the repository holds another dataset.
    """
    _prepare_library()
    for pause_s in (*pauses_s, None):
        try:
            return _upload(request)
        except UsageError:
            raise
        except Exception as error:  # whatever three libraries raise here is sorted, and nothing is ignored
            why = in_words(error, request.repo_id)
            if pause_s is None or not passes(error):
                raise UploadError(why) from error
        tell(f"the upload to {request.repo_id} was interrupted ({why}); next try in {pause_s:g} s")
        sleep(pause_s)
    raise AssertionError("the last try returns or raises")


def _upload(request: UploadRequest) -> Uploaded:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import RevisionNotFoundError

    api = HfApi()
    name, local = request.repo_id, local_files(request.root)
    url = api.create_repo(name, private=request.upload.private, repo_type="dataset", exist_ok=True)
    check_same_dataset(name, remote_files(api, name), local)
    api.upload_folder(repo_id=name, folder_path=request.root, repo_type="dataset", ignore_patterns=["images/"])
    # Stock's card is the same, but is checked at huggingface.co whatever HF_ENDPOINT says.
    api.upload_file(path_or_fileobj=request.card.encode(), path_in_repo=README, repo_id=name, repo_type="dataset")
    check_arrived(remote_files(api, name), local)
    with contextlib.suppress(RevisionNotFoundError):
        api.delete_tag(name, tag=request.version, repo_type="dataset")
    api.create_tag(name, tag=request.version, repo_type="dataset")
    return Uploaded(str(url), len(local), sum(local.values()))


def remote_files(api: Any, repo_id: str) -> dict[str, int]:
    """Sizes in bytes of a repository's files by path."""
    entries = api.list_repo_tree(repo_id, repo_type="dataset", recursive=True)
    return {entry.path: entry.size for entry in entries if hasattr(entry, "size")}


def _prepare_library() -> None:
    """Set time limits, for a silent link must end some time, and keep bars off a terminal that is shared."""
    import httpx
    from huggingface_hub import constants, set_client_factory
    from huggingface_hub.utils import disable_progress_bars, logging  # type: ignore[attr-defined]

    if constants.is_offline_mode():
        raise UploadError("HF_HUB_OFFLINE is set; unset it where the writer runs")
    limits = httpx.Timeout(_ANSWER_S, connect=_CONNECT_S, write=_WRITE_S, pool=None)
    set_client_factory(lambda: httpx.Client(follow_redirects=True, timeout=limits))
    disable_progress_bars()
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
