"""Turn a dataset of many small files into one of few: lerobot's own merge, into a new folder that is proved to hold the
same before it takes the dataset's place in one step.

    ROOT.onbeat/compact/     the new folder while it is made; after the exchange the old one, until it is deleted
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from transport.errors import UsageError
from writer.commit_record import read_intent
from writer.dataset_check import read_info
from writer.dataset_files import DatasetFiles
from writer.errors import CompactError
from writer.swap import exchange
from writer.sync import sync_tree
from writer.verify import verify
from writer.video_read import DEPTH, RGB, decode_all
from writer.workdir import RootLock, work_dir

Tell = Callable[[str], None]
Concatenate = Callable[[Path, Path], None]


@dataclass(frozen=True, slots=True)
class Compacted:
    """Files of the dataset before and after."""

    files_before: int
    files_after: int


def compact(root: Path, concatenate: Concatenate, tell: Tell = lambda line: None) -> Compacted:
    """Compact the dataset at `root`. Killed at any moment, the dataset is the old or the new one, whole.

    Args:
        concatenate: writes the dataset of its first argument into the folder of its second, which does not exist.
        tell: one line for people.

    Raises:
        UsageError: no dataset, or one that is being recorded, has an interrupted commit, or lacks room for a copy.
        CompactError: the copy is not equal to the dataset, which is left as it was.
    """
    read_info(root)
    lock = RootLock(root, "onbeat compact")
    try:
        _check(root)
        new = work_dir(root) / "compact"
        shutil.rmtree(new, ignore_errors=True)
        try:
            tell("concatenating")
            concatenate(root, new)
            _point_at_own_file(new)
            _copy_the_rest(root, new)
            tell("comparing every row and every picture")
            _prove_equal(root, new)
            sync_tree(new)
            result = Compacted(len(_files(root)), len(_files(new)))
            exchange(root, new)
        finally:
            shutil.rmtree(new, ignore_errors=True)
    finally:
        lock.release()
    return result


def _check(root: Path) -> None:
    if read_intent(work_dir(root)) is not None:
        raise UsageError(f"a commit into {root} was interrupted; run onbeat recover {root} first")
    needed = sum(path.stat().st_size for path in _files(root))
    free = shutil.disk_usage(root).free
    # The largest video is written anew for each episode that is appended to it.
    if free < 2 * needed:
        raise UsageError(
            f"{free / 1e9:.1f} GB are free beside {root}, compacting needs {2 * needed / 1e9:.1f} GB for a while"
        )


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _copy_the_rest(root: Path, new: Path) -> None:
    """The sidecar, a README, and whatever else lies in the dataset's folder beside what lerobot's merge writes."""
    for path in _files(root):
        name = path.relative_to(root)
        merged = name.parts[0] in ("data", "videos") or name.parts[:2] == ("meta", "episodes")
        if not merged and not (new / name).exists():
            (new / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, new / name)


def _point_at_own_file(new: Path) -> None:
    """lerobot's merge leaves each episode's row saying that it lies in the metadata file that it came from. Reading
    works all the same, but the next merge looks for that file.
    """
    for path in sorted((new / "meta" / "episodes").glob("*/*.parquet")):
        table = pq.read_table(path)
        for name, number in (
            ("meta/episodes/chunk_index", int(path.parent.name.removeprefix("chunk-"))),
            ("meta/episodes/file_index", int(path.stem.removeprefix("file-"))),
        ):
            index = table.schema.get_field_index(name)
            field = table.schema.field(index)
            table = table.set_column(index, field, pa.array([number] * table.num_rows, field.type))
        pq.write_table(table, path)


def _prove_equal(root: Path, new: Path) -> None:
    result = verify(new)
    problems = [*result.problems, *(problem for episode in result.episodes for problem in episode.problems)]
    if not problems:
        problems = list(_differences(DatasetFiles(root), DatasetFiles(new)))
    if problems:
        raise CompactError(
            f"the compacted copy of {root} is not equal to it ({problems[0]}), so nothing was changed; does `onbeat "
            f"verify {root}` find something?"
        )


def _differences(old: DatasetFiles, new: DatasetFiles) -> Iterator[str]:
    if old.info != new.info:
        keys = sorted(key for key in old.info.keys() | new.info.keys() if old.info.get(key) != new.info.get(key))
        yield f"info.json differs in {', '.join(keys)}"
    names = {key for key, feature in old.features.items() if feature["dtype"] != "video"}
    for name in sorted(names):
        if not _same(_column(old, name), _column(new, name)):
            yield f"the column {name} differs"
    for camera in old.cameras:
        if _pictures(old, camera) != _pictures(new, camera):
            yield f"pictures of {camera} differ"


def _column(files: DatasetFiles, name: str) -> list[pa.Array]:
    """All values of a column in the order of the rows, and the lengths of the lists that hold them, outermost first.

    Whether a list is of fixed size is left out of it: stock's writers differ in that.
    """
    rows, _ = files.episodes()
    levels: list[list[pa.Array]] = []
    for path in dict.fromkeys(map(files.data_path, rows)):
        values, level = pq.read_table(path, columns=[name])[name].combine_chunks(), 0
        while pa.types.is_list(values.type) or pa.types.is_fixed_size_list(values.type):
            _put(levels, level, pc.list_value_length(values))
            values, level = values.flatten(), level + 1
        _put(levels, level, values)
    return [pa.concat_arrays(arrays) for arrays in levels]


def _put(levels: list[list[pa.Array]], level: int, values: pa.Array) -> None:
    if level == len(levels):
        levels.append([])
    levels[level].append(values)


def _same(one: list[pa.Array], other: list[pa.Array]) -> bool:
    """Equal values, where no number equals no number."""
    return len(one) == len(other) and all(
        np.array_equal(a.to_numpy(zero_copy_only=False), b.to_numpy(zero_copy_only=False), equal_nan=True)
        if pa.types.is_floating(a.type) and a.type == b.type
        else a.equals(b)
        for a, b in zip(one, other, strict=True)
    )


def _pictures(files: DatasetFiles, camera: str) -> tuple[int, str]:
    """Number and digest of all pictures of a camera, in the order of the episodes."""
    rows, _ = files.episodes()
    paths = dict.fromkeys(files.video_path(row, camera) for row in rows)
    digest, count = hashlib.blake2b(), 0
    for path in paths:
        for frame in decode_all(path, DEPTH if files.is_depth(camera) else RGB):
            picture: Any = frame.picture
            digest.update(np.ascontiguousarray(picture))
            count += 1
    return count, digest.hexdigest()
