"""Which files of a dataset go to the Hub, and whether a repository there is this dataset's or another's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from transport.errors import UsageError

# As lerobot's push_to_hub leaves them out, and huggingface_hub everywhere.
_LEFT_OUT = ("images", ".git", ".cache")
# Whatever lies here is read as part of the dataset.
_READ_BY_STOCK = ("data/", "videos/", "meta/episodes/")
README = "README.md"


def local_files(root: Path) -> dict[str, int]:
    """Sizes in bytes by path below the dataset's folder, as they are in the repository afterwards."""
    found = {}
    for path in sorted(root.rglob("*")):
        relative = path.relative_to(root)
        if path.is_file() and relative.parts[0] not in _LEFT_OUT:
            found[relative.as_posix()] = path.stat().st_size
    return found


def check_same_dataset(repo_id: str, remote: Iterable[str], local: Mapping[str, int]) -> None:
    """Whether uploading would mix two datasets in one repository: stock LeRobot reads every file that it finds there.

    Raises:
        UsageError: it would.
    """
    foreign = sorted(path for path in remote if path.startswith(_READ_BY_STOCK) and path not in local)
    if foreign:
        raise UsageError(
            f"{repo_id} on the Hub has {len(foreign)} files that this dataset has not, such as {foreign[0]}: it is "
            "another dataset, or this one before it was compacted or edited; choose another --dataset.repo_id, or "
            "delete them there"
        )


def check_arrived(remote: Mapping[str, int], local: Mapping[str, int]) -> None:
    """Whether everything is there.

    Raises:
        ConnectionError: it is not.
    """
    lacking = [path for path, size in local.items() if path != README and remote.get(path) != size]
    if lacking:
        raise ConnectionError(f"{len(lacking)} of {len(local)} files did not arrive, such as {lacking[0]}")
