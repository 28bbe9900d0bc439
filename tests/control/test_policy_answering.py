"""A whole exchange between loop and policy over the real shared memory, with a policy that is no network."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import gymnasium
import numpy as np
import pytest
from numpy.typing import NDArray

from control.abort import Abort
from control.config import PolicyFlags
from control.errors import SessionAborted, SourceError
from control.policy_actor import TELEMETRY, Acted, PolicyActor
from control.policy_memory import MAX_ROWS, PolicyMemory, create_memory
from control.policy_process import Answering
from control.policy_source import EnvPolicy, Intervening, PolicySource
from control.source import Draft, Mark, Outcome
from control.teleoperator import TeleopAction
from transport.records import EpisodeBegan
from transport.ring import LogRing
from transport.schema import CHW, Kind, Schema, Stream

FPS = 10
INNER = Schema(
    (
        Stream("observation.state", "float32", (2,)),
        Stream("observation.image", "float32", (3, 48, 64), Kind.VIDEO, CHW),
        Stream("action", "float32", (2,)),
    )
)


@dataclass
class Counting:
    """Answers with the tick that it sees in the observation, and how often it was asked in this episode."""

    rows: int = 4
    by_chunks: bool = True
    needs_every: bool = False
    keys: list[str] = field(default_factory=lambda: ["observation.state", "observation.image"])
    inference_s: float = 0.0
    seen: list[int] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)

    @property
    def steps(self) -> int:
        return self.rows

    def reset(self, task: str) -> None:
        self.tasks.append(task)

    def infer(self, observation: dict[str, NDArray[Any]]) -> NDArray[np.float64]:
        tick = int(observation["observation.state"][0])
        assert observation["observation.image"].shape == (48, 64, 3)
        assert (observation["observation.image"] == tick / 256).all()
        self.seen.append(tick)
        return np.column_stack([tick + np.arange(self.rows), np.full(self.rows, float(tick))])


class Env:
    """A source as `GymSource` is: asks for an action in the tick, and looks ahead."""

    schema = INNER
    may_step_after_end = False
    robot_type = None

    def __init__(self) -> None:
        self.policy: EnvPolicy | None = None
        self.person: Intervening | None = None
        self.tick_number = 0
        self.closed = False

    def begin(self, draft: Draft) -> None:
        self.tick_number = 0
        self.stage(draft)

    def tick(self, draft: Draft) -> Outcome:
        assert self.policy is not None
        action = self.policy.select_action(None)
        choice = TeleopAction() if self.person is None else self.person.act(None, {})
        draft.row["action"] = action if choice.action is None else choice.action
        self.tick_number += 1
        return Outcome(0, is_intervention=choice.is_intervention)

    def finish(self, draft: Draft, mark: Mark) -> None: ...

    def stage(self, draft: Draft) -> None:
        draft.row["observation.state"] = self.tick_number
        draft.pictures[0][:] = self.tick_number / 256

    def idle(self) -> None: ...

    def close(self, *, failed: bool = False) -> None:
        self.closed = True


class Client:
    """The real one starts a process; here the answers are given between two ticks."""

    inference_s = 0.0

    def __init__(self, flags: PolicyFlags, policy: Counting, fps: int) -> None:
        self.flags, self._policy, self._fps = flags, policy, fps
        self.memory: PolicyMemory | None = None
        self.answering: Answering | None = None
        self.dead = ""
        self.busy = False

    def join(self, ring: LogRing) -> None:
        fd = create_memory(2)
        self.memory = PolicyMemory(fd, 2)
        self.answering = Answering(self._policy, ring, PolicyMemory(fd, 2), self._fps, 0)
        os.close(fd)

    def wake(self) -> None:
        assert self.answering is not None
        while not self.dead and not self.busy and self.answering.turn():
            pass

    def death(self) -> str:
        return self.dead


class Bench:
    """Source, ring and policy, ticked by hand as `control.loop` does."""

    def __init__(
        self, policy: Counting, *, neutral: Any = None, max_held_s: float = 5, ring_s: float = 2, fps: int = FPS
    ) -> None:
        self.log: list[str] = []
        self.abort = Abort()
        self.takeovers = 0
        self.client = Client(PolicyFlags("x", max_held_s=max_held_s), policy, fps)
        self.actor = PolicyActor(self.client, fps, self.log.append)  # type: ignore[arg-type]
        self.env = Env()
        chooser = EnvPolicy(self.actor, gymnasium.spaces.Box(-99, 99, (2,), np.float32), neutral)
        self.env.policy = chooser
        self.source = PolicySource(
            self.env, self.actor, acted=chooser.acted, log=self.log.append, release=lambda: self.log.append("released")
        )
        self.ring = LogRing.create(self.source.schema, seconds=ring_s, fps=fps)
        self.actor.join(self.ring, lambda: self.takeovers)

    def begin(self, task: str = "a task") -> None:
        self.ring.append_event(EpisodeBegan(0, task))
        slot = self.ring.next_slot()
        assert slot is not None
        self.draft = Draft(slot.row, slot.pictures)
        self.source.begin(self.draft)
        self.source.starts(self.draft, self.abort.check)

    def tick(self, last: bool = False) -> NDArray[np.void]:
        row = self.draft.row
        self.source.tick(self.draft)
        self.source.finish(self.draft, Mark(0.0, last))
        self.ring.append_frame(0, 0)
        self.ring.free_to(self.ring.head_seq)
        slot = self.ring.next_slot()
        assert slot is not None
        self.draft = Draft(slot.row, slot.pictures)
        self.source.stage(self.draft)
        return row.copy()

    def ticks(self, count: int) -> list[tuple[float, float]]:
        return [tuple(self.tick()["action"].tolist()) for _ in range(count)]


def test_chunks_are_used_to_their_end_and_asked_for_in_time() -> None:
    policy = Counting(rows=4)
    bench = Bench(policy)
    bench.begin("pick")
    # More ticks than the ring has slots.
    assert bench.ticks(60) == [(tick, tick // 4 * 4) for tick in range(60)]
    assert policy.seen == list(range(0, 61, 4))
    bench.begin("place")
    assert bench.ticks(4) == [(tick, 0) for tick in range(4)]
    assert policy.tasks == ["pick", "place"]


def test_a_policy_with_a_memory_sees_every_observation_and_catches_up() -> None:
    policy = Counting(rows=1, by_chunks=False, needs_every=True)
    bench = Bench(policy)
    bench.begin()
    assert bench.ticks(3) == [(tick, tick) for tick in range(3)]
    bench.client.busy = True
    assert bench.ticks(3) == [(3, 3), (3, 3), (3, 3)]
    bench.client.busy = False
    bench.client.wake()
    assert bench.ticks(2) == [(6, 6), (7, 7)]
    assert policy.seen == list(range(9))


def test_a_policy_that_is_a_second_behind_begins_anew() -> None:
    policy = Counting(rows=1, by_chunks=False, needs_every=True)
    bench = Bench(policy)
    bench.begin("pick")
    bench.client.busy = True
    bench.ticks(FPS + 2)
    bench.client.busy = False
    bench.client.wake()
    assert bench.ticks(1) == [(FPS + 2, FPS + 2)]
    assert policy.seen == [0, FPS + 2, FPS + 3]
    assert policy.tasks == ["pick", "pick"]


@pytest.mark.parametrize("needs_every", [True, False])
def test_a_policy_begins_anew_after_the_ring_has_come_round(needs_every: bool) -> None:
    policy = Counting(rows=1, by_chunks=False, needs_every=needs_every)
    bench = Bench(policy)
    bench.env.person = Intervening(Person({40, 41}), bench.actor)
    bench.begin("pick")
    ticks = 40
    assert bench.ring.slot_count < ticks, "the episode's beginning is overwritten by frames"
    bench.ticks(ticks)
    assert bench.ticks(3) == [(50, 50), (50, 50), (42, 42)]
    assert policy.tasks == ["pick"] * 3, "once for the episode, and after each frame by a person"
    if needs_every:
        bench.client.busy = True
        bench.ticks(FPS + 2)
        bench.client.busy = False
        bench.client.wake()
        assert bench.ticks(1) == [(43 + FPS + 2, 43 + FPS + 2)]
        assert policy.tasks == ["pick"] * 4


def test_a_policy_with_a_memory_that_missed_what_the_ring_had_begins_anew() -> None:
    policy = Counting(rows=1, by_chunks=False, needs_every=True)
    bench = Bench(policy, ring_s=0.1, fps=40)
    bench.begin("pick")
    bench.ticks(2)
    bench.client.busy = True
    missed = bench.ring.slot_count + 1
    assert missed < 40, "the ring holds less than the second after which it would begin anew in any case"
    bench.ticks(missed)
    bench.client.busy = False
    bench.client.wake()
    assert bench.ticks(1) == [(2 + missed, 2 + missed)]
    assert policy.tasks == ["pick", "pick"]


def test_a_policy_without_a_memory_leaves_out_what_is_past() -> None:
    policy = Counting(rows=1, by_chunks=False)
    bench = Bench(policy)
    bench.begin()
    bench.client.busy = True
    bench.ticks(3)
    bench.client.busy = False
    bench.client.wake()
    assert bench.ticks(1) == [(3, 3)]
    assert policy.seen == [0, 3, 4]


@pytest.mark.parametrize(("neutral", "held"), [(None, (3, 0)), ([7, 7], (7, 7))])
def test_without_an_action_the_frame_is_held_and_counted(neutral: Any, held: tuple[float, float]) -> None:
    bench = Bench(Counting(rows=4), neutral=neutral)
    bench.begin()
    bench.client.busy = True
    rows = [bench.tick() for _ in range(5)]
    bench.client.busy = False
    bench.client.wake()
    rows += [bench.tick(last=True)]
    assert [tuple(row["action"].tolist()) for row in rows] == [(0, 0), (1, 0), (2, 0), (3, 0), held, (5, 5)]
    told = [tuple(int(row[stream.key].item()) for stream in TELEMETRY[:3]) for row in rows]
    assert told == [*[(Acted.POLICY, 1, 0)] * 4, (Acted.HELD, 0, -1), (Acted.POLICY, 2, 5)]
    assert bench.log == ["policy: of 6 frames 1 held because no action was ready, 0 by a person"]


def test_a_dead_policy_is_held_at_once_said_once_and_ends_the_episode() -> None:
    bench = Bench(Counting(rows=4), max_held_s=0.3)
    bench.begin()
    (last,) = bench.ticks(1)
    bench.client.dead = "the policy's process ended with code -9"
    assert bench.ticks(2) == [last, last], "what it had planned is not used up"
    with pytest.raises(SourceError, match=r"ended with code -9: nothing to do for 3 frames in a row"):
        bench.tick()
    assert bench.log == ["the policy's process ended with code -9; holding, the episode is aborted after 0.3 s"]
    bench.source.close()
    assert bench.env.closed
    assert bench.log[-1] == "released"


def test_a_policy_that_is_dead_at_the_beginning() -> None:
    bench = Bench(Counting())
    bench.client.dead = "the policy's process ended with code 1: RuntimeError: out of memory"
    with pytest.raises(SourceError, match=r"out of memory; the session ends"):
        bench.begin()


class Person:
    """Moves all the time; says so itself in the ticks `says`."""

    def __init__(self, says: set[int]) -> None:
        self._says, self._tick = says, -1

    def reset(self) -> None: ...

    def act(self, observation: Any, info: Any) -> TeleopAction:
        self._tick += 1
        return TeleopAction(np.array([50.0, 50.0]), is_intervention=self._tick in self._says)

    def close(self) -> None: ...


def test_a_person_takes_over_and_what_was_planned_before_is_forgotten() -> None:
    policy = Counting(rows=8)
    bench = Bench(policy)
    bench.env.person = Intervening(Person({2, 3}), bench.actor)
    bench.begin()
    rows = [bench.tick() for _ in range(6)]
    assert [tuple(row["action"].tolist()) for row in rows] == [(0, 0), (1, 0), (50, 50), (50, 50), (4, 4), (5, 4)]
    assert [int(row["onbeat.policy.acted"].item()) for row in rows] == [1, 1, 2, 2, 1, 1]
    bench.takeovers += 1
    assert bench.ticks(2) == [(50, 50), (50, 50)]
    bench.takeovers += 1
    assert bench.ticks(2) == [(8, 8), (9, 8)]
    bench.takeovers += 1
    bench.begin()  # a new episode begins with the policy, whoever had the last one
    assert bench.ticks(1) == [(0, 0)]


def test_a_memory_holds_no_more_rows_than_it_has() -> None:
    policy = Counting(rows=MAX_ROWS + 5)
    bench = Bench(policy)
    bench.begin()
    assert bench.client.memory is not None
    answer = bench.client.memory.read_newest()
    assert answer is not None
    assert answer.actions.shape == (MAX_ROWS, 2)


def test_the_session_can_be_ended_while_the_first_answer_is_awaited() -> None:
    bench = Bench(Counting())
    bench.client.busy = True
    bench.abort.ask("ended by SIGTERM")
    with pytest.raises(SessionAborted, match="ended by SIGTERM"):
        bench.begin()
