"""One thread a camera: pictures in, encoded packets out. PyAV releases the GIL while it encodes.

The encoder is opened, used and closed in its own thread and writes into no container, so that every packet can be
journalled the moment it exists. Opening takes 4-35 ms for libsvtav1 and 2 ms for h264 at 640x480; the pictures that
arrive meanwhile wait in the queue, which the caller bounds by what `consumed` has told it.
"""

from __future__ import annotations

import queue
import threading
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import av
from numpy.typing import NDArray

from transport.dataset_spec import DepthEncoderSpec
from writer.codecs import ResolvedCodec, open_encoder
from writer.convert import Converter
from writer.depth import DepthConverter
from writer.episode import Packet
from writer.errors import EncoderError

OnPackets = Callable[[str, bytes | None, Sequence[Packet]], None]
OnError = Callable[[str, EncoderError], None]


@dataclass(frozen=True, slots=True)
class _Start:
    width: int
    height: int
    fps: int
    codec: ResolvedCodec
    first_frame_index: int


@dataclass(frozen=True, slots=True)
class _Picture:
    frame_index: int
    pixels: NDArray[Any]


@dataclass(frozen=True, slots=True)
class _Flush:
    done: threading.Event


class CameraEncoder:
    """Encodes the pictures of one camera, one episode (or the rest of one) after the other.

    All callbacks are called from the encoder's thread.

    Args:
        key: the camera's stream, handed to the callbacks.
        on_packets: gets the key, the codec's global header (with the first packets after `start`, else None; empty
            for codecs that carry it in their packets) and packets in decoding order.
        on_error: gets the key and the error, once for each `start` at most. Pictures after an error are not encoded.
        consumed: gets the bytes of every picture once its memory is not needed any more, encoded or not.
    """

    def __init__(
        self, key: str, on_packets: OnPackets, on_error: OnError, consumed: Callable[[int], None] = lambda nbytes: None
    ) -> None:
        self.key = self._key = key
        self._on_packets = on_packets
        self._on_error = on_error
        self._consumed = consumed
        self._work: queue.SimpleQueue[_Start | _Picture | _Flush | None] = queue.SimpleQueue()
        # Of each picture, how long the thread worked on it in microseconds; to be read after `flush`.
        self.busy_us = array("Q")
        self._closing = threading.Event()
        # A daemon, so that an encoder that hangs cannot keep the process from ending.
        self._thread = threading.Thread(target=self._run, name=f"encoder {key}", daemon=True)
        self._thread.start()

    def start(self, width: int, height: int, fps: int, codec: ResolvedCodec, first_frame_index: int = 0) -> None:
        """Open an encoder whose first picture, a key frame, is the episode's `first_frame_index`."""
        self._work.put(_Start(width, height, fps, codec, first_frame_index))

    def put(self, frame_index: int, picture: NDArray[Any]) -> None:
        """Hand over the next picture; its memory is kept until `consumed`.

        Args:
            picture: shape (height, width, 3), uint8; for a depth encoder (height, width, 1), uint16 or float32.
        """
        self._work.put(_Picture(frame_index, picture))

    def drain(self) -> threading.Event:
        """End the encoder after the pictures so far; set once all of their packets have been given to `on_packets`."""
        done = threading.Event()
        self._work.put(_Flush(done))
        return done

    def flush(self, limit_s: float = 60.0) -> None:
        """Wait until all packets of the pictures so far have been given to `on_packets`; ends the encoder.

        An encoder that does not come to an end in time is reported to `on_error`, from this thread.
        """
        done = self.drain()
        if not done.wait(limit_s):
            self._on_error(self._key, EncoderError(f"the encoder of {self._key} did not finish within {limit_s:g} s"))

    def close(self, limit_s: float = 10.0) -> None:
        """End the thread; pictures still waiting and frames still held back are dropped.

        Raises:
            EncoderError: it did not end in time.
        """
        self._closing.set()
        self._work.put(None)
        self._thread.join(limit_s)
        if self._thread.is_alive():
            raise EncoderError(f"the encoder of {self._key} did not end within {limit_s:g} s; restart the writer")

    def _run(self) -> None:
        run: _Run | None = None
        while (work := self._work.get()) is not None:
            try:
                match None if self._closing.is_set() else work:
                    case _Start() as start:
                        # Freed before the next one is opened: encoders hold tens of megabytes.
                        run = None
                        run = _Run(self._key, start, self._on_packets)
                    case _Picture() as picture if run is not None:
                        started_ns = time.monotonic_ns()
                        run.encode(picture)
                        self.busy_us.append((time.monotonic_ns() - started_ns) // 1000)
                    case _Flush() if run is not None:
                        run.finish()
                        run = None
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller must hear of it
                run = None
                self._on_error(self._key, EncoderError(f"the encoder of {self._key} failed: {error}"))
            finally:
                if isinstance(work, _Picture):
                    self._consumed(work.pixels.nbytes)
                elif isinstance(work, _Flush):
                    work.done.set()


class _Run:
    """One open encoder, from its start to its flush."""

    def __init__(self, key: str, start: _Start, on_packets: OnPackets) -> None:
        self._key = key
        self._on_packets = on_packets
        self._context = open_encoder(start.codec, start.width, start.height, start.fps)
        self._convert = converter(start.codec, start.width, start.height)
        self._next_index = start.first_frame_index
        self._told = False

    def encode(self, picture: _Picture) -> None:
        if picture.frame_index != self._next_index:
            raise ValueError(f"frame {picture.frame_index} found, expected {self._next_index}")
        frame = self._convert(picture.pixels)
        frame.pts, frame.time_base = picture.frame_index, self._context.time_base
        self._next_index += 1
        self._give(self._context.encode(frame))

    def finish(self) -> None:
        self._give(self._context.encode(None))

    def _give(self, encoded: Sequence[av.Packet]) -> None:
        if not encoded:
            return
        packets = [_packet(packet) for packet in encoded]
        extradata = None if self._told else self._context.extradata or b""
        self._told = True
        self._on_packets(self._key, extradata, packets)


def converter(codec: ResolvedCodec, width: int, height: int) -> Callable[[NDArray[Any]], av.VideoFrame]:
    """What turns pictures of this size into what the codec takes."""
    if isinstance(codec.spec, DepthEncoderSpec):
        return DepthConverter(width, height, codec.spec)
    return Converter(width, height, codec.pix_fmt)


def _packet(packet: av.Packet) -> Packet:
    if packet.pts is None or packet.dts is None:
        raise ValueError("the encoder gave a packet without a time")
    return Packet(packet.pts, packet.dts, packet.is_keyframe, bytes(packet))
