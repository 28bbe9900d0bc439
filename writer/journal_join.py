"""Put the segments of one episode together: rows once each, packets in one decoding order, nothing encoded again.

A segment ends where the next one begins: its packets from there on are dropped, because the next segment's encoders
began with a key frame of that index. Packets count only as far as they are exactly those of the frames 0..d-1 in
decoding order; then decoding them needs nothing that comes later.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from transport.records import EpisodeEnded, Verdict
from transport.schema import Kind
from writer.episode import FinishedEpisode, Packet, VideoTrack
from writer.errors import JournalError
from writer.journal_format import JournalHeader
from writer.journal_read import PacketRef, Row, Segment

# Frames that x264 and x265 decode ahead, with B-frames that refer to each other.
_MOST_REORDERED = 2


@dataclass(frozen=True)
class JoinedEpisode:
    """One episode as far as its segments prove it.

    Attributes:
        header: of the first segment.
        rows: from frame 0 on without a gap; may reach beyond the durable frames.
        packets: of each camera, in decoding order, those of frames 0 on; may reach beyond the durable frames.
        durable_frames: frames 0 to `durable_frames - 1` have their row and every camera's packet.
        durable_seq: the newest record of the log that is whole here with all before it; None when nothing is.
        ended, verdict: the episode's last two records, if they are here.
        next_segment: the number that a new segment takes.
        damage: what is wrong with segments, one line each.
    """

    header: JournalHeader
    rows: Sequence[Row]
    packets: Mapping[str, Sequence[PacketRef]]
    extradata: Mapping[str, bytes]
    durable_frames: int
    durable_seq: int | None
    ended: EpisodeEnded | None
    verdict: Verdict | None
    next_segment: int
    damage: Sequence[str]

    @property
    def episode_id(self) -> int:
        return self.header.episode_id

    @property
    def task(self) -> str:
        return self.header.task


class StoredPackets(Sequence[Packet]):
    """Packets that are read from their segments when they are asked for.

    Decoding times are made anew, since those of two segments need not fit together (and x265 gives any number for
    an episode shorter than its reordering). They begin as early as the encoder's own, which is what lerobot's videos
    have: it concatenates videos only if each begins where the one before ends.
    """

    def __init__(self, refs: Sequence[PacketRef]) -> None:
        self._refs = refs
        ahead = refs[0].pts - refs[0].dts if refs else 0
        self._dts = decoding_times([ref.pts for ref in refs], min(ahead, _MOST_REORDERED))

    def __len__(self) -> int:
        return len(self._refs)

    def __iter__(self) -> Iterator[Packet]:
        start = 0
        while start < len(self._refs):
            path = self._refs[start].path
            with path.open("rb") as file:
                while start < len(self._refs) and self._refs[start].path == path:
                    ref = self._refs[start]
                    file.seek(ref.offset)
                    yield self._packet(start, file.read(ref.size))
                    start += 1

    @overload
    def __getitem__(self, index: int) -> Packet: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Packet]: ...
    def __getitem__(self, index: int | slice) -> Packet | Sequence[Packet]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        ref = self._refs[index]
        with ref.path.open("rb") as file:
            file.seek(ref.offset)
            return self._packet(index % len(self._refs), file.read(ref.size))

    def _packet(self, index: int, data: bytes) -> Packet:
        ref = self._refs[index]
        if len(data) != ref.size:
            raise JournalError(f"{ref.path} became shorter while it was read; keep it and run `onbeat recover`")
        return Packet(ref.pts, self._dts[index], ref.is_key, data)


def decoding_times(pts: Sequence[int], least_delay: int = 0) -> range:
    """Times for packets in decoding order: one a tick, as late as presentation and `least_delay` allow."""
    delay = max((index - time for index, time in enumerate(pts)), default=0)
    delay = max(delay, least_delay) if pts else 0
    return range(-delay, len(pts) - delay)


def join(segments: Sequence[Segment]) -> JoinedEpisode:
    """Put the segments of one episode together.

    Raises:
        JournalError: they are of different episodes, sessions, schemas or codecs, or contradict each other.
    """
    if not segments:
        raise JournalError("an episode has at least one segment, none found")
    segments = sorted(segments, key=lambda segment: segment.header.segment)
    _check_same(segments)
    header = segments[0].header
    rows = _rows(segments)
    cameras = [stream.key for stream in header.typed_schema.pictures]
    packets = {camera: _packets(segments, camera) for camera in cameras}
    durable = _durable_frames(len(rows), [packets[camera] for camera in cameras])
    ended = next((s.ended for s in reversed(segments) if s.ended is not None), None)
    verdict = next((s.verdict for s in reversed(segments) if s.verdict is not None), None)
    durable_seq = rows[durable - 1].seq if durable else header.began_seq
    if ended is not None and ended[1].frames == durable:
        durable_seq = verdict[0] if verdict is not None else ended[0]
    return JoinedEpisode(
        header=header,
        rows=rows,
        packets=packets,
        extradata={camera: _extradata(segments, camera) for camera in cameras},
        durable_frames=durable,
        durable_seq=durable_seq,
        ended=ended[1] if ended is not None else None,
        verdict=verdict[1] if verdict is not None else None,
        next_segment=segments[-1].header.segment + 1,
        damage=[f"{s.path.name}: {s.damage}" for s in segments if s.damage],
    )


def to_finished(joined: JoinedEpisode, closing: EpisodeEnded | None = None) -> FinishedEpisode:
    """The whole episode, ready to be committed.

    Args:
        closing: ends an episode that the log did not end, or not with what is here, after `closing.frames` frames.

    Raises:
        JournalError: it has not ended, or frames are missing.
    """
    ended = closing or joined.ended
    what = f"episode {joined.episode_id} of session {joined.header.session_id}"
    if ended is None:
        raise JournalError(f"{what} has not ended; run `onbeat recover` to end it with {joined.durable_frames} frames")
    whole = joined.durable_frames == ended.frames or (closing is not None and ended.frames < joined.durable_frames)
    if not whole:
        raise JournalError(
            f"{what} has {joined.durable_frames} whole frames, expected {ended.frames}; "
            "run `onbeat recover` to keep what is there"
        )
    header, schema, spec = joined.header, joined.header.typed_schema, joined.header.typed_spec
    videos = {}
    for stream in schema.pictures:
        refs = joined.packets[stream.key][: ended.frames]
        if max((ref.pts for ref in refs), default=-1) >= ended.frames:
            raise JournalError(f"{what} cannot be cut after {ended.frames} frames: {stream.key} decodes past it")
        encoder = spec.encoder(depth=stream.kind is Kind.DEPTH)
        videos[stream.key] = VideoTrack(
            encoder.vcodec,
            encoder.pix_fmt,
            stream.width,
            stream.height,
            joined.extradata.get(stream.key, b""),
            StoredPackets(refs),
        )
    data = b"".join(row.data for row in joined.rows[: ended.frames])
    return FinishedEpisode(
        session_id=header.session_id,
        episode_id=header.episode_id,
        task=header.task,
        schema=schema,
        spec=spec,
        rows=np.frombuffer(data, schema.row_dtype),
        videos=videos,
        reason=ended.reason,
        detail=ended.detail,
        codec_options=dict(header.codec_options),
    )


def _check_same(segments: Sequence[Segment]) -> None:
    first = segments[0].header
    for segment in segments[1:]:
        other = segment.header
        for name in ("session_id", "episode_id", "task", "schema", "spec", "codec_options"):
            if getattr(other, name) != getattr(first, name):
                raise JournalError(f"{segment.path} differs from {segments[0].path} in {name}; move the stranger away")
        if sum(s.header.segment == other.segment for s in segments) > 1:
            raise JournalError(f"two journals are segment {other.segment}, {segment.path} among them; move one away")


def _limits(segments: Sequence[Segment]) -> list[int | None]:
    """Where each segment ends: at the lowest first frame of those that came later."""
    limits: list[int | None] = [None]
    for segment in reversed(segments[1:]):
        first, last = segment.header.first_frame_index, limits[-1]
        limits.append(first if last is None else min(first, last))
    return limits[::-1]


def _rows(segments: Sequence[Segment]) -> list[Row]:
    found: dict[int, Row] = {}
    for segment in segments:
        for row in segment.rows:
            if found.setdefault(row.frame_index, row) != row:
                raise JournalError(
                    f"{segment.path}: frame {row.frame_index} has two different rows; keep both journals"
                )
    rows: list[Row] = []
    while len(rows) in found:
        rows.append(found[len(rows)])
    return rows


def _packets(segments: Sequence[Segment], camera: str) -> list[PacketRef]:
    """The packets of frames 0.. in decoding order, up to where they cannot be decoded without what is missing."""
    kept: list[PacketRef] = []
    for segment, limit in zip(segments, _limits(segments), strict=True):
        first = segment.header.first_frame_index
        if limit is not None and first >= limit:
            continue
        refs = segment.packets[camera]
        if first != len(kept) or (refs and not (refs[0].is_key and refs[0].pts == first)):
            break
        for ref in refs:
            if limit is not None and (ref.pts >= limit or len(kept) == limit):
                break
            kept.append(ref)
        if limit is not None and len(kept) != limit:
            break
    return kept


def _durable_frames(rows: int, tracks: Sequence[Sequence[PacketRef]]) -> int:
    """The largest d for which every camera's first d packets are those of the frames 0..d-1."""
    whole = set(range(rows + 1))
    for refs in tracks:
        closed, newest = {0}, -1
        for count, ref in enumerate(refs, 1):
            newest = max(newest, ref.pts)
            if newest == count - 1:
                closed.add(count)
        whole &= closed
    return max(whole)


def _extradata(segments: Sequence[Segment], camera: str) -> bytes:
    found = {s.extradata[camera] for s in segments if camera in s.extradata}
    if len(found) > 1:
        raise JournalError(f"{camera}: segments {segments[0].path} and later were encoded differently; keep them")
    return found.pop() if found else b""
