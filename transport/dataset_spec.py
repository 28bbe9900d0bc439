"""What a session asks the writer to make: the dataset's name, rate and codec, in LeRobot's own terms."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, ClassVar

from transport.errors import UsageError

_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_.\-]{0,94}[A-Za-z0-9_])?"
_REPO_ID = re.compile(f"{_NAME}/{_NAME}")
OptionValue = str | int | float
_MAX_TEXT = 256
_MAX_PATH = 4096
_MAX_THREADS = 256
_MAX_OPTIONS = 64
_MAX_TAGS = 64
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
# Encoders read and write files where such options tell them to; over the network nobody chooses a path.
_FILE_OPTION = re.compile(
    r"(?:^|[:=\-_])(?:\w*file|\w*stats|dump-yuv|csv|\w*path|save|load|recon|errlog|opencl-clbin|dolby-vision-rpu|"
    r"dhdr10-info|fgs-table|scaling-list|config)(?:[=:]|$)"
)


@dataclass
class EncoderSpec:
    """LeRobot's `RGBEncoderConfig`, field for field (lerobot 0.6, lerobot/configs/video.py), importable without it."""

    flag: ClassVar[str] = "--dataset.rgb_encoder"
    # Video codec: h264, hevc, libsvtav1, libaom-av1 or a hardware encoder; "auto" measures what this machine has.
    vcodec: str = "libsvtav1"
    # Pixel format of the video.
    pix_fmt: str = "yuv420p"
    # Frames from one key frame to the next.
    g: int | None = 2
    # Quality: lower is better and larger.
    crf: float | None = 30
    # Speed against size; the values are the codec's own (libsvtav1: 12 when not given).
    preset: str | int | None = None
    # Tuning for fast decoding; 0 is off.
    fast_decode: int = 0
    # Encoding library; only "pyav".
    video_backend: str = "pyav"
    # Further codec options, for example '{tune: film}'.
    extra_options: dict[str, OptionValue] = field(default_factory=dict)


@dataclass
class DepthEncoderSpec(EncoderSpec):
    """LeRobot's `DepthEncoderConfig`: depth is stored in 12 bits, on a logarithmic scale as a rule."""

    flag: ClassVar[str] = "--dataset.depth_encoder"
    # Video codec; it must take pix_fmt.
    vcodec: str = "hevc"
    # Pixel format of the video; only gray12le.
    pix_fmt: str = "gray12le"
    # Further codec options; by default nothing of the 12 bits is lost.
    extra_options: dict[str, OptionValue] = field(default_factory=lambda: {"x265-params": "lossless=1"})
    # Metres that are stored as the least value.
    depth_min: float = 0.01
    # Metres that are stored as the greatest value.
    depth_max: float = 10.0
    # Metres added before the logarithm is taken.
    shift: float = 3.5
    # Logarithmic steps, fine near the camera; false: all alike.
    use_log: bool = True


@dataclass(frozen=True)
class UploadSpec:
    """How the dataset goes to the Hugging Face Hub once the session is over.

    Attributes:
        private: visibility of a repository that is made for it; None leaves it to the owner's default.
        tags: of the dataset's card, beside LeRobot's own.
    """

    private: bool | None = None
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(self.tags) > _MAX_TAGS:
            raise UsageError(f"{len(self.tags)} tags found, expected at most {_MAX_TAGS}; see --dataset.tags")
        for tag in self.tags:
            if not isinstance(tag, str):
                raise UsageError(f"--dataset.tags holds {type(tag).__name__}, expected text")
            _check_text(tag, "tags", _MAX_TEXT)


@dataclass(frozen=True)
class DatasetSpec:
    """The dataset that a session records into.

    Attributes:
        repo_id: `owner/name`.
        root: the folder on the writer's machine; None lets the writer choose, the only way for a remote writer.
        resume: append to an existing dataset instead of making one.
        fps: whole frames per second.
        robot_type: LeRobot's `robot_type`, or None.
        rgb_encoder: how cameras are encoded.
        depth_encoder: how depth is.
        encoder_threads: threads for each encoder; None leaves it to the codec.
        allow_slow_encoder: record although the codec cannot keep up with the load on this machine.
        keep_journal: keep the journals of committed episodes beside the dataset.
        upload: to the Hub, or None.
    """

    repo_id: str
    fps: int
    root: str | None = None
    resume: bool = False
    robot_type: str | None = None
    rgb_encoder: EncoderSpec = field(default_factory=EncoderSpec)
    depth_encoder: DepthEncoderSpec = field(default_factory=DepthEncoderSpec)
    encoder_threads: int | None = None
    allow_slow_encoder: bool = False
    keep_journal: bool = False
    upload: UploadSpec | None = None

    def __post_init__(self) -> None:
        if not _REPO_ID.fullmatch(self.repo_id) or ".." in self.repo_id or "--" in self.repo_id:
            raise UsageError(
                f"dataset name {self.repo_id!r} found, expected owner/name of letters, digits, '-', '_' and '.'; "
                "set --dataset.repo_id"
            )
        if not 0 < self.fps <= 1000:
            raise UsageError(f"{self.fps} frames per second found, expected 1 to 1000; set --dataset.fps")
        if self.root is not None:
            _check_text(self.root, "root", _MAX_PATH)
        if self.robot_type is not None:
            _check_text(self.robot_type, "robot_type", _MAX_TEXT)
        if self.encoder_threads is not None and not 0 <= self.encoder_threads <= _MAX_THREADS:
            raise UsageError(
                f"{self.encoder_threads} encoder threads found, expected 0 to {_MAX_THREADS}; set "
                "--dataset.encoder_threads"
            )
        _check_encoder(self.rgb_encoder)
        _check_encoder(self.depth_encoder)
        _check_depth(self.depth_encoder)

    def encoder(self, *, depth: bool) -> EncoderSpec:
        """How a video stream is encoded, or a depth stream."""
        return self.depth_encoder if depth else self.rgb_encoder

    def to_wire(self) -> dict[str, Any]:
        """Fields by name; `upload` only where there is one, and `depth_encoder` where it is not LeRobot's own, so that
        versions without them understand everything else."""
        value = asdict(self)
        if self.upload is None:
            del value["upload"]
        if self.depth_encoder == DepthEncoderSpec():
            del value["depth_encoder"]
        return value

    @classmethod
    def from_wire(cls, value: object) -> DatasetSpec:
        """Read what `to_wire` wrote.

        Raises:
            UsageError: a field is missing, unknown or of another type.
        """
        if isinstance(value, Mapping):
            value = {"upload": None, "depth_encoder": asdict(DepthEncoderSpec()), **value}
        found = _checked(value, _SPEC_TYPES, "dataset")
        encoder = EncoderSpec(**_checked(found["rgb_encoder"], _ENCODER_TYPES, "rgb_encoder"))
        depth = DepthEncoderSpec(**_checked(found["depth_encoder"], _DEPTH_TYPES, "depth_encoder"))
        upload = None
        if found["upload"] is not None:
            fields_of_upload = _checked(found["upload"], _UPLOAD_TYPES, "upload")
            upload = UploadSpec(fields_of_upload["private"], tuple(fields_of_upload["tags"]))
        return cls(**{**found, "rgb_encoder": encoder, "depth_encoder": depth, "upload": upload})


_OPTIONAL_TEXT, _OPTIONAL_INT = (str, type(None)), (int, type(None))
_SPEC_TYPES: dict[str, tuple[type, ...]] = {
    "repo_id": (str,),
    "fps": (int,),
    "root": _OPTIONAL_TEXT,
    "resume": (bool,),
    "robot_type": _OPTIONAL_TEXT,
    "rgb_encoder": (dict,),
    "depth_encoder": (dict,),
    "encoder_threads": _OPTIONAL_INT,
    "allow_slow_encoder": (bool,),
    "keep_journal": (bool,),
    "upload": (dict, type(None)),
}
_UPLOAD_TYPES: dict[str, tuple[type, ...]] = {"private": (bool, type(None)), "tags": (list, tuple)}
_ENCODER_TYPES: dict[str, tuple[type, ...]] = {
    "vcodec": (str,),
    "pix_fmt": (str,),
    "g": _OPTIONAL_INT,
    "crf": (int, float, type(None)),
    "preset": (str, int, type(None)),
    "fast_decode": (int,),
    "video_backend": (str,),
    "extra_options": (dict,),
}
_DEPTH_TYPES: dict[str, tuple[type, ...]] = {
    **_ENCODER_TYPES,
    "depth_min": (int, float),
    "depth_max": (int, float),
    "shift": (int, float),
    "use_log": (bool,),
}
assert set(_SPEC_TYPES) == {f.name for f in fields(DatasetSpec)}
assert set(_UPLOAD_TYPES) == {f.name for f in fields(UploadSpec)}
assert set(_ENCODER_TYPES) == {f.name for f in fields(EncoderSpec)}
assert set(_DEPTH_TYPES) == {f.name for f in fields(DepthEncoderSpec)}


def _check_text(text: str, name: str, limit: int) -> None:
    if not 0 < len(text) <= limit or _UNPRINTABLE.search(text):
        raise UsageError(
            f"--dataset.{name}={text[:_MAX_TEXT]!r} found, expected 1 to {limit} characters that can be printed"
        )


def _check_encoder(spec: EncoderSpec) -> None:
    flag = spec.flag.removeprefix("--dataset.")
    for name in ("vcodec", "pix_fmt", "video_backend"):
        _check_text(getattr(spec, name), f"{flag}.{name}", _MAX_TEXT)
    if isinstance(spec.preset, str):
        _check_text(spec.preset, f"{flag}.preset", _MAX_TEXT)
    if spec.crf is not None and not math.isfinite(spec.crf):
        raise UsageError(f"--dataset.{flag}.crf={spec.crf} found, expected a number")
    options = spec.extra_options
    if len(options) > _MAX_OPTIONS:
        raise UsageError(f"{len(options)} options of the encoder found, expected at most {_MAX_OPTIONS}")
    for key, value in options.items():
        if not isinstance(key, str) or not isinstance(value, OptionValue) or isinstance(value, bool):
            raise UsageError(f"--dataset.{flag}.extra_options maps names to text or numbers")
        _check_text(key, f"{flag}.extra_options", _MAX_TEXT)
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"--dataset.{flag}.extra_options: {key}={value} found, expected a number")
        if isinstance(value, str):
            _check_text(value, f"{flag}.extra_options", _MAX_PATH)
        if any(mark in f"{key}{value}" for mark in "/\\") or _FILE_OPTION.search(f"{key}={value}"):
            raise UsageError(
                f"--dataset.{flag}.extra_options: {key}={str(value)[:_MAX_TEXT]} names a file, which an encoder must "
                "not; leave it out"
            )


def _check_depth(spec: DepthEncoderSpec) -> None:
    values = (spec.depth_min, spec.depth_max, spec.shift)
    scale = spec.depth_min + spec.shift if spec.use_log else 1.0
    if not (all(map(math.isfinite, values)) and 0 <= spec.depth_min < spec.depth_max and scale > 0):
        raise UsageError(
            f"{spec.flag}.depth_min={spec.depth_min:g} .depth_max={spec.depth_max:g} .shift={spec.shift:g} found, "
            "expected metres with 0 <= depth_min < depth_max, and for a logarithm depth_min + shift above 0"
        )


def _checked(value: object, types: Mapping[str, tuple[type, ...]], what: str) -> dict[str, Any]:
    if not isinstance(value, Mapping) or set(value) != set(types):
        raise UsageError(f"a {what} specification has exactly the fields {', '.join(sorted(types))}")
    for name, allowed in types.items():
        if not isinstance(value[name], allowed) or (type(value[name]) is bool and bool not in allowed):
            raise UsageError(f"{what}.{name} is of type {type(value[name]).__name__}, which this version does not know")
    return dict(value)
