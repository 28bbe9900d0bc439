"""The publisher process under overload, kills and orphanhood, with a real ring, real files and a real socket."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import publisher_harness as harness
import pytest

from transport.records import EndReason, EpisodeEnded, Judgement, SessionEnded, Verdict, unpack_event
from transport.spill_files import read_all
from transport.spill_format import SpilledRecord
from transport.spill_lock import SpillLock

STUCK = "behind; the connection, which held the ring, is made anew"


def assert_all(writer: harness.Writer, last_seq: int) -> None:
    assert sorted(writer.got) == list(range(1, last_seq + 1))
    for seq, (data, parts) in writer.got.items():
        harness.assert_frame(seq, data, parts)


def left_records(bench: harness.Bench) -> list[SpilledRecord]:
    records = []
    for record in read_all(bench.spill):
        assert isinstance(record, SpilledRecord)
        records.append(record)
    return records


@pytest.mark.parametrize("lends", [False, True], ids=["socket", "lent"])
def test_a_writer_away_for_many_rings_gets_every_record_and_the_disk_back(tmp_path: Path, lends: bool) -> None:
    with harness.bench(tmp_path, lends=lends) as bench:
        bench.start()
        bench.publish(400)
        bench.until(lambda: bench.status.get("spill_records", 0) > 300)
        with harness.writer_of(bench) as writer:
            bench.until(lambda: len(writer.got) == 400, writer)
            assert_all(writer, 400)
            writer.durable_seq = 400
            bench.until(lambda: bench.ring.fill_slots == 0, writer)
            bench.until(lambda: not list(tmp_path.rglob("*.spill")), writer)
            bench.publish(100, writer)
            bench.until(lambda: len(writer.got) == 500, writer)
            assert_all(writer, 500)
            writer.durable_seq = 500
            bench.until(lambda: writer.bye, writer, finished=True)
            assert bench.wait() == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lends", [False, True], ids=["socket", "lent"])
def test_killed_again_and_again_while_spilling_it_loses_nothing(tmp_path: Path, lends: bool) -> None:
    with harness.bench(tmp_path, lends=lends) as bench:
        for _ in range(4):
            bench.start()
            bench.publish(60)
            bench.kill()
        bench.start()
        with harness.writer_of(bench) as writer:
            bench.until(lambda: len(writer.got) == 240, writer)
            assert_all(writer, 240)
            bench.kill()
            # A killed publisher knows no more than ring and spill; the writer's word moves it on.
            bench.start()
            writer.durable_seq = 200
            bench.publish(60, writer)
            bench.until(lambda: len(writer.got) == 300, writer)
            assert_all(writer, 300)
            assert writer.gaps == []


@pytest.mark.parametrize("lends", [False, True], ids=["socket", "lent"])
def test_a_writer_that_stops_reading_does_not_keep_the_ring(tmp_path: Path, lends: bool) -> None:
    """Its socket stays open and full, so libzmq holds the ring's oldest slots until the connection is given up.

    What is lent holds none, and is fetched again.
    """
    # 120 kB a picture: pyzmq copies what is below 64 kB. The writer's socket takes 256 messages before it is full.
    with harness.bench(tmp_path, frames=40, size=200, lends=lends) as bench, harness.writer_of(bench) as writer:
        bench.start()
        bench.until(lambda: writer.hellos == 1, writer, window_bytes=1 << 28)
        bench.publish(10)
        bench.until(lambda: len(writer.got) == 10, writer)
        bench.publish(500)
        bench.listen()
        # Not by the seconds of silence after which any connection is given up: the ring may be shorter than that.
        assert [told["writer"] for told in bench.told if "writer" in told] == ["welcome"] + [STUCK] * (not lends)
        bench.until(lambda: len(writer.got) == 510, writer)
        assert_all(writer, 510)
        assert writer.gaps == []


def test_when_the_spill_is_full_too_the_ring_refuses_and_nothing_published_is_lost(tmp_path: Path) -> None:
    with harness.bench(tmp_path, max_bytes=200_000) as bench:
        bench.start()
        published = 0
        while not (bench.ring.next_slot() is None and bench.status.get("spill_trouble")):
            published += bench.append()
            bench.pause()
        assert "--publisher.spill_max_gb" in bench.status["spill_trouble"]
        assert bench.ring.fill_slots == bench.ring.capacity
        with harness.writer_of(bench) as writer:
            bench.until(lambda: len(writer.got) == published, writer)
            assert_all(writer, published)
            writer.durable_seq = published
            bench.until(lambda: bench.ring.next_slot() is not None, writer)
            bench.until(lambda: bench.status["spill_trouble"] == "" or bench.ring.fill_slots == 0, writer)


def test_a_record_damaged_on_disk_is_a_gap_of_exactly_that_record(tmp_path: Path) -> None:
    with harness.bench(tmp_path) as bench:
        bench.start()
        bench.publish(100)
        bench.until(lambda: bench.status.get("spill_records", 0) > 80)
        (path,) = tmp_path.rglob("*.spill")
        with path.open("r+b") as file:
            file.seek(path.stat().st_size // 2)
            byte = file.read(1)
            file.seek(-1, 1)
            file.write(bytes([byte[0] ^ 1]))
        with harness.writer_of(bench) as writer:
            bench.until(lambda: len(writer.got) == 99, writer)
            (gap,) = writer.gaps
            assert gap.first_seq == gap.last_seq
            assert gap.reason == f"record {gap.first_seq} is damaged on disk"
            assert sorted([*writer.got, gap.first_seq]) == list(range(1, 101))
            bench.until(lambda: any("lost" in told for told in bench.told), writer)
            (told,) = (told["lost"] for told in bench.told if "lost" in told)
            assert f"records {gap.first_seq} to {gap.first_seq} of the log are lost" in told


@pytest.mark.parametrize("lends", [False, True], ids=["socket", "lent"])
def test_a_writer_whose_journal_went_back_behind_what_is_held_gets_a_named_gap(tmp_path: Path, lends: bool) -> None:
    with harness.bench(tmp_path, lends=lends) as bench:
        bench.start()
        with harness.writer_of(bench) as writer:
            bench.publish(30, writer)
            bench.until(lambda: len(writer.got) == 30, writer)
            writer.durable_seq = 25
            bench.until(lambda: bench.ring.tail_seq == 26, writer)
        with harness.writer_of(bench) as emptied:
            bench.until(lambda: len(emptied.got) == 5, emptied)
            assert [(gap.first_seq, gap.last_seq) for gap in emptied.gaps] == [(1, 25)]
            assert sorted(emptied.got) == list(range(26, 31))


def test_sigterm_leaves_the_undelivered_for_recovery_and_a_new_publisher_goes_on_with_it(tmp_path: Path) -> None:
    with harness.bench(tmp_path) as bench:
        bench.start()
        bench.publish(50)
        assert bench.kill(signal.SIGTERM) == 3
        about = json.loads((bench.spill / "session.json").read_text())
        assert about["state"] == "left"
        assert about["session_id"] == bench.ring.session_id
        assert about["dataset"]["root"] == "/dataset"
        assert [record.header.seq for record in left_records(bench)] == list(range(1, 51))
        (left,) = (told["left"] for told in bench.told if "left" in told)
        assert left.startswith(f"ended by SIGTERM; 50 undelivered records are in {bench.spill} for `onbeat recover`")
        bench.start()
        bench.publish(10)
        with harness.writer_of(bench) as writer:
            bench.until(lambda: len(writer.got) == 60, writer)
            assert_all(writer, 60)
            about = json.loads((bench.spill / "session.json").read_text())
            assert about["state"] == "recording"


def test_alone_with_no_writer_in_sight_it_closes_the_log_and_leaves_it_on_disk(tmp_path: Path) -> None:
    with harness.bench(tmp_path, give_up_s=0.2) as bench:
        bench.start()
        bench.publish(30)
        bench.control.kill()
        bench.control.wait()
        bench.until(lambda: bench.ring.session_ended)
        assert bench.process is not None
        assert bench.process.poll() is None, "the supervisor lives and decides when to give up"
        bench.supervisor.kill()
        bench.supervisor.wait()
        assert bench.wait() == 3
        records = left_records(bench)
        assert [record.header.seq for record in records] == list(range(1, 34))
        for seq, record in enumerate(records[:30], 1):
            assert set(bytes(record.parts[1])[1:]) == {seq}
        ended, verdict, session = (unpack_event(r.header.kind, bytes(r.parts[0])) for r in records[30:])
        assert isinstance(ended, EpisodeEnded)
        assert (ended.frames, ended.reason) == (30, EndReason.ABORTED)
        assert verdict == Verdict(0, Judgement.ABORTED)
        assert isinstance(session, SessionEnded)
        about = json.loads((bench.spill / "session.json").read_text())
        assert "the recorder is gone and the writer made no progress for 0.2 s" in about["reason"]


def test_its_folder_is_its_own_for_as_long_as_it_lives(tmp_path: Path) -> None:
    with harness.bench(tmp_path) as bench:
        bench.start()
        bench.publish(30)
        for process in (bench.control, bench.supervisor):
            process.kill()
            process.wait()
        bench.until(lambda: bench.ring.session_ended)
        assert bench.process is not None
        with pytest.raises(BlockingIOError, match=f"in use by process {bench.process.pid}"):
            SpillLock(bench.spill)
        assert bench.kill(signal.SIGTERM) == 3
        SpillLock(bench.spill).release()
        assert len(left_records(bench)) == 33


def test_alone_with_a_writer_it_delivers_everything_first(tmp_path: Path) -> None:
    with harness.bench(tmp_path, give_up_s=5) as bench:
        bench.start()
        bench.publish(200)
        for process in (bench.control, bench.supervisor):
            process.kill()
            process.wait()
        with harness.writer_of(bench) as writer:
            bench.until(lambda: len(writer.got) == 203, writer)
            for seq in range(1, 201):
                harness.assert_frame(seq, *writer.got[seq])
            writer.durable_seq = 203
            bench.until(lambda: writer.bye, writer, finished=True)
            assert bench.wait() == 0
    assert list(tmp_path.iterdir()) == []


def test_alone_it_waits_for_a_commit_only_while_the_writer_is_there(tmp_path: Path) -> None:
    with harness.bench(tmp_path, give_up_s=0.2) as bench:
        bench.start()
        bench.publish(20)
        with harness.writer_of(bench) as writer:
            bench.until(lambda: len(writer.got) == 20, writer, committing=1)
            for process in (bench.control, bench.supervisor):
                process.kill()
                process.wait()
            bench.until(lambda: len(writer.got) == 23, writer, committing=1)
            beats = len(bench.told)
            bench.until(lambda: len(bench.told) > beats + 4, writer, committing=1)  # a second of beats
            assert bench.process is not None
            assert bench.process.poll() is None
        assert bench.wait() == 3
        assert len(left_records(bench)) == 23


def test_refused_before_the_first_record_it_goes_and_leaves_nothing(tmp_path: Path) -> None:
    with harness.bench(tmp_path) as bench, harness.writer_of(bench) as writer:
        bench.start()
        bench.until(lambda: any("refused" in told for told in bench.told), writer, refuse="no room")
        assert bench.wait() == 1
    assert list(tmp_path.iterdir()) == []


def test_refused_in_the_middle_it_keeps_the_records_and_asks_again(tmp_path: Path) -> None:
    with harness.bench(tmp_path) as bench, harness.writer_of(bench) as writer:
        bench.publish(5)
        bench.start()
        bench.until(lambda: writer.hellos >= 2, writer, refuse="busy with another session")
        assert {"refused": "busy with another session"} in bench.told
        bench.until(lambda: len(writer.got) == 5, writer)
        assert_all(writer, 5)
