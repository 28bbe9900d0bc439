"""Which encoder, with which options: LeRobot's translation of its own fields, plus what holds few frames back.

An encoder that looks 40 frames ahead keeps the last 40 pictures out of the journal, and a restart has to fetch and
encode them again. The additions here change neither the codec nor what LeRobot records in `info.json`. Frames held
back at 640x480 on 4 cores, LeRobot's defaults against these: libsvtav1 49 and 10-12, h264 3 and 0, hevc 28 and 2,
libaom-av1 34 and 0.
"""

from __future__ import annotations

import functools
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import av
from av.codec.codec import UnknownCodecError as _NoSuchCodec
from av.codec.context import Flags

from transport.dataset_spec import DepthEncoderSpec, EncoderSpec
from writer.errors import UnknownCodecError

# LeRobot's order of preference (lerobot.configs.video.HW_VIDEO_CODECS).
HARDWARE_CODECS = (
    "h264_videotoolbox",
    "hevc_videotoolbox",
    "h264_nvenc",
    "hevc_nvenc",
    "h264_vaapi",
    "h264_qsv",
)
SOFTWARE_CODECS = ("h264", "hevc", "libsvtav1", "libaom-av1")
_ALIASES = {"av1": "libsvtav1"}
_SVTAV1_DEFAULT_PRESET = 12
# Below this width SVT-AV1 divides by zero, which ends the process.
_SVTAV1_MIN_PIXELS = 32
# With B-frames x265 damages the memory of its process in pictures of up to 64x64 (crashes, and MP4s that cannot be
# written; about one run in a hundred at 64x48). LeRobot's own hevc has them, onbeat's only if they are asked for.
_X265_MIN_WIDTH_B_FRAMES = 96
# Options that are themselves lists of `key=value` joined by colons.
_LISTS = frozenset(["svtav1-params", "x264-params", "x265-params"])
_INTEGERS, _FRACTIONS = ("INT", "INT64", "UINT64"), ("FLOAT", "DOUBLE")


@dataclass(frozen=True)
class ResolvedCodec:
    """An encoder of this FFmpeg build and everything that it is opened with.

    Attributes:
        name: the encoder, never "auto", for example `libsvtav1`.
        pix_fmt: pixel format of the video.
        options: all options given to the encoder.
        low_latency: those of them that LeRobot would not have given.
        spec: LeRobot's fields with the default preset filled in, as `info.json` records them.
    """

    name: str
    pix_fmt: str
    options: Mapping[str, str]
    low_latency: Mapping[str, str]
    spec: EncoderSpec


def resolve(spec: EncoderSpec, encoder_threads: int | None = None) -> ResolvedCodec:
    """Translate LeRobot's encoder fields into an encoder that opens on this machine.

    Raises:
        UnknownCodecError: the encoder does not exist here or refuses the pixel format or an option; also for "auto",
            which `codec_check.choose_auto` turns into a codec first.
    """
    name = _ALIASES.get(spec.vcodec, spec.vcodec)
    if name not in (*SOFTWARE_CODECS, *HARDWARE_CODECS) or not _exists(name):
        raise UnknownCodecError(
            f"codec {spec.vcodec!r} found, expected one of {', '.join(openable_codecs())}; set {spec.flag}.vcodec"
        )
    if spec.video_backend != "pyav":
        raise UnknownCodecError(f"{spec.flag}.video_backend={spec.video_backend} found, expected pyav")
    if spec.g is not None and spec.g < 1:
        raise UnknownCodecError(f"{spec.flag}.g={spec.g} found, expected at least 1 frame from key frame to key frame")
    preset = _SVTAV1_DEFAULT_PRESET if spec.preset is None and name == "libsvtav1" else spec.preset
    filled = replace(spec, vcodec=name, preset=preset, extra_options=dict(spec.extra_options))
    _check_pix_fmt(name, spec)
    options = lerobot_options(filled, encoder_threads)
    _check_options(name, filled, options)
    low_latency = _low_latency(name, options, filled.extra_options)
    if isinstance(spec, DepthEncoderSpec):
        # lerobot could not merge a depth video of its own behind one without B-frames: only x265's voice is lowered.
        low_latency = {key: text for key, text in low_latency.items() if key == "x265-params"}
    codec = ResolvedCodec(name, spec.pix_fmt, _merged(name, options, filled, low_latency), low_latency, filled)
    try:
        open_encoder(codec, 320, 240, 30)
    except UnknownCodecError as error:
        if name in openable_codecs():
            raise
        raise UnknownCodecError(
            f"codec {name} does not open on this machine, expected one of {', '.join(openable_codecs())}; "
            f"set {spec.flag}.vcodec"
        ) from error
    return codec


def lerobot_options(spec: EncoderSpec, encoder_threads: int | None = None) -> dict[str, str]:
    """The same as lerobot's `VideoEncoderConfig.get_codec_options(encoder_threads, as_strings=True)`."""
    found: dict[str, object] = {"g": spec.g}
    match spec.vcodec:
        case "libsvtav1":
            params = [f"fast-decode={max(0, min(2, spec.fast_decode))}"]
            if encoder_threads is not None:
                params.append(f"lp={encoder_threads}")
            found |= {"crf": spec.crf, "preset": spec.preset, "svtav1-params": ":".join(params)}
        case "h264" | "hevc":
            tune = "fastdecode" if spec.fast_decode else None
            found |= {"crf": spec.crf, "preset": spec.preset, "tune": tune, "threads": encoder_threads}
        case "libaom-av1":
            row_mt = None if encoder_threads is None else 1
            found |= {"crf": spec.crf, "preset": spec.preset, "threads": encoder_threads, "row-mt": row_mt}
        case "h264_videotoolbox" | "hevc_videotoolbox":
            found |= {"q:v": None if spec.crf is None else max(1, min(100, 100 - spec.crf * 2))}
        case "h264_nvenc" | "hevc_nvenc":
            found |= {"rc": 0, "qp": spec.crf, "preset": spec.preset}
        case "h264_vaapi":
            found |= {"qp": spec.crf}
        case "h264_qsv":
            found |= {"global_quality": spec.crf, "preset": spec.preset}
    options = {key: str(value) for key, value in found.items() if value is not None}
    return {**{key: str(value) for key, value in spec.extra_options.items()}, **options}


def open_encoder(codec: ResolvedCodec, width: int, height: int, fps: int) -> av.VideoCodecContext:
    """Open an encoder whose packets carry no container: global header, time base 1/fps.

    Raises:
        UnknownCodecError: it does not take this size, or an option.
    """
    check_size(codec, width, height)
    # SVT-AV1 writes to stderr past every log level of FFmpeg's; what is wrong comes back as an error as well.
    os.environ.setdefault("SVT_LOG", "0")
    context = av.CodecContext.create(codec.name, "w")
    assert isinstance(context, av.VideoCodecContext)
    context.width, context.height, context.pix_fmt = width, height, codec.pix_fmt
    context.time_base, context.framerate = Fraction(1, fps), Fraction(fps, 1)
    context.flags |= int(Flags.global_header)
    context.options = dict(codec.options)
    try:
        context.open()
    except (av.FFmpegError, ValueError) as error:
        given = " ".join(f"{key}={value}" for key, value in codec.options.items())
        reason = error.strerror if isinstance(error, av.FFmpegError) else str(error)
        raise UnknownCodecError(
            f"{codec.name} refuses {width}x{height} {codec.pix_fmt} at {fps} fps with {given} ({reason}); "
            f"correct {codec.spec.flag}.*"
        ) from error
    # avcodec_open2 leaves what nobody understood; dropping it silently would record options that had no effect.
    if context.options:
        raise UnknownCodecError(
            f"{codec.name} does not know the options {', '.join(sorted(context.options))}; correct {codec.spec.flag}.*"
        )
    return context


def check_size(codec: ResolvedCodec, width: int, height: int) -> None:
    """Refuse a picture size that the codec cannot hold as it is; nothing is ever padded.

    Raises:
        UnknownCodecError: naming the flag that would do.
    """
    if codec.name == "libsvtav1" and min(width, height) < _SVTAV1_MIN_PIXELS:
        raise UnknownCodecError(
            f"libsvtav1 takes pictures from {_SVTAV1_MIN_PIXELS}x{_SVTAV1_MIN_PIXELS}, {width}x{height} found; "
            f"set {codec.spec.flag}.vcodec=h264"
        )
    if codec.name == "hevc" and codec.options.get("bf") != "0" and width < _X265_MIN_WIDTH_B_FRAMES:
        raise UnknownCodecError(
            f"hevc with B-frames takes pictures from {_X265_MIN_WIDTH_B_FRAMES} columns, {width}x{height} found; "
            f"set {codec.spec.flag}.extra_options='{{bf: 0}}'"
        )
    if codec.name in ("libsvtav1", "libaom-av1"):
        return
    if isinstance(codec.spec, DepthEncoderSpec):
        return
    chroma = av.VideoFormat(codec.pix_fmt, 2, 2).components[1]
    odd_width, odd_height = chroma.width == 1 and width % 2, chroma.height == 1 and height % 2
    if odd_width or odd_height:
        raise UnknownCodecError(
            f"{codec.name} with {codec.pix_fmt} takes even sizes, {width}x{height} found; "
            f"set {codec.spec.flag}.pix_fmt=yuv444p or {codec.spec.flag}.vcodec=libsvtav1"
        )


@functools.cache
def openable_codecs() -> tuple[str, ...]:
    """The encoders that LeRobot accepts and this machine opens (a build may name hardware that is not there)."""
    found = []
    for name in (*SOFTWARE_CODECS, *HARDWARE_CODECS):
        if not _exists(name):
            continue
        spec = EncoderSpec(vcodec=name)
        try:
            open_encoder(ResolvedCodec(name, spec.pix_fmt, _low_latency(name, {}, {}), {}, spec), 320, 240, 30)
        except UnknownCodecError:
            continue
        found.append(name)
    return tuple(found)


def _exists(name: str) -> bool:
    try:
        av.Codec(name, "w")
    except _NoSuchCodec:
        return False
    return True


def _check_pix_fmt(name: str, spec: EncoderSpec) -> None:
    formats = [f.name for f in av.Codec(name, "w").video_formats or ()]
    if isinstance(spec, DepthEncoderSpec):
        # lerobot writes and reads depth in this form only, whatever its flag says.
        takes = [f for f in formats if f == DepthEncoderSpec.pix_fmt]
    else:
        takes = [f for f in formats if len(av.VideoFormat(f).components) >= 3]
    if spec.pix_fmt not in takes:
        raise UnknownCodecError(
            f"pixel format {spec.pix_fmt!r} found, {name} takes {', '.join(takes) or 'none that fits'}; "
            f"set {spec.flag}.pix_fmt or .vcodec"
        )


def _check_options(name: str, spec: EncoderSpec, options: Mapping[str, str]) -> None:
    """Refuse what lerobot refuses (FFmpeg would round or clamp it), or it fails only when the episode is committed."""
    known = {option.name: option for option in av.Codec(name, "w").descriptor.options}
    for key, text in options.items():
        if key == "g" or key not in known:
            continue
        option, kind = known[key], known[key].type.name
        choices = [choice.name for choice in option.choices or ()]
        if isinstance(spec.extra_options.get(key), bool):
            expected = "a number or text"
        elif kind in _INTEGERS or kind in _FRACTIONS:
            low, high = float(option.min), float(option.max)
            expected = f"a {'whole ' if kind in _INTEGERS else ''}number from {low:g} to {high:g}"
            try:
                number = float(text)
            except ValueError:
                number = math.nan
            inside = low >= high or low <= number <= high
            if not math.isnan(number) and inside and (kind in _FRACTIONS or number.is_integer()):
                continue
        elif kind != "STRING" or not choices or text in choices:
            continue
        else:
            expected = f"one of {', '.join(choices)}"
        raise UnknownCodecError(f"{name}: {key}={text} found, expected {expected}; correct {spec.flag}.*")


def _low_latency(name: str, options: Mapping[str, str], extra: Mapping[str, object]) -> dict[str, str]:
    wanted: dict[str, str] = {}
    if name == "libsvtav1":
        wanted = {"svtav1-params": "lookahead=0:hierarchical-levels=2"}
    elif name == "h264":
        # With another tune the look-ahead is switched off by itself; one frame is then held back.
        wanted = {"tune": "zerolatency", "bf": "0"} if "tune" not in options else {"bf": "0", "rc-lookahead": "0"}
    elif name == "hevc":
        # x265 writes its settings to stderr past every log level of FFmpeg's.
        if "tune" not in options:
            wanted = {"tune": "zerolatency", "bf": "0", "x265-params": "log-level=error"}
        elif "bf" in options:
            wanted = {"x265-params": "log-level=error"}
        else:
            wanted = {"bf": "0", "x265-params": "rc-lookahead=0:log-level=error"}
    elif name == "libaom-av1":
        wanted = {"lag-in-frames": "0"}
    else:
        wanted = {"bf": "0"}
    added: dict[str, str] = {}
    for key, value in wanted.items():
        if key in _LISTS:
            set_already = {**_parts(str(extra.get(key, ""))), **_parts(options.get(key, ""))}
            parts = {k: v for k, v in _parts(value).items() if k not in set_already}
            if parts:
                added[key] = _joined(parts)
        elif key not in options:
            added[key] = value
    return added


def _merged(name: str, options: Mapping[str, str], spec: EncoderSpec, low_latency: Mapping[str, str]) -> dict[str, str]:
    merged = {**options}
    for key in _LISTS & {*low_latency, *spec.extra_options}:
        # LeRobot drops a user's svtav1-params because it sets that option itself; here both have effect.
        lists = (low_latency.get(key, ""), str(spec.extra_options.get(key, "")), options.get(key, ""))
        parts: dict[str, str] = {}
        for text in reversed(lists):
            parts |= {k: v for k, v in _parts(text).items() if k not in parts}
        merged[key] = _joined(parts)
    return {**{key: value for key, value in low_latency.items() if key not in merged}, **merged}


def _parts(text: str) -> dict[str, str]:
    return {key: value for key, _, value in (part.partition("=") for part in text.split(":") if part)}


def _joined(parts: Mapping[str, str]) -> str:
    return ":".join(f"{key}={value}" if value else key for key, value in parts.items())
