"""What guards ingest, without sockets: counting, memory, waiting, the order of the log."""

from __future__ import annotations

import itertools
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transport import messages as msg
from transport.dataset_spec import DatasetSpec
from transport.errors import CodecError, UsageError
from transport.records import EndReason, EpisodeBegan, EpisodeEnded, Judgement, SessionEnded, Verdict
from writer import handshake, limits
from writer.admission import Admission, Candidate
from writer.limits import MemoryWatch
from writer.log_order import LogOrder
from writer.refusals import Refusals


def test_refusals_are_told_at_most_once_a_second_and_ever_less() -> None:
    refusals, told = Refusals(), []
    for tick in range(4000):
        refusals.message("noise")
        if refusals.news(tick / 10) is not None:
            told.append(tick / 10)
    gaps = [later - earlier for earlier, later in itertools.pairwise(told)]
    assert min(gaps) >= 1
    assert gaps[:5] == pytest.approx([1, 2, 4, 8, 16])
    assert max(gaps) == pytest.approx(60)
    assert refusals.counts() == {"noise": 4000}


def test_what_is_told_names_reasons_and_counts() -> None:
    refusals = Refusals()
    assert refusals.news(0) is None
    refusals.connection("key not on the list")
    refusals.message("damaged", 3)
    assert refusals.news(0) == ("refused so far: 1 connection (key not on the list 1), 3 messages (damaged 3)")
    assert refusals.news(100) is None
    refusals.connection("key not on the list")
    assert refusals.news(101) == ("refused so far: 2 connections (key not on the list 2), 3 messages (damaged 3)")


def test_a_recorder_hears_only_of_what_was_refused_lately() -> None:
    refusals = Refusals()
    assert refusals.recent(0) == ""
    refusals.message("noise")
    told = refusals.news(0)
    assert refusals.recent(59) == told
    assert refusals.recent(60) == ""


def test_memory_above_the_limit_costs_strangers_first_and_the_process_last() -> None:
    did: list[str] = []
    used = 100
    watch = MemoryWatch(
        1000, lambda: did.append("relieve"), lambda nbytes: did.append(f"end at {nbytes}"), lambda: used
    )
    watch.check(0.0)
    assert did == []
    used = 2000
    watch.check(1.0)
    watch.check(2.5)
    assert did == ["relieve", "relieve"]
    used = 900  # it helped
    watch.check(3.0)
    used = 2000
    watch.check(10.0)
    watch.check(11.9)
    assert did == ["relieve"] * 4
    watch.check(12.1)
    assert did == ["relieve"] * 4 + ["end at 2000"]


@pytest.mark.parametrize(("files", "strangers"), [(20_000, 512), (1024, 256), (256, 64), (3, 1)])
def test_most_file_descriptors_stay_for_the_journals(files: int, strangers: int) -> None:
    assert limits.strangers_allowed(files) == strangers


def test_default_memory_is_less_than_the_machine_has() -> None:
    total = next(line for line in Path("/proc/meminfo").read_text().splitlines() if line.startswith("MemTotal"))
    assert 0 < limits.default_memory_bytes() <= int(total.split()[1]) * 1024 // 2
    assert 1 << 20 < limits.used_bytes() < limits.default_memory_bytes()


class _Considering:
    """An admission whose checks refuse after a time that the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, took_s: float) -> None:
        self.now_s = 0.0
        self._took_s = took_s
        self._done = threading.Event()
        monkeypatch.setattr(handshake, "consider", self._refuse)
        self.admission = Admission(None, self._done.set, lambda: self.now_s)

    def candidate(self, session: str = "0" * 32, epoch: int = 1, owner: str = "arm1") -> Candidate:
        hello = msg.Hello(msg.PROTOCOL, session, epoch, {}, DatasetSpec("me/pick", 30).to_wire(), owner)
        return Candidate(b"peer", None, hello, "")

    def ask(self) -> None:
        self._done.clear()
        self.admission.ask(self.candidate())
        assert self._done.wait(20)
        answer = self.admission.answer()
        assert answer is not None
        assert (answer.session, answer.reason) == (None, "no")
        self.admission.done()

    def _refuse(self, *_: object, may_upload: bool) -> None:
        self.now_s += self._took_s
        raise UsageError("no")


def test_refused_checks_take_at_most_a_third_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    considering = _Considering(monkeypatch, took_s=4.0)
    checks = 0
    for _ in range(10_000):
        try:
            considering.ask()
            checks += 1
        except UsageError:
            considering.now_s += 0.5
    assert checks > 500
    assert checks * 4.0 <= considering.now_s / 3 + 10 + 4


def test_a_few_refusals_do_not_make_anybody_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    considering = _Considering(monkeypatch, took_s=3.0)
    for _ in range(5):
        considering.ask()
    with pytest.raises(UsageError, match="has refused many requests; try again in"):
        considering.ask()


def test_only_one_request_is_considered_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    considering = _Considering(monkeypatch, took_s=0.0)
    admission = considering.admission
    admission.candidate = considering.candidate()
    with pytest.raises(UsageError, match="is checking the request of arm1"):
        admission.ask(considering.candidate(session="1" * 32, owner="arm2"))
    # The same recorder over a new connection is followed, not refused.
    again = considering.candidate(epoch=2)
    again.peer = b"elsewhere"
    admission.ask(again)
    assert (admission.candidate.peer, admission.candidate.hello.epoch) == (b"elsewhere", 2)


_EVENTS = st.one_of(
    st.builds(EpisodeBegan, st.integers(0, 4), st.just("task")),
    st.builds(EpisodeEnded, st.integers(0, 4), st.integers(0, 3), st.just(EndReason.SUCCESS)),
    st.builds(Verdict, st.integers(0, 4), st.sampled_from(Judgement)),
    st.just(SessionEnded()),
    st.tuples(st.integers(0, 4), st.integers(0, 3)),
)


@given(st.lists(_EVENTS, max_size=40))
def test_whatever_passes_as_a_log_is_one(records: list[object]) -> None:
    """Frames once and in order, inside of their episode; ends and verdicts once; nothing behind the session's end."""
    order = LogOrder(None, -1)
    frames: dict[int, list[int]] = {}
    began: list[int] = []
    ended: list[int] = []
    over = False
    for record in records:
        was_open, had_ended = order.open_id, order.has_ended
        try:
            order.frame(*record) if isinstance(record, tuple) else order.event(record)  # type: ignore[arg-type]
        except CodecError:
            continue
        assert not over
        if isinstance(record, tuple) and record[0] == was_open:
            assert not had_ended
            frames.setdefault(record[0], []).append(record[1])
        elif isinstance(record, EpisodeBegan):
            began.append(record.episode_id)
        elif isinstance(record, EpisodeEnded) and record.episode_id == was_open:
            ended.append(record.episode_id)
        over = over or isinstance(record, SessionEnded)
    assert began == sorted(set(began))
    assert ended == sorted(set(ended))
    assert all(indices == sorted(set(indices)) for indices in frames.values())
    assert set(frames) <= set(began)


def test_a_log_as_control_writes_it_passes_whole_and_with_any_gap() -> None:
    log: list[object] = []
    for episode_id in range(3):
        log += [EpisodeBegan(episode_id, "task"), (episode_id, 0), (episode_id, 1)]
        log += [EpisodeEnded(episode_id, 2, EndReason.NEXT), Verdict(episode_id, Judgement.KEEP)]
    log.append(SessionEnded())
    for first in range(len(log) + 1):
        for last in range(first, len(log) + 1):
            order = LogOrder(None, -1)
            for record in log[:first] + log[last:]:
                order.frame(*record) if isinstance(record, tuple) else order.event(record)  # type: ignore[arg-type]
