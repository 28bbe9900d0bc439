"""Who may speak to ingest, and what becomes of those who may not; over real sockets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ingest_harness import SCHEMA, Parent, Recorder, ingesting

from transport import keys
from transport import messages as msg
from transport.records import EndReason, Judgement, RecordKind
from transport.schema import Schema, Stream
from writer import ingest
from writer.workdir import SessionDir

Connect = Callable[..., Recorder]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, Parent]]:
    with ingesting(tmp_path) as running:
        yield running


@pytest.fixture
def connect() -> Iterator[Callable[..., Recorder]]:
    """Makes recorders, and closes them in the end."""
    made: list[Recorder] = []

    def make(address: str, **given: Any) -> Recorder:
        made.append(Recorder(address, **given))
        return made[-1]

    yield make
    for recorder in made:
        recorder.close()


def test_a_second_session_is_refused_naming_the_owner(connect: Connect, served: tuple[str, Parent]) -> None:
    first, second = connect(served[0]), connect(served[0], repo_id="me/other", owner="arm2")
    assert isinstance(first.hello(), msg.Welcome)
    answer = second.hello()
    assert answer == msg.Refused(1, "this writer is recording for arm1; wait, or start another writer")
    # The first one has not noticed anything.
    first.record(1, RecordKind.EPISODE_BEGAN, (0, "task"))
    first.hear(msg.Status, durable_seq=1)


def test_a_session_goes_on_over_a_connection_with_a_greater_epoch(connect: Connect, served: tuple[str, Parent]) -> None:
    first = connect(served[0])
    first.hello()
    first.record(1, RecordKind.EPISODE_BEGAN, (0, "task"))
    first.hear(msg.Status, durable_seq=1)
    again = connect(served[0], session_id=first.session_id, epoch=2)
    answer = again.hello()
    assert isinstance(answer, msg.Welcome)
    assert answer.durable_seq == 1
    # Said again, or come late, a HELLO does no harm.
    again.say(again.greeting)
    late = connect(served[0], session_id=first.session_id, epoch=1)
    late.say(late.greeting)
    again.hear(msg.Status, warning="a HELLO of an older connection")
    again.record(2, RecordKind.FRAME)
    again.hear(msg.Status, durable_seq=2)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (
            {"schema": Schema((*SCHEMA.streams, Stream("next.reward", "float32", (1,))))},
            "the session was begun with other streams; start a new session",
        ),
        ({"repo_id": "me/other"}, "the session was begun for another dataset; start a new session"),
    ],
    ids=["streams", "dataset"],
)
def test_the_same_session_cannot_become_another(
    connect: Connect, served: tuple[str, Parent], given: dict[str, object], reason: str
) -> None:
    first = connect(served[0])
    first.hello()
    other = connect(served[0], session_id=first.session_id, epoch=2, **given)
    assert other.hello() == msg.Refused(2, reason)
    first.record(1, RecordKind.EPISODE_BEGAN, (0, "task"))
    first.hear(msg.Status, durable_seq=1)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"session_id": "../../../../etc/onbeat0000000000"}, "a session id is 32 hexadecimal digits"),
        ({"owner": "arm\x1b[2J"}, "an owner is 1 to 200 characters that can be printed"),
        ({"owner": "x" * 201}, "an owner is 1 to 200 characters that can be printed"),
        ({"epoch": -1}, "epoch -1 found, expected a number from 0"),
        (
            {"repo_id": "me/pick.onbeat"},
            "me/pick.onbeat ends as the folder of a recording under way does; rename the dataset",
        ),
        (
            {"schema": Schema((Stream("a", "float64", (1 << 18,)), Stream("action", "float32", (2,))))},
            "rows of 2097263 bytes found, expected at most 1048576; leave some streams out",
        ),
    ],
    ids=["session", "owner", "long owner", "epoch", "work folder", "row"],
)
def test_names_and_sizes_are_checked_before_anything_is_written(
    connect: Connect, served: tuple[str, Parent], tmp_path: Path, given: dict[str, object], reason: str
) -> None:
    recorder = connect(served[0], **given)
    answer = recorder.hello()
    assert isinstance(answer, msg.Refused)
    if "rows" in reason:
        assert answer.reason.startswith("rows of ")
        assert answer.reason.endswith("expected at most 1048576; leave some streams out")
    else:
        assert answer.reason == reason
    assert list(tmp_path.iterdir()) == []


def test_what_the_parent_refuses_is_refused(connect: Connect, served: tuple[str, Parent], tmp_path: Path) -> None:
    served[1].grants = False
    recorder = connect(served[0])
    assert recorder.hello() == msg.Refused(1, "it is being recorded by somebody")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (b"\x00" * 40, "not a message"),
        (msg.Head(1, 0, 1, 1), "from nobody's recorder"),
        (msg.Data(1, 0, 1, 1, 0, 0, 1, (0,)), "from nobody's recorder"),
        (msg.Probe(1), "from nobody's recorder"),
        (msg.Status(1, 9, 9, 0, 0, True, ""), "from nobody's recorder"),
    ],
    ids=["noise", "head", "data", "probe", "status"],
)
def test_strangers_are_counted_and_thrown_out(
    connect: Connect, served: tuple[str, Parent], message: msg.Message | bytes, reason: str
) -> None:
    good, stranger = connect(served[0]), connect(served[0], owner="stranger")
    good.hello()
    stranger.say(message)
    served[1].wait_for("log", f"{reason} 1")
    served[1].wait_for("log", "said what no recorder says 1")
    # The operator hears of it as well, and nothing is lost.
    good.hear(msg.Status, warning=reason)
    good.record(1, RecordKind.EPISODE_BEGAN, (0, "task"))
    good.hear(msg.Status, durable_seq=1)


@pytest.mark.parametrize(
    "message",
    [msg.Welcome(1, 5, "/"), msg.Fetch(1, 0, 1, 9, 9), msg.Episode(1, 0, "committed", 0, 1, 0, ""), msg.Refused(1, "")],
    ids=lambda message: type(message).__name__,
)
def test_what_only_a_writer_says_is_ignored(connect: Connect, served: tuple[str, Parent], message: msg.Message) -> None:
    recorder = connect(served[0])
    recorder.hello()
    recorder.say(message)
    recorder.hear(msg.Status, warning="what only a writer says 1")
    recorder.record(1, RecordKind.EPISODE_BEGAN, (0, "task"))
    recorder.hear(msg.Status, durable_seq=1)


def test_a_message_of_very_many_parts_does_not_reach_the_session(connect: Connect, served: tuple[str, Parent]) -> None:
    good, stranger = connect(served[0]), connect(served[0])
    good.hello()
    stranger.say(msg.Head(1, 0, 1, 1), *[b""] * 20_000)
    served[1].wait_for("log", "not a message 1")
    good.record(1, RecordKind.EPISODE_BEGAN, (0, "task"))
    good.hear(msg.Status, durable_seq=1)


def test_a_session_that_never_began_an_episode_can_be_called_off(connect: Connect, served: tuple[str, Parent]) -> None:
    first = connect(served[0])
    first.hello()
    first.say(msg.Bye(1))
    served[1].wait_for("closed")
    second = connect(served[0], owner="arm2")
    assert isinstance(second.hello(), msg.Welcome)


def test_a_finished_session_whose_bye_is_lost_is_closed_when_its_recorder_has_gone(
    connect: Connect, served: tuple[str, Parent], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "_FAREWELL_S", 0.2)
    recorder = connect(served[0])
    recorder.hello()
    recorder.record(1, RecordKind.EPISODE_BEGAN, (0, "task"))
    recorder.hear(msg.Status, durable_seq=1)
    for _ in range(4):
        recorder.hear(msg.Status)
    # Silent for a second, but not finished: it may come back.
    assert not any("closed" in said for said in served[1].said)
    recorder.record(2, RecordKind.EPISODE_ENDED, (0, 0, EndReason.STOP, ""))
    recorder.record(3, RecordKind.VERDICT, (0, Judgement.DISCARD))
    recorder.record(4, RecordKind.SESSION_ENDED, ("",))
    served[1].wait_for("closed")


def test_a_recorder_that_is_gone_leaves_its_place_to_the_next(
    connect: Connect, served: tuple[str, Parent], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "_VACANT_S", 0.2)
    first = connect(served[0])
    first.hello()
    first.record(1, RecordKind.EPISODE_BEGAN, (0, "task"))
    first.record(2, RecordKind.FRAME)
    first.hear(msg.Status, durable_seq=2)
    answer: msg.Welcome | msg.Refused = msg.Refused(0, "")
    for _ in range(100):
        second = connect(served[0], repo_id="me/other", owner="arm2")
        answer = second.hello()
        second.close()
        if isinstance(answer, msg.Welcome):
            break
        assert "this writer is recording for arm1" in answer.reason
    assert isinstance(answer, msg.Welcome)
    served[1].wait_for("log", "arm1 has not been heard of")
    # What the first one had recorded is still there.
    assert SessionDir(tmp_path / "me/pick", first.session_id).open_recordings() == [0]


def test_a_session_belongs_to_the_key_that_began_it(connect: Connect, tmp_path: Path) -> None:
    folder, base = tmp_path / "keys", tmp_path / "out"
    keys.make_writer(folder)
    arm1, arm2 = (keys.load_recorder(keys.make_recorder(folder, name)) for name in ("arm1", "arm2"))
    with ingesting(base, keys=folder) as (address, _):
        first = connect(address, keys=arm1)
        assert isinstance(first.hello(), msg.Welcome)
        thief = connect(address, keys=arm2, session_id=first.session_id, epoch=2)
        refusal = msg.Refused(2, "the session belongs to another recorder's key; start a new session")
        assert thief.hello() == refusal
        first.record(1, RecordKind.EPISODE_BEGAN, (0, "task"))
        first.hear(msg.Status, durable_seq=1)
        first.close()
        thief.close()
    # A writer that was started again knows it from the disk.
    with ingesting(base, keys=folder) as (address, _):
        thief = connect(address, keys=arm2, session_id=first.session_id, epoch=2)
        assert thief.hello() == refusal
        owner = connect(address, keys=arm1, session_id=first.session_id, epoch=3)
        answer = owner.hello()
        assert isinstance(answer, msg.Welcome)
        assert answer.durable_seq == 1
        thief.close()
        owner.close()


def test_a_key_taken_off_the_list_is_out_at_its_next_connection(connect: Connect, tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    keys.make_writer(folder)
    arm1 = keys.load_recorder(keys.make_recorder(folder, "arm1"))
    with ingesting(tmp_path / "out", keys=folder) as (address, parent):
        first = connect(address, keys=arm1)
        assert isinstance(first.hello(), msg.Welcome)
        first.close()
        (folder / "recorders.toml").write_text("[recorders]\n")
        second = connect(address, keys=arm1, session_id=first.session_id, epoch=2)
        parent.wait_for("log", "key not on the list 1")
        second.close()


def test_records_that_no_log_holds_are_passed(connect: Connect, served: tuple[str, Parent], tmp_path: Path) -> None:
    recorder = connect(served[0])
    recorder.hello()
    ended, keep = (0, 1, str(EndReason.SUCCESS), ""), (0, str(Judgement.KEEP))
    recorder.record(1, RecordKind.EPISODE_BEGAN, (0, "task"))
    recorder.record(2, RecordKind.FRAME)
    recorder.record(3, RecordKind.FRAME)  # frame 0 a second time
    recorder.record(4, RecordKind.EPISODE_BEGAN, (0, "task"))  # while it is open
    recorder.record(5, RecordKind.VERDICT, (0, "perhaps"))
    recorder.record(6, RecordKind.EPISODE_ENDED, ended)
    recorder.record(7, RecordKind.EPISODE_ENDED, ended)
    recorder.record(8, RecordKind.FRAME, frame=1)  # behind the end
    recorder.record(9, RecordKind.VERDICT, keep)
    recorder.record(10, RecordKind.FRAME, frame=1)  # behind the verdict
    recorder.record(11, RecordKind.SESSION_ENDED, ("",))
    recorder.record(12, RecordKind.EPISODE_BEGAN, (1, "task"))
    recorder.hear(msg.Status, durable_seq=12)
    # What was in order is what there is.
    assert SessionDir(tmp_path / "me/pick", recorder.session_id).ready() == [0]


def test_an_episode_whose_end_is_lost_is_kept_apart(
    connect: Connect, served: tuple[str, Parent], tmp_path: Path
) -> None:
    recorder = connect(served[0])
    recorder.hello()
    recorder.record(1, RecordKind.EPISODE_BEGAN, (0, "task"))
    recorder.record(2, RecordKind.FRAME)
    recorder.say(msg.Gap(1, 0, 3, 5, "the spill file was full"))
    recorder.record(6, RecordKind.EPISODE_BEGAN, (1, "task"))
    recorder.record(7, RecordKind.FRAME, episode=1)
    recorder.record(8, RecordKind.EPISODE_ENDED, (1, 1, str(EndReason.SUCCESS), ""))
    recorder.record(9, RecordKind.VERDICT, (1, str(Judgement.KEEP)))
    recorder.hear(msg.Status, durable_seq=9)
    folder = SessionDir(tmp_path / "me/pick", recorder.session_id)
    assert (folder.aborted(), folder.ready(), folder.open_recordings()) == ([0], [1], [])
    assert "the spill file was full" in folder.done()[0]["detail"]


def test_a_session_that_the_disk_cannot_give_back_is_closed_with_one_line(connect: Connect, tmp_path: Path) -> None:
    with ingesting(tmp_path) as (address, _):
        recorder = connect(address)
        recorder.hello()
        recorder.record(1, RecordKind.EPISODE_BEGAN, (0, "task"))
        recorder.hear(msg.Status, durable_seq=1)
    root = tmp_path / "me" / "pick"
    (SessionDir(root, recorder.session_id).path / "progress.json").mkdir()  # reading it is an error of the disk's
    with ingesting(tmp_path, session={"root": str(root), "session_id": recorder.session_id}) as (_, parent):
        parent.wait_for("closed")
        (line,) = [message["log"] for message in parent.said if "log" in message]
        assert f"the session beside {root} cannot be continued (" in line
        assert f"`onbeat recover {root}` has more" in line
