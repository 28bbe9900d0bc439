"""Find the metadata row of a dataset's latest episode without loading the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from writer.errors import CommitError


def latest_episode(root: Path, total_episodes: int) -> dict[str, Any]:
    """The row of episode `total_episodes - 1` in `meta/episodes`, without its statistics.

    Reads the files from the last one back, with pyarrow alone: lerobot's loader reads all of them and leaves a cache
    folder behind.

    Raises:
        CommitError: the row is missing or its file is damaged.
    """
    wanted = total_episodes - 1
    for path in sorted((root / "meta" / "episodes").glob("*/*.parquet"), reverse=True):
        try:
            columns = [name for name in pq.read_schema(path).names if not name.startswith("stats/")]
            rows = pq.read_table(path, columns=columns, filters=[("episode_index", "==", wanted)]).to_pylist()
        except (OSError, ValueError) as error:
            raise CommitError(f"{path} cannot be read ({error}); run `onbeat verify {root}`") from error
        if rows:
            return dict(rows[0])
    raise CommitError(
        f"{root}/meta/episodes has no row for episode {wanted}, which info.json counts; run `onbeat verify {root}`"
    )
