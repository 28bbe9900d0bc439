"""One episode while it is recorded: a row goes to the journal, each picture to its camera's encoder."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from transport.records import EpisodeEnded
from transport.schema import Kind, Schema
from writer.codecs import ResolvedCodec
from writer.encode_cost import EncodeRun
from writer.encoder import CameraEncoder
from writer.episode import Packet
from writer.errors import EncoderError
from writer.journal_thread import JournalThread

_FLUSH_LIMIT_S = 60.0


class Recording:
    """Encoders are opened with the first frame, so that an episode without frames costs nothing.

    Args:
        codecs: of video streams, and of depth streams if there are any.
        frames: how many frames are durable already; the next one has this index.
        consumed: called from encoder threads with the bytes of a picture that has been encoded.
    """

    def __init__(
        self,
        episode_id: int,
        schema: Schema,
        fps: int,
        codecs: Mapping[Kind, ResolvedCodec],
        journal: JournalThread,
        consumed: Callable[[int], None],
        *,
        frames: int = 0,
    ) -> None:
        self.episode_id = episode_id
        self.frames = frames
        self.lacking = ""
        self._schema = schema
        self._fps = fps
        self._codecs = codecs
        self._journal = journal
        self._consumed = consumed
        self._encoders: list[CameraEncoder] | None = None
        self._first_frame = self._cpu_ns = 0
        self._failed = threading.Event()
        self._failure = ""

    def frame(self, seq: int, frame_index: int, row: bytes, pictures: Sequence[memoryview]) -> None:
        """Take the next frame; pictures are as they cross the network and may be kept until they are encoded."""
        self._heed_failure()
        if frame_index != self.frames:
            self.lose(f"frames {self.frames} to {frame_index - 1} were lost on the way")
        if self.lacking:
            self._journal.passed(seq)
            self._consumed(sum(picture.nbytes for picture in pictures))
            return
        if self._encoders is None:
            self._first_frame, self._cpu_ns = self.frames, time.process_time_ns()
            self._encoders = [self._start(stream.key) for stream in self._schema.pictures]
        for encoder, stream, picture in zip(self._encoders, self._schema.pictures, pictures, strict=True):
            encoder.put(frame_index, np.frombuffer(picture, stream.wire_dtype).reshape(stream.wire_shape))
        self._journal.row(seq, frame_index, row)
        self.frames += 1

    def lose(self, reason: str) -> None:
        """Records of this episode are gone; what follows is not recorded any more."""
        if not self.lacking:
            self.lacking = reason
            # No picture follows that would push out what they hold back, and the log waits for it.
            for encoder in self._encoders or ():
                encoder.drain()

    def end(self, seq: int, event: EpisodeEnded) -> None:
        """Get the held-back frames out of the encoders, then close the episode in the journal."""
        for encoder in self._encoders or ():
            encoder.flush(_FLUSH_LIMIT_S)
        self._heed_failure()
        if self._encoders is not None:
            busy_us = {encoder.key: encoder.busy_us.tolist() for encoder in self._encoders}
            self._journal.note(EncodeRun(self._first_frame, time.process_time_ns() - self._cpu_ns, busy_us))
        self._journal.ended(seq, event, self.lacking)
        self._close()

    def abandon(self) -> None:
        """Stop the encoders without caring for what they hold."""
        self._close()

    def _heed_failure(self) -> None:
        if self._failed.is_set():
            self.lose(self._failure)
            self._journal.give_up()

    def _close(self) -> None:
        for encoder in self._encoders or ():
            encoder.close()
        self._encoders = None

    def _start(self, key: str) -> CameraEncoder:
        stream = next(s for s in self._schema.pictures if s.key == key)
        encoder = CameraEncoder(key, self._on_packets, self._on_error, self._consumed)
        encoder.start(stream.width, stream.height, self._fps, self._codecs[stream.kind], self.frames)
        return encoder

    def _on_packets(self, key: str, extradata: bytes | None, packets: Sequence[Packet]) -> None:
        if extradata is not None:
            self._journal.extradata(key, extradata)
        self._journal.packets(key, packets)

    def _on_error(self, key: str, error: EncoderError) -> None:
        self._failure = f"{key}: {error}"
        self._failed.set()
