"""Measure encoders at the load they will carry, and choose or refuse by it.

Pictures are converted and encoded as while recording, by as many encoders at once as there are cameras, as fast as
they go. A rate that is not reached here will not be reached while recording.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from transport.dataset_spec import EncoderSpec
from writer.codecs import HARDWARE_CODECS, ResolvedCodec, check_size, open_encoder, openable_codecs, resolve
from writer.convert import Converter
from writer.errors import EncoderTooSlowError, UnknownCodecError

_SECONDS = 0.8
_PICTURES = 16
# What "auto" wants beyond the rate: other work shares the machine while recording.
_AUTO_MARGIN = 1.2
_FLAG = "--dataset.rgb_encoder"


def measure(
    codec: ResolvedCodec,
    width: int,
    height: int,
    fps: int,
    cameras: int,
    seconds: float = _SECONDS,
    clock: Callable[[], float] = time.monotonic,
) -> float:
    """Frames per second and camera that `cameras` encoders at once sustain; the slowest camera's rate.

    Args:
        seconds: how long to measure, from the first packet on, which is waited for three times as long at most.

    Raises:
        UnknownCodecError: the codec does not take this size.
    """
    check_size(codec, width, height)
    pictures = moving_pictures(width, height, _PICTURES)
    opened = threading.Barrier(max(cameras, 1))
    runs = [_Run(codec, width, height, fps, pictures, opened, seconds, clock) for _ in range(cameras)]
    threads = [threading.Thread(target=run, name="codec check") for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    errors = [run.error for run in runs if run.error is not None]
    if errors:
        raise errors[0]
    return min((run.rate for run in runs), default=0.0)


def check_sustainable(codec: ResolvedCodec, width: int, height: int, fps: int, cameras: int) -> None:
    """Refuse a load that the codec cannot carry on this machine.

    Raises:
        EncoderTooSlowError: with the measured rate, and the flags of a codec that was measured to be fast enough.
    """
    # A second try, because a machine that was busy for a moment is no reason to refuse.
    rate = measure(codec, width, height, fps, cameras)
    if rate < fps:
        rate = max(rate, measure(codec, width, height, fps, cameras))
    if rate >= fps:
        return
    load = f"{cameras} camera{'s' if cameras != 1 else ''} of {width}x{height}"
    found = f"{codec.name} encodes {rate:.0f} frames/s a camera here with {load}, expected {fps}"
    slow = "--writer.allow_slow=true to record with a growing delay"
    others = [other for other in candidates(width, height, fps) if other.spec != codec.spec]
    best = _first_enough(others, width, height, fps, cameras, wanted=fps)
    if best is None or best.rate < fps:
        faster = best is not None and best.rate > rate
        reached = f"{best.codec.name}, the fastest, {best.rate:.0f}" if best and faster else "no codec here is faster"
        raise EncoderTooSlowError(f"{found} ({reached}); lower --dataset.fps, use smaller pictures, or set {slow}")
    raise EncoderTooSlowError(f"{found}; set {flags(best.codec.spec)} (measured: {best.rate:.0f}), or {slow}")


def choose_auto(width: int, height: int, fps: int, cameras: int) -> EncoderSpec:
    """The first encoder, hardware before software, that sustains 1.2 times the rate on this machine; else the fastest.

    Raises:
        UnknownCodecError: no encoder takes this size.
    """
    best = _first_enough(candidates(width, height, fps), width, height, fps, cameras, wanted=_AUTO_MARGIN * fps)
    if best is None:
        raise UnknownCodecError(f"no encoder here takes {width}x{height}; use another picture size")
    return best.codec.spec


def moving_pictures(width: int, height: int, count: int) -> list[NDArray[np.uint8]]:
    """Pictures of a panning, textured scene with a crossing object: neither flat nor noise; always the same."""
    random = np.random.default_rng(0)
    wide = width + 4 * count
    coarse = random.integers(40, 216, (height // 40 + 2, wide // 40 + 2, 3), dtype=np.uint8)
    scene = cv2.resize(coarse, (wide, height), interpolation=cv2.INTER_CUBIC).astype(np.int16)
    grain = random.integers(-24, 25, (height // 2 + 1, wide // 2 + 1, 1), dtype=np.int16)
    scene += cv2.resize(grain, (wide, height), interpolation=cv2.INTER_LINEAR)[:, :, None]
    texture = np.clip(scene, 0, 255).astype(np.uint8)
    pictures = []
    for index in range(count):
        picture = texture[:, 4 * index : 4 * index + width].copy()
        left = (width * index // count) % width
        picture[height // 3 : height // 2, left : left + width // 8] = (230, 40, 40)
        pictures.append(picture)
    return pictures


@dataclass(frozen=True, slots=True)
class _Measured:
    codec: ResolvedCodec
    rate: float


def candidates(width: int, height: int, fps: int) -> list[ResolvedCodec]:
    """Hardware encoders of this machine in LeRobot's order, LeRobot's default, and the fastest software."""
    specs = [EncoderSpec(vcodec=name) for name in HARDWARE_CODECS if name in openable_codecs()]
    fastest = EncoderSpec(vcodec="h264", preset="ultrafast")
    specs += [EncoderSpec(), fastest, replace(fastest, pix_fmt="yuv444p")]
    found: list[ResolvedCodec] = []
    for spec in specs:
        try:
            codec = resolve(spec)
            open_encoder(codec, width, height, fps)
        except UnknownCodecError:
            continue
        found.append(codec)
    return found


def _first_enough(
    codecs: Sequence[ResolvedCodec], width: int, height: int, fps: int, cameras: int, wanted: float
) -> _Measured | None:
    best: _Measured | None = None
    for codec in codecs:
        rate = measure(codec, width, height, fps, cameras)
        if best is None or rate > best.rate:
            best = _Measured(codec, rate)
        if rate >= wanted:
            return _Measured(codec, rate)
    return best


def flags(spec: EncoderSpec) -> str:
    """The flags of `onbeat record` that choose this codec."""
    found = [f"{_FLAG}.vcodec={spec.vcodec}"]
    if spec.preset is not None:
        found.append(f"{_FLAG}.preset={spec.preset}")
    if spec.pix_fmt != EncoderSpec.pix_fmt:
        found.append(f"{_FLAG}.pix_fmt={spec.pix_fmt}")
    return " ".join(found)


class _Run:
    """One camera's encoder under full load.

    Its rate counts from packet to packet, so that neither opening nor the frames held back falsify it.
    """

    def __init__(
        self,
        codec: ResolvedCodec,
        width: int,
        height: int,
        fps: int,
        pictures: Sequence[NDArray[np.uint8]],
        opened: threading.Barrier,
        seconds: float,
        clock: Callable[[], float],
    ) -> None:
        self.rate = 0.0
        self.error: Exception | None = None
        self._codec, self._size, self._fps = codec, (width, height), fps
        self._pictures = pictures
        self._opened = opened
        self._seconds, self._clock = seconds, clock

    def __call__(self) -> None:
        try:
            encoder = open_encoder(self._codec, *self._size, self._fps)
            convert = Converter(*self._size, self._codec.pix_fmt)
            self._opened.wait()
            self._encode(encoder, convert)
        except threading.BrokenBarrierError:
            return  # another encoder did not open, and says why
        except Exception as error:  # noqa: BLE001 - raised again by the thread that waits
            self.error = error
            self._opened.abort()

    def _encode(self, encoder: av.VideoCodecContext, convert: Converter) -> None:
        started = first = last = self._clock()
        packets = index = 0
        while last - first < self._seconds if packets else last - started < 3 * self._seconds:
            frame = convert(self._pictures[index % len(self._pictures)])
            frame.pts, frame.time_base = index, encoder.time_base
            given = len(encoder.encode(frame))
            index += 1
            last = self._clock()
            if packets == 0 and given:
                first, packets = last, 1
            elif given:
                packets += given
        if packets > 1:
            self.rate = (packets - 1) / (last - first)
