"""Is the dataset on disk the one that the session describes? Asked at the handshake, before anything is recorded.

Reads `meta/info.json` alone, with nothing but the standard library: ingest must not wait for lerobot.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transport.dataset_spec import DatasetSpec, DepthEncoderSpec
from transport.errors import UsageError
from transport.schema import Kind, Schema
from writer.errors import DatasetMismatchError

# Below this much free space a recording is not begun.
FLOOR_BYTES = 256 << 20
_FILLED_BY_LEROBOT = frozenset(["timestamp", "frame_index", "episode_index", "index", "task_index"])
_CANONICAL = {"libsvtav1": "av1", "libaom-av1": "av1", "librav1e": "av1", "libx264": "h264", "libx265": "hevc"}


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """Where an existing dataset stands.

    Attributes:
        total_episodes, total_frames: what `info.json` counts.
        codec, pix_fmt: of its videos, `codec` by its canonical name; None as long as there are none.
    """

    total_episodes: int
    total_frames: int
    codec: str | None = None
    pix_fmt: str | None = None


def check(root: Path, spec: DatasetSpec, schema: Schema, floor_bytes: int = FLOOR_BYTES) -> ResumePoint | None:
    """Whether the session can be recorded into `root`: the dataset is the right one and its disk takes it.

    Returns and raises what `compare` and `check_disk` do.
    """
    point = compare(root, spec, schema)
    check_disk(root, floor_bytes)
    return point


def compare(root: Path, spec: DatasetSpec, schema: Schema) -> ResumePoint | None:
    """Compare the dataset at `root` with what is to be recorded.

    Returns:
        None if there is no dataset yet and one is to be made, else where the existing one goes on.

    Raises:
        DatasetMismatchError: it exists without `spec.resume`, does not exist with it, or differs.
    """
    if not spec.resume:
        if root.exists():
            raise DatasetMismatchError(
                f"{root} exists; append to it with --resume=true or choose another --dataset.root"
            )
        return None
    info = read_info(root)
    _compare(root, "frames per second", info.get("fps"), spec.fps, "--dataset.fps")
    _compare(root, "robot_type", info.get("robot_type"), spec.robot_type, "--robot.type")
    _compare_features(root, info["features"], schema)
    codec, pix_fmt = _codec_of(info["features"])
    if codec is not None and spec.rgb_encoder.vcodec != "auto":
        _compare(root, "codec", codec, canonical_codec(spec.rgb_encoder.vcodec), "--dataset.rgb_encoder.vcodec")
        _compare(root, "pixel format", pix_fmt, spec.rgb_encoder.pix_fmt, "--dataset.rgb_encoder.pix_fmt")
    _compare_depth(root, info["features"], spec.depth_encoder)
    return ResumePoint(int(info["total_episodes"]), int(info["total_frames"]), codec, pix_fmt)


def _compare_depth(root: Path, features: Mapping[str, Any], spec: DepthEncoderSpec) -> None:
    """One camera's depth is decoded with one scale, whichever session it is of."""
    for feature in features.values():
        info = feature.get("info") or {}
        if not info.get("is_depth_map") or not info.get("video.codec"):
            continue
        codecs = canonical_codec(info["video.codec"]), canonical_codec(spec.vcodec)
        _compare(root, "depth codec", *codecs, f"{spec.flag}.vcodec")
        for name in ("depth_min", "depth_max", "shift", "use_log"):
            found = info.get(f"video.{name}")
            if found is not None:
                _compare(root, name, found, getattr(spec, name), f"{spec.flag}.{name}")


def canonical_codec(vcodec: str) -> str:
    """The format that an encoder produces: `av1` of `libsvtav1`, `hevc` of `hevc_nvenc`."""
    return _CANONICAL.get(vcodec, vcodec.split("_")[0])


def check_disk(root: Path, floor_bytes: int = FLOOR_BYTES) -> None:
    """Try whether the folder that will hold `root` and `ROOT.onbeat` can be written, and has room.

    Args:
        floor_bytes: the free space below which a recording is refused.

    Raises:
        UsageError: read-only, full, or `root` lies on another file system than the folder it is in.
    """
    folder = next(p for p in root.absolute().parents if p.exists())
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(4096))
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as error:
        raise UsageError(
            f"{folder} cannot be written ({error.strerror}); make room or choose another --dataset.root"
        ) from error
    found = os.statvfs(folder)
    free_bytes = found.f_bavail * found.f_frsize
    if free_bytes < floor_bytes:
        raise UsageError(
            f"{folder} has {free_bytes / 2**20:.0f} MiB free, expected at least {floor_bytes / 2**20:.0f} MiB; "
            "make room or choose another --dataset.root"
        )
    if root.exists() and root.stat().st_dev != folder.stat().st_dev:
        raise UsageError(
            f"{root} is on another file system than {folder}, so that finished files could not be moved into it; "
            "choose a folder inside it as --dataset.root"
        )


def read_info(root: Path) -> dict[str, Any]:
    """`meta/info.json` of a LeRobotDataset v3.

    Raises:
        DatasetMismatchError: there is none, it is damaged, or of another version.
    """
    path = root / "meta" / "info.json"
    try:
        info = json.loads(path.read_bytes())
        version, complete = info["codebase_version"], {"features", "total_episodes", "total_frames"} <= set(info)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise DatasetMismatchError(
            f"{root} is not a LeRobotDataset: {path} is missing; check the path, or record without --resume to make one"
        ) from error
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise DatasetMismatchError(f"{path} is damaged or not LeRobot's; restore it or choose another root") from error
    if not str(version).startswith("v3.") or not complete:
        raise DatasetMismatchError(
            f"{root} is a dataset of version {version}, expected v3; convert it with lerobot first, or choose another"
        )
    return dict(info)


def _compare(root: Path, what: str, found: object, expected: object, flag: str) -> None:
    if found != expected:
        raise DatasetMismatchError(
            f"{what} {expected} found in the session, {found} in {root}; set {flag} to match or "
            "record into another root"
        )


def _compare_features(root: Path, features: Mapping[str, Any], schema: Schema) -> None:
    existing = {key: feature for key, feature in features.items() if key not in _FILLED_BY_LEROBOT}
    wanted = schema.features()
    lacking, extra = sorted(set(existing) - set(wanted)), sorted(set(wanted) - set(existing))
    if lacking or extra:
        raise DatasetMismatchError(
            f"the session records {_list(extra)} that {root} lacks, and lacks {_list(lacking)} that it has; "
            "record the same streams or into another root"
        )
    depth = {stream.key for stream in schema.pictures if stream.kind is Kind.DEPTH}
    for key, feature in wanted.items():
        old = existing[key]
        for aspect in ("dtype", "shape", "names"):
            _compare_aspect(root, key, aspect, _plain(old.get(aspect)), _plain(feature[aspect]))
        old_info = old.get("info") or {}
        was_depth = bool(old_info.get("is_depth_map") or old_info.get("video.is_depth_map"))
        _compare_aspect(root, key, "is_depth_map", was_depth, key in depth)


def _compare_aspect(root: Path, key: str, aspect: str, found: object, expected: object) -> None:
    if found != expected:
        raise DatasetMismatchError(
            f"{key}: {aspect} {expected} found in the session, {found} in {root}; record the same streams or into "
            "another root"
        )


def _codec_of(features: Mapping[str, Any]) -> tuple[str | None, str | None]:
    for feature in features.values():
        info = feature.get("info") or {}
        if feature["dtype"] == "video" and not info.get("is_depth_map") and info.get("video.codec"):
            return canonical_codec(info["video.codec"]), info.get("video.pix_fmt")
    return None, None


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple | list) else value


def _list(keys: list[str]) -> str:
    return ", ".join(keys) if keys else "nothing"
