"""What the handshake refuses: one line, both values, what to do."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import stock

from transport.dataset_spec import EncoderSpec
from transport.errors import UsageError
from transport.schema import CHW, Kind, Schema, Stream
from writer import dataset_check
from writer.commit import Committer
from writer.errors import DatasetMismatchError

RESUME = replace(stock.SPEC, resume=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    base = tmp_path_factory.mktemp("check")
    episode = stock.make_episode(3)
    Committer(base / "ds", base / "ds.onbeat", stock.SPEC, stock.schema()).commit(episode, stock.video_writer(episode))
    return base / "ds"


def with_stream(key: str, **changes: object) -> Schema:
    schema = stock.schema()
    return Schema(tuple(replace(s, **changes) if s.key == key else s for s in schema.streams), schema.telemetry)


def test_nothing_there(tmp_path: Path) -> None:
    assert dataset_check.check(tmp_path / "deep/ds", stock.SPEC, stock.schema()) is None
    assert list(tmp_path.iterdir()) == []


def test_the_same_again(root: Path) -> None:
    expected = dataset_check.ResumePoint(1, 3, "h264", "yuv420p")
    assert dataset_check.check(root, RESUME, stock.schema()) == expected
    auto = replace(RESUME, rgb_encoder=EncoderSpec(vcodec="auto", pix_fmt="nv12"))
    assert dataset_check.check(root, auto, stock.schema()) == expected


def test_stock_datasets_can_be_resumed(tmp_path: Path) -> None:
    av1 = replace(RESUME, rgb_encoder=EncoderSpec(vcodec="libaom-av1"))
    stock.create_stock(tmp_path / "ds", [stock.make_episode(2, spec=replace(stock.SPEC, rgb_encoder=EncoderSpec()))])
    assert dataset_check.check(tmp_path / "ds", av1, stock.schema()) == dataset_check.ResumePoint(
        1, 2, "av1", "yuv420p"
    )


@pytest.mark.parametrize(
    ("spec", "schema", "message"),
    [
        (stock.SPEC, stock.schema(), r"ds exists; append to it with --resume=true"),
        (replace(RESUME, fps=60), stock.schema(), r"frames per second 60 .* 30 in .*--dataset\.fps"),
        (replace(RESUME, robot_type=None), stock.schema(), r"robot_type None .* tabletop in"),
        (replace(RESUME, rgb_encoder=EncoderSpec()), stock.schema(), r"codec av1 .* h264 in .*rgb_encoder\.vcodec"),
        (
            replace(RESUME, rgb_encoder=replace(stock.H264, pix_fmt="yuv444p")),
            stock.schema(),
            r"pixel format yuv444p .* yuv420p in",
        ),
        (RESUME, stock.schema(1), r"lacks observation\.images\.cam1"),
        (RESUME, stock.schema(3), r"records observation\.images\.cam2 that"),
        (RESUME, with_stream("observation.state", shape=(4,), names=None), r"state: shape \[4\] .* \[3\] in"),
        (RESUME, with_stream("action", names=("dx", "dz")), r"action: names \['dx', 'dz'\] .* \['dx', 'dy'\] in"),
        (RESUME, with_stream("next.reward", dtype="float64"), r"reward: dtype float64 .* float32 in"),
        (RESUME, stock.schema(layout=CHW), r"cam0: shape \[3, 48, 64\] .* \[48, 64, 3\] in"),
    ],
)
def test_another_dataset_is_refused_with_both_values(root: Path, spec: object, schema: Schema, message: str) -> None:
    with pytest.raises(DatasetMismatchError, match=message) as refused:
        dataset_check.check(root, spec, schema)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


def test_a_video_that_became_a_depth_map_is_refused(root: Path) -> None:
    depth = Stream("observation.images.cam1", "uint16", (48, 64, 1), Kind.DEPTH, ("height", "width", "channels"))
    schema = stock.schema()
    streams = tuple(depth if s.key == depth.key else s for s in schema.streams)
    with pytest.raises(DatasetMismatchError, match="cam1"):
        dataset_check.check(root, RESUME, Schema(streams, schema.telemetry))


@pytest.mark.parametrize(
    ("info", "message"),
    [
        (None, "is not a LeRobotDataset"),
        ("{", "damaged"),
        ("[]", "damaged"),
        (json.dumps({"codebase_version": "v2.1", "fps": 30}), "version v2.1, expected v3"),
    ],
)
def test_what_is_no_dataset_cannot_be_resumed(tmp_path: Path, info: str | None, message: str) -> None:
    (tmp_path / "meta").mkdir()
    if info is not None:
        (tmp_path / "meta/info.json").write_text(info)
    with pytest.raises(DatasetMismatchError, match=message):
        dataset_check.check(tmp_path, RESUME, stock.schema())


def test_a_dataset_that_does_not_exist_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(DatasetMismatchError, match="record without --resume to make one"):
        dataset_check.check(tmp_path / "ds", RESUME, stock.schema())


def test_a_full_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"MiB free, expected at least .* choose another --dataset\.root"):
        dataset_check.check(tmp_path / "ds", stock.SPEC, stock.schema(), floor_bytes=1 << 62)


def test_a_folder_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(UsageError, match=r"/proc.* cannot be written"):
        dataset_check.check_disk(Path("/proc/ds"))


@pytest.mark.parametrize(
    ("encoder", "codec"),
    [("libsvtav1", "av1"), ("libaom-av1", "av1"), ("h264", "h264"), ("h264_nvenc", "h264"), ("hevc", "hevc")],
)
def test_canonical_codec_names(encoder: str, codec: str) -> None:
    assert dataset_check.canonical_codec(encoder) == codec


def test_the_check_waits_for_neither_lerobot_nor_torch() -> None:
    code = (
        "import sys, writer.dataset_check; "
        "sys.exit(any(name in sys.modules for name in ('lerobot', 'torch', 'pyarrow', 'pandas', 'datasets')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
