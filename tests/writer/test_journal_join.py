"""Segments joined to an episode: what is durable, what is finished, and a writer killed any number of times."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from journal_cases import CAMERAS, ENDED, HEADER, SCHEMA, SPEC, VERDICT, packet, row

from transport.records import EndReason, EpisodeEnded, Verdict
from transport.schema import Kind, Schema, Stream
from writer.errors import JournalError
from writer.journal import JoinedEpisode, JournalHeader, JournalWriter, Segment, join, read_segment, to_finished


@dataclass(frozen=True)
class Run:
    """One segment: its first frame, the rows it has, and each camera's packets (presentation times, decoding order)."""

    first: int
    rows: Sequence[int]
    pts: Sequence[Sequence[int]]
    ended: EpisodeEnded | None = None
    verdict: Verdict | None = None


def write_runs(folder: Path, runs: Sequence[Run], header: JournalHeader = HEADER) -> list[Segment]:
    segments = []
    for number, run in enumerate(runs):
        path = folder / f"segment-{number:03d}.mcap"
        journal = JournalWriter.create(path, replace(header, segment=number, first_frame_index=run.first))
        for index in run.rows:
            journal.row(101 + index, index, row(index))
        for camera, times in zip(CAMERAS, run.pts, strict=True):
            if times:
                journal.extradata(camera, b"header")
            for dts, pts in enumerate(times):
                journal.packet(camera, packet(camera, pts, first=run.first, dts=dts))
        if run.ended is not None:
            journal.ended(101 + run.ended.frames, run.ended)
        if run.verdict is not None:
            journal.verdict(102 + (run.ended.frames if run.ended else 0), run.verdict)
        journal.flush()
        journal.close()
        segments.append(read_segment(path))
    return segments


def span(first: int, end: int) -> list[int]:
    return list(range(first, end))


def end(frames: int) -> EpisodeEnded:
    return EpisodeEnded(4, frames, EndReason.NEXT)


CASES: dict[str, tuple[list[Run], int, int | None]] = {
    "nothing but the beginning": ([Run(0, [], [[], []])], 0, 100),
    "whole": ([Run(0, span(0, 5), [span(0, 5)] * 2, end(5), VERDICT)], 5, 107),
    "without a verdict": ([Run(0, span(0, 5), [span(0, 5)] * 2, end(5))], 5, 106),
    "no frames": ([Run(0, [], [[], []], end(0), VERDICT)], 0, 102),
    "the slower camera counts": ([Run(0, span(0, 9), [span(0, 3), span(0, 8)])], 3, 103),
    "rows behind": ([Run(0, span(0, 2), [span(0, 8), span(0, 8)])], 2, 102),
    "a camera without packets": ([Run(0, span(0, 9), [span(0, 3), []])], 0, 100),
    "ended, but frames are held back": ([Run(0, span(0, 9), [span(0, 7), span(0, 9)], end(9), VERDICT)], 7, 107),
    "reordered": ([Run(0, span(0, 9), [[0, 4, 2, 1, 3, 8], [0, 4, 2, 1, 3]])], 5, 105),
    "reordered, cut within": ([Run(0, span(0, 9), [[0, 4, 2, 1], [0, 4, 2, 1, 3]])], 1, 101),
    "no common place to cut": ([Run(0, span(0, 9), [[0, 2, 1], [0, 1, 4, 2, 3]])], 1, 101),
    "two segments": ([Run(0, span(0, 9), [span(0, 6), span(0, 4)]), Run(4, span(4, 9), [span(4, 9)] * 2)], 9, 109),
    "a segment that gave nothing": (
        [Run(0, span(0, 6), [span(0, 4)] * 2), Run(4, [4], [[], []]), Run(4, span(4, 8), [span(4, 8)] * 2)],
        8,
        108,
    ),
    "reordered beyond the next segment's beginning": (
        [Run(0, span(0, 9), [[0, 2, 1, 6, 4, 3, 5]] * 2), Run(3, span(3, 9), [[3, 5, 4]] * 2)],
        6,
        106,
    ),
    "the first segment lost what the second builds on": (
        [Run(0, span(0, 3), [span(0, 3)] * 2), Run(5, span(5, 9), [span(5, 9)] * 2)],
        3,
        103,
    ),
    "a third segment that starts before the second": (
        [
            Run(0, span(0, 6), [span(0, 6)] * 2),
            Run(5, span(5, 9), [span(5, 9)] * 2),
            Run(2, span(2, 4), [span(2, 4)] * 2),
        ],
        4,
        104,
    ),
    "the second segment is torn before its first packet": (
        [Run(0, span(0, 6), [span(0, 6)] * 2), Run(4, span(4, 9), [[], []])],
        4,
        104,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_durable(tmp_path: Path, name: str) -> None:
    runs, frames, seq = CASES[name]
    joined = join(write_runs(tmp_path, runs))
    assert (joined.durable_frames, joined.durable_seq) == (frames, seq)
    assert joined.next_segment == len(runs)
    for camera in CAMERAS:
        taken = joined.packets[camera][:frames]
        assert sorted(ref.pts for ref in taken) == span(0, frames)


def test_without_the_first_record_nothing_is_durable(tmp_path: Path) -> None:
    header = replace(HEADER, began_seq=None)
    assert join(write_runs(tmp_path, [Run(0, [0, 1], [[], []])], header)).durable_seq is None


def test_without_cameras_rows_alone_count(tmp_path: Path) -> None:
    schema = Schema(tuple(stream for stream in SCHEMA.streams if stream.kind is Kind.ROW))
    journal = JournalWriter.create(tmp_path / "segment-000.mcap", replace(HEADER, schema=schema.to_wire()))
    for index in range(3):
        journal.row(101 + index, index, row(index))
    journal.ended(104, end(3))
    journal.finish()
    joined = join([read_segment(tmp_path / "segment-000.mcap")])
    assert (joined.durable_frames, joined.durable_seq) == (3, 104)
    assert to_finished(joined).videos == {}


def test_a_finished_episode_has_everything(tmp_path: Path) -> None:
    runs = [
        Run(0, span(0, 8), [span(0, 7), span(0, 5)]),
        Run(5, span(5, 12), [span(5, 12)] * 2, replace(ENDED, frames=12), VERDICT),
    ]
    finished = to_finished(join(write_runs(tmp_path, runs)))
    assert (finished.session_id, finished.episode_id, finished.task) == ("ab" * 16, 4, HEADER.task)
    assert (finished.schema, finished.spec, finished.codec_options) == (SCHEMA, SPEC, HEADER.codec_options)
    assert (finished.reason, finished.detail) == (EndReason.SUCCESS, "by the operator")
    assert finished.rows["action"][:, 0].tolist() == span(0, 12)
    for camera in CAMERAS:
        video = finished.videos[camera]
        assert (video.codec_name, video.pix_fmt, video.width, video.height) == ("h264", "yuv420p", 64, 48)
        assert video.extradata == b"header"
        # Each packet from the segment that it belongs to, with times that fit together.
        expected = [packet(camera, pts, first=0 if pts < 5 else 5) for pts in range(12)]
        assert list(video.packets) == expected
        assert [video.packets[i] for i in range(12)] == expected
        assert video.packets[-2:] == expected[-2:]


def test_an_empty_episode_is_finished_without_packets(tmp_path: Path) -> None:
    finished = to_finished(join(write_runs(tmp_path, [Run(0, [], [[], []], end(0))])))
    assert len(finished.rows) == 0
    assert [len(video.packets) for video in finished.videos.values()] == [0, 0]


@pytest.mark.parametrize(
    ("run", "words"),
    [
        (Run(0, span(0, 5), [span(0, 5)] * 2), "has not ended"),
        (Run(0, span(0, 5), [span(0, 4), span(0, 5)], end(5)), "4 whole frames, expected 5"),
        (Run(0, span(0, 4), [span(0, 5)] * 2, end(5)), "4 whole frames, expected 5"),
        (Run(0, span(0, 6), [span(0, 6)] * 2, end(5)), "6 whole frames, expected 5"),
    ],
)
def test_an_episode_that_is_not_whole_is_no_finished_one(tmp_path: Path, run: Run, words: str) -> None:
    with pytest.raises(JournalError, match=words):
        to_finished(join(write_runs(tmp_path, [run])))


def test_recovery_ends_an_episode_where_it_is_whole(tmp_path: Path) -> None:
    joined = join(write_runs(tmp_path, [Run(0, span(0, 9), [[0, 2, 1, 4, 3], span(0, 6)])]))
    closing = EpisodeEnded(4, joined.durable_frames, EndReason.ABORTED, "the writer was killed")
    finished = to_finished(joined, closing)
    assert (len(finished.rows), finished.reason, finished.detail) == (5, EndReason.ABORTED, "the writer was killed")
    assert [p.pts for p in finished.videos[CAMERAS[0]].packets] == [0, 2, 1, 4, 3]
    assert [p.dts for p in finished.videos[CAMERAS[0]].packets] == [-1, 0, 1, 2, 3]
    with pytest.raises(JournalError, match="decodes past it"):
        to_finished(joined, replace(closing, frames=4))


@pytest.mark.parametrize(
    "change",
    [
        {"session_id": "cd" * 16},
        {"episode_id": 5},
        {"task": "another"},
        {"spec": replace(SPEC, fps=60).to_wire()},
        {"codec_options": {}},
        {"schema": Schema(SCHEMA.streams, (Stream("more", "int64", (1,)),)).to_wire()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_segments_of_different_episodes_are_not_joined(tmp_path: Path, change: dict[str, Any]) -> None:
    (tmp_path / "other").mkdir()
    mine = write_runs(tmp_path, [Run(0, [], [[], []])])
    other = write_runs(tmp_path / "other", [Run(0, [], [[], []])], replace(HEADER, **change))
    other[0].header = replace(other[0].header, segment=1)
    with pytest.raises(JournalError, match=next(iter(change))):
        join([*mine, *other])


def test_contradictions_are_errors(tmp_path: Path) -> None:
    runs = [Run(0, span(0, 5), [span(0, 5)] * 2), Run(4, span(4, 8), [span(4, 8)] * 2)]
    segments = write_runs(tmp_path, runs)
    join([*reversed(segments)])
    with pytest.raises(JournalError, match="two journals are segment 0"):
        join([segments[0], replace(segments[0]), segments[1]])
    other_row = segments[1].rows[0]._replace(data=row(7))
    with pytest.raises(JournalError, match="frame 4 has two different rows"):
        join([segments[0], replace(segments[1], rows=[other_row, *segments[1].rows[1:]])])
    with pytest.raises(JournalError, match="encoded differently"):
        join([segments[0], replace(segments[1], extradata={CAMERAS[0]: b"another"})])
    with pytest.raises(JournalError, match="at least one segment"):
        join([])


def test_a_journal_that_shrinks_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    finished = to_finished(join(write_runs(tmp_path, [Run(0, span(0, 3), [span(0, 3)] * 2, end(3))])))
    os.truncate(tmp_path / "segment-000.mcap", 1500)
    with pytest.raises(JournalError, match="became shorter"):
        list(finished.videos[CAMERAS[1]].packets)


def reordered(first: int, count: int, group: int) -> list[int]:
    """Decoding order as an encoder with B-frames gives it: the last of a group before the others."""
    order = [first]
    for start in range(first + 1, first + count, group):
        stop = min(start + group, first + count)
        order += [stop - 1, *range(start, stop - 1)]
    return order[:count]


@settings(max_examples=120, deadline=None)
@given(
    kills=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1), st.floats(0, 1), st.floats(0, 1)), max_size=5),
    group=st.integers(1, 4),
    total=st.integers(1, 25),
)
def test_a_writer_killed_anywhere_any_number_of_times(
    kills: list[tuple[int, int, float, float]], group: int, total: int
) -> None:
    """Each new segment starts at what the last join called durable; at the end the episode is whole, frame by frame."""
    folder = Path(tempfile.mkdtemp())
    try:
        segments: list[Segment] = []
        durable = 0

        def add(number: int, run: Run) -> JoinedEpisode:
            made = folder / str(number)
            made.mkdir()
            written = write_runs(made, [run])[0]
            written.header = replace(written.header, segment=number)
            segments.append(written)
            return join(segments)

        for number, (ahead, rows_behind, *kept) in enumerate(kills):
            stop = min(total, durable + ahead)
            times = [reordered(durable, stop - durable, group) if stop > durable else [] for _ in CAMERAS]
            cut = [order[: int(len(order) * part)] for order, part in zip(times, kept, strict=True)]
            joined = add(number, Run(durable, span(durable, max(durable, stop - rows_behind)), cut))
            assert durable <= joined.durable_frames <= stop
            assert joined.durable_seq == 100 + joined.durable_frames
            durable = joined.durable_frames
        last = [reordered(durable, total - durable, group) if total > durable else [] for _ in CAMERAS]
        finished = to_finished(add(len(kills), Run(durable, span(durable, total), last, end(total))))
        assert finished.rows["action"][:, 0].tolist() == span(0, total)
        for camera in CAMERAS:
            packets = list(finished.videos[camera].packets)
            assert sorted(p.pts for p in packets) == span(0, total)
            assert packets[0].is_key
            assert all(p.dts <= p.pts for p in packets)
            assert all(p.data == packet(camera, p.pts).data for p in packets)
    finally:
        shutil.rmtree(folder)
