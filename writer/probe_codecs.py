"""Encoders measured for `onbeat doctor`: what they sustain at the wanted load, and what their frames weigh."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import av
import numpy as np

from transport.dataset_spec import EncoderSpec
from writer import codec_check, codecs
from writer.codecs import ResolvedCodec
from writer.convert import Converter

_FRAMES, _PICTURES = 48, 16
_LIMIT_S = 2.0


def probe_codecs(
    wanted: EncoderSpec, encoder_threads: int | None, load: tuple[int, int, int, int], seconds: float
) -> Iterator[dict[str, Any]]:
    """Measure the wanted encoder, the hardware ones that open, LeRobot's default and the fastest in software.

    Args:
        load: cameras, width, height, fps.
        seconds: for each encoder.

    Yields:
        {"next": name} before and {"codec": fields of `control.doctor_figures.CodecRate`} after each.

    Raises:
        UnknownCodecError: the wanted encoder does not exist here or does not take this size.
    """
    cameras, width, height, fps = load
    if wanted.vcodec == "auto":
        yield {"next": "codecs, the first that suffices"}
        wanted = codec_check.choose_auto(width, height, fps, cameras)
    first = codecs.resolve(wanted, encoder_threads)
    measured = []
    for codec in (first, *codec_check.candidates(width, height, fps)):
        # Another pixel format of the same encoder is of interest only where the usual one does not take the size.
        if (codec.name, codec.spec.preset) in measured:
            continue
        measured.append((codec.name, codec.spec.preset))
        yield {"next": f"codec {codec.name}"}
        rate = codec_check.measure(codec, width, height, fps, cameras, seconds)
        if codec is first and fps / 2 < rate < fps:
            # As at the start of a session: a machine that was busy for a moment is no reason to refuse.
            rate = max(rate, codec_check.measure(codec, width, height, fps, cameras, seconds))
        found = {
            "name": codec.name,
            "flags": codec_check.flags(codec.spec),
            "fps": rate,
            "frame_bytes": frame_bytes(codec, width, height, fps),
            "wanted": codec is first,
        }
        yield {"codec": found}


def frame_bytes(
    codec: ResolvedCodec, width: int, height: int, fps: int, clock: Callable[[], float] = time.monotonic
) -> float:
    """Mean bytes of an encoded frame of a textured, moving scene; of fewer frames where the encoder is very slow."""
    encoder, convert = codecs.open_encoder(codec, width, height, fps), Converter(width, height, codec.pix_fmt)
    pictures = codec_check.moving_pictures(width, height, _PICTURES)
    packets: list[av.Packet] = []
    end_s = clock() + _LIMIT_S
    for index in range(_FRAMES):
        frame = convert(pictures[index % _PICTURES])
        frame.pts, frame.time_base = index, encoder.time_base
        packets += encoder.encode(frame)
        if clock() > end_s:
            break
    packets += encoder.encode(None)
    return float(np.mean([packet.size for packet in packets]))
