"""Writes what a publisher leaves in its spill folder."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import stock

from transport.records import Event, RecordKind
from transport.spill_files import FILE_BYTES, SpillFiles
from transport.spill_format import RecordHeader
from writer.handshake import Session


class Spill:
    """Writes records as a publisher spills them."""

    def __init__(self, made: Session, folder: Path, *, suffix: str = "", file_bytes: int = FILE_BYTES) -> None:
        self._made = made
        self.files = SpillFiles(folder / (made.session_id + suffix), made.session_id, made.schema, file_bytes)

    def event(self, seq: int, event: Event) -> None:
        self._append(event.kind, seq, getattr(event, "episode_id", 0), 0, [event.pack()])

    def frames(self, seq: int, episode_id: int, first: int, last: int) -> None:
        """Frames `first` to `last`, the first of them record `seq`; they continue what `crashed.leave` journals."""
        rows = stock.rows(self._made.schema, last + 1, episode_id)
        images = [stock.pictures(stream, last + 1, episode_id) for stream in self._made.schema.pictures]
        for index in range(first, last + 1):
            parts = [rows[index : index + 1].tobytes(), *(np.ascontiguousarray(of[index]).tobytes() for of in images)]
            self._append(RecordKind.FRAME, seq + index - first, episode_id, index, parts)

    def _append(self, kind: RecordKind, seq: int, episode_id: int, frame_index: int, parts: list[bytes]) -> None:
        lengths, crcs = tuple(len(part) for part in parts), tuple(zlib.crc32(part) for part in parts)
        self.files.append(RecordHeader(kind, seq, episode_id, frame_index, lengths, crcs), parts)
