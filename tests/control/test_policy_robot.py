"""A policy in the place of a robot's teleoperator: what is sent when it acts, holds, and when a person takes over."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
import pytest

from control.config import PolicyFlags, RecordConfig
from control.errors import SourceError
from control.policy_robot import RobotDriver, RobotPilot
from control.source import Draft
from transport.schema import Stream

NAMES = ("joint.pos", "base.vel")
STOPPED = frozenset(["base.vel"])


class Actor:
    """Plays back what the policy would do."""

    def __init__(self, *rows: list[float] | None) -> None:
        self.rows = list(rows)
        self.person = self.resetting = False
        self.interventions = 0

    def choose(self, *, person: bool) -> np.ndarray | None:
        row = None if person else self.rows.pop(0)
        return None if row is None else np.array(row)

    def intervened(self) -> None:
        self.interventions += 1


class Leader:
    class Event(Enum):
        IS_INTERVENTION = "is_intervention"

    def __init__(self) -> None:
        self.action: dict[str, float] = {"joint.pos": 10.0, "base.vel": 1.0}
        self.says = False
        self.broken = False
        self.asked: list[str] = []
        self.felt: list[Any] = []

    def get_action(self) -> dict[str, float]:
        self.asked.append("action")
        if self.broken:
            raise TimeoutError
        return dict(self.action)

    def get_teleop_events(self) -> dict[Enum, bool]:
        self.asked.append("events")
        return {self.Event.IS_INTERVENTION: self.says}

    def send_feedback(self, observation: Any) -> None:
        self.felt.append(observation)


class Client:
    def await_configured(self) -> None: ...

    def load(self, *streams: Any, **options: Any) -> None: ...


def tick(driver: RobotDriver, observation: dict[str, float] | None = None) -> tuple[float, ...]:
    action = driver.process((driver.get_action(), {} if observation is None else observation))
    assert tuple(action) == NAMES
    return tuple(action.values())


def driver_of(actor: Actor, leader: Leader | None = None, handover_ticks: int = 0) -> RobotDriver:
    return RobotDriver(actor, leader, NAMES, lambda transition: transition[0], handover_ticks, STOPPED)  # type: ignore[arg-type]


def test_held_targets_stay_and_held_velocities_stop() -> None:
    driver = driver_of(Actor([1, 2], None, None, [3, 4]))
    assert [tick(driver) for _ in range(4)] == [(1, 2), (1, 0), (1, 0), (3, 4)]
    driver.send_feedback({})


def test_before_its_first_action_a_robot_stays_where_it_is() -> None:
    driver = driver_of(Actor(None, None))
    assert tick(driver, {"joint.pos": 5.0, "base.vel": 3.0}) == (5, 0)
    assert tick(driver, {"joint.pos": 6.0}) == (5, 0)
    with pytest.raises(
        SourceError, match=r"cannot be held before its first action: its observation has no 'joint.pos'"
    ):
        tick(driver_of(Actor(None)), {"base.vel": 3.0})


def test_a_person_takes_over_by_key_step_by_step() -> None:
    actor, leader = Actor([0, 0], [7, 0]), Leader()
    driver = driver_of(actor, leader, handover_ticks=3)
    assert tick(driver) == (0, 0)
    actor.person = True
    assert [tick(driver)[0] for _ in range(5)] == [2.5, 5, 7.5, 10, 10]
    actor.person = False
    assert tick(driver) == (7, 0)
    assert actor.interventions == 5
    actor.person = True
    assert tick(driver)[0] == 7 + 3 / 4


def test_a_device_that_says_so_itself_takes_over() -> None:
    actor, leader = Actor([0, 0], [0, 0]), Leader()
    driver = driver_of(actor, leader)
    leader.says = True
    assert tick(driver) == (10, 1)
    leader.says = False
    assert tick(driver) == (0, 0)
    assert actor.interventions == 1
    driver.send_feedback("torque")
    assert leader.felt == ["torque"]


def test_in_the_reset_phase_the_leader_leads_and_nothing_is_an_intervention() -> None:
    actor, leader = Actor(), Leader()
    actor.resetting = True
    assert tick(driver_of(actor, leader)) == (10, 1)
    assert actor.interventions == 0
    # Without anybody, the robot stays.
    assert tick(driver_of(actor), {"joint.pos": 5.0}) == (5, 0)


def test_a_leader_that_cannot_be_read_holds() -> None:
    actor, leader = Actor([4, 0]), Leader()
    driver = driver_of(actor, leader)
    tick(driver)
    actor.person = True
    leader.broken = True
    with pytest.raises(TimeoutError):
        driver.get_action()
    # What the source uses again is the policy's empty action of the tick before.
    assert tuple(driver.process(({}, {})).values()) == (4, 0)


def test_the_policy_does_not_act_for_a_person_whose_teleoperator_says_nothing() -> None:
    actor, leader = Actor([4, 2], [5, 2], [6, 2]), Leader()
    driver = driver_of(actor, leader)
    assert tick(driver) == (4, 2)
    actor.person, leader.action = True, {}  # as lerobot's phone does while its app is not on
    assert tick(driver) == (4, 0)
    assert actor.interventions == 0
    actor.person = False
    assert tick(driver) == (5, 2)


@pytest.mark.parametrize("way", ["at the start gate", "by key in frame 0", "by the device in frame 0"])
def test_before_any_action_a_leader_is_approached_from_where_the_robot_is(way: str) -> None:
    actor, leader = Actor(), Leader()
    actor.resetting, actor.person = way == "at the start gate", way == "by key in frame 0"
    leader.says = way == "by the device in frame 0"
    driver = driver_of(actor, leader, handover_ticks=3)
    seen = [{"joint.pos": at} for at in (2.0, 3.5, 5.0, 7.0)]
    assert [tick(driver, observation)[0] for observation in seen] == [4, 6, 8, 10]


def test_without_an_observation_of_a_position_a_leader_is_not_jumped_to() -> None:
    actor, leader = Actor(), Leader()
    actor.person = True
    with pytest.raises(SourceError, match=r"has no 'joint.pos', .* --policy.handover_s=0 if"):
        tick(driver_of(actor, leader, handover_ticks=3), {"ee.x": 1.0})
    assert tick(driver_of(actor, leader, handover_ticks=0), {"ee.x": 1.0}) == (10, 1)


@pytest.mark.parametrize("wanted", [0.0, 4.0])
def test_a_persons_velocity_is_not_approached(wanted: float) -> None:
    actor, leader = Actor([0, 8]), Leader()
    driver = driver_of(actor, leader, handover_ticks=3)
    assert tick(driver) == (0, 8)
    actor.person, leader.action = True, {"joint.pos": 10.0, "base.vel": wanted}
    assert tick(driver) == (2.5, wanted)


class Base:
    """Stands for the robot's source before an episode's first tick."""

    def __init__(self) -> None:
        self.did: list[Any] = []

    def send(self, choose: Any) -> None:
        self.did.append(choose({"joint.pos": 0.0, "base.vel": 8.0}))

    def look(self, draft: Draft) -> None:
        self.did.append("looked")


@pytest.mark.parametrize(
    ("names", "led", "did"),
    [
        (NAMES, True, [{"joint.pos": 2.5, "base.vel": 0.0}, "looked"]),
        (NAMES, False, ["looked"]),  # nobody has moved it, and where it is need not be known
        (NAMES[:1], True, ["looked"]),
    ],
    ids=["with a base", "not moved yet", "without a base"],
)
def test_a_base_is_stopped_before_the_first_answer_is_waited_for(
    names: tuple[str, ...], led: bool, did: list[Any]
) -> None:
    actor, leader, base = Actor(), Leader(), Base()
    config = RecordConfig(policy=PolicyFlags("x", handover_s=0.3))
    pilot = RobotPilot(config, Client(), actor, 10)  # type: ignore[arg-type]
    pilot.load([Stream("action", "float32", (len(names),), names=names)], "rover")
    driver = pilot.driver(leader, names, lambda transition: transition[0])
    actor.resetting = True
    if led:
        driver.process((driver.get_action(), {"joint.pos": 0.0}))  # the leader drives in the reset phase
    pilot.look(base, Draft(np.zeros((), "f4"), []))
    assert base.did == did


def test_a_device_is_asked_once_a_tick_for_its_action_and_then_for_its_events() -> None:
    actor, leader = Actor([0, 0]), Leader()
    driver = driver_of(actor, leader)
    tick(driver)
    actor.person = True
    tick(driver)
    assert leader.asked == ["action", "events", "action"]


def test_a_device_without_events_is_asked_only_when_it_leads() -> None:
    actor, leader = Actor([0, 0]), Leader()
    leader.has_events = False  # type: ignore[attr-defined]  # as a stand-in for a device that has none
    driver = driver_of(actor, leader)
    tick(driver)
    assert leader.asked == []
    actor.person = True
    tick(driver)
    assert leader.asked == ["action"]
