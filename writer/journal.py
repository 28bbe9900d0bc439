"""The journal: everything of one episode's segment, as an MCAP file that public readers open once it is finished.

A segment is what one encoder run of every camera gave: a writer that was killed goes on in a new one. Topics:

| topic              | payload                                                        | sequence    |
|--------------------|----------------------------------------------------------------|-------------|
| /header            | JSON: session, episode, task, schema, dataset, codec options   | 0           |
| /rows              | numpy record: uint64 `onbeat.seq`, then the schema's row dtype | frame index |
| /events            | uint64 seq, uint8 record kind, the record's own msgpack        | 0           |
| /extradata/CAMERA  | the codec's global header                                      | 0           |
| /video/CAMERA      | int64 pts, int64 dts (ticks of 1/fps), uint8 key, the packet   | pts         |

Times are the frame's place on the 1/fps grid in nanoseconds. Numbers are little-endian. Every flush is one chunk with
its own CRC, and nothing that matters stands outside of chunks: `journal_read` takes the chunks up to the first bad one.
"""

from __future__ import annotations

import contextlib
import json
import os
from pathlib import Path

from mcap.writer import CompressionType, IndexType, Writer

from transport.records import EpisodeEnded, Verdict
from transport.schema import Kind
from writer.episode import Packet
from writer.journal_format import (
    EVENT,
    EVENT_ENCODING,
    EVENTS_TOPIC,
    EXTRADATA_ENCODING,
    EXTRADATA_TOPIC,
    HEADER_ENCODING,
    HEADER_TOPIC,
    PACKET,
    PACKET_ENCODING,
    ROW_ENCODING,
    ROWS_TOPIC,
    SEQ,
    VIDEO_TOPIC,
    JournalHeader,
    frame_time_ns,
    row_dtype,
)
from writer.journal_join import JoinedEpisode, join, to_finished
from writer.journal_read import Segment, read_segment
from writer.sync import sync_directory

__all__ = ["JoinedEpisode", "JournalHeader", "JournalWriter", "Segment", "join", "read_segment", "to_finished"]

# A chunk is closed by `flush` alone; the bound only keeps a caller that never flushes from filling the memory.
_CHUNK_BYTES = 64 << 20
# Of one write. Not less: for each, the interpreter lock has to be had again, which takes up to 5 ms.
_PIECE_BYTES = 128 << 10


class JournalWriter:
    """Appends to one segment. Not for use by two threads at once, but `sync` may run beside the others.

    Every method raises OSError when the disk does not take it; what was synced before stays readable.
    """

    def __init__(self, file: _File, header: JournalHeader) -> None:
        self._file = file
        self._fps = header.typed_spec.fps
        self._writer = Writer(
            file,  # type: ignore[arg-type] # it asks for no more than write, flush and tell
            chunk_size=_CHUNK_BYTES,
            compression=CompressionType.NONE,
            index_types=IndexType.CHUNK,
        )
        self._writer.start(profile="onbeat")
        self._rows, self._events = 0, 0
        self._videos: dict[str, int] = {}
        self._extradatas: dict[str, int] = {}
        self._register(header)

    @classmethod
    def create(cls, path: Path, header: JournalHeader) -> JournalWriter:
        """Make a segment; when this returns, file and header survive a power cut.

        Raises:
            OSError: it exists already, or the disk does not take it.
            SchemaError, UsageError: the header's schema or dataset is not one.
        """
        if path.exists():
            raise FileExistsError(f"{path} exists already; every segment has a number of its own")
        # The name appears only with a whole header behind it: a file of that name is always readable.
        partial = path.with_name(path.name + ".new")
        file = _File(partial)
        try:
            journal = cls(file, header)
            journal.flush()
            journal.sync()
            partial.rename(path)
            sync_directory(path.parent)
        except BaseException:
            file.close()
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise
        return journal

    def row(self, seq: int, frame_index: int, row: bytes) -> None:
        """Append the packed row of a frame; `seq` is the number of its record in the log."""
        time_ns = frame_time_ns(frame_index, self._fps)
        self._writer.add_message(self._rows, time_ns, SEQ.pack(seq) + row, time_ns, frame_index)

    def packet(self, camera_key: str, packet: Packet) -> None:
        """Append an encoded packet; packets of one camera come in decoding order, after its extradata."""
        time_ns = frame_time_ns(packet.pts, self._fps)
        data = PACKET.pack(packet.pts, packet.dts, packet.is_key) + packet.data
        self._writer.add_message(self._videos[camera_key], time_ns, data, time_ns, packet.pts)

    def extradata(self, camera_key: str, data: bytes) -> None:
        """Append the global header of a camera's codec, before its first packet."""
        self._writer.add_message(self._extradatas[camera_key], 0, data, 0)

    def ended(self, seq: int, event: EpisodeEnded) -> None:
        self._event(seq, event)

    def verdict(self, seq: int, event: Verdict) -> None:
        self._event(seq, event)

    def flush(self) -> None:
        """Write what was appended since the last flush as one chunk. It is not durable before `sync`."""
        self._writer.flush()  # type: ignore[no-untyped-call]

    def sync(self) -> None:
        """Wait until everything flushed is on the disk."""
        self._file.sync()

    def finish(self) -> None:
        """Write the index that public readers use, wait until all is on the disk, and close the file."""
        self._writer.finish()  # type: ignore[no-untyped-call]
        self._file.sync()
        self._file.close()

    def close(self) -> None:
        """Close the file as it is, without what was not flushed; a closed one may be closed again."""
        self._file.close()

    def _event(self, seq: int, event: EpisodeEnded | Verdict) -> None:
        self._writer.add_message(self._events, 0, EVENT.pack(seq, event.kind) + event.pack(), 0)

    def _register(self, header: JournalHeader) -> None:
        writer, schema, spec = self._writer, header.typed_schema, header.typed_spec
        described = writer.register_schema("onbeat.Header", "jsonschema", b'{"type": "object"}')
        topic = writer.register_channel(HEADER_TOPIC, HEADER_ENCODING, described)
        dtype = json.dumps(row_dtype(schema).descr).encode()
        described = writer.register_schema("onbeat.Row", "x-numpy-dtype", dtype)
        self._rows = writer.register_channel(ROWS_TOPIC, ROW_ENCODING, described)
        described = writer.register_schema("onbeat.Event", "x-text", b"uint64 seq, uint8 record kind, msgpack array")
        self._events = writer.register_channel(EVENTS_TOPIC, EVENT_ENCODING, described)
        described = writer.register_schema("onbeat.Packet", "x-text", b"int64 pts, int64 dts, uint8 key, packet")
        for stream in schema.pictures:
            encoder = spec.encoder(depth=stream.kind is Kind.DEPTH)
            about = {
                "codec": encoder.vcodec,
                "pix_fmt": encoder.pix_fmt,
                "width": str(stream.width),
                "height": str(stream.height),
                "fps": str(self._fps),
            }
            key = stream.key
            self._videos[key] = writer.register_channel(VIDEO_TOPIC + key, PACKET_ENCODING, described, about)
            self._extradatas[key] = writer.register_channel(EXTRADATA_TOPIC + key, EXTRADATA_ENCODING, 0, about)
        writer.add_message(topic, 0, header.pack(), 0)


class _File:
    """An unbuffered file: a write that failed leaves nothing behind that a later close would try again.

    A kernel without preemption lets nothing else run on the processor, not even the loop, while it copies a piece of a
    write into its cache, and that may be megabytes; hence pieces.
    """

    def __init__(self, path: Path) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self._position = 0

    def write(self, data: bytes) -> int:
        view = memoryview(data)
        while view.nbytes:
            written = os.write(self._fd, view[:_PIECE_BYTES])
            view = view[written:]
            self._position += written
        return len(data)

    def tell(self) -> int:
        return self._position

    def flush(self) -> None:
        """Nothing is buffered."""

    def sync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)
