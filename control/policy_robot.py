"""A policy in the place of a lerobot robot's teleoperator; the teleoperator, if there is one, may take over."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import Any, Protocol

from control.config import RecordConfig
from control.errors import SourceError
from control.policy_actor import PolicyActor
from control.policy_client import PolicyClient
from control.policy_hold import stopped
from control.source import Draft
from transport.schema import Schema, Stream

RobotAction = Mapping[str, Any]


class Looking(Protocol):
    """What is used of a robot's source before an episode's first tick."""

    def send(self, choose: Callable[[dict[str, Any]], Any]) -> None: ...

    def look(self, draft: Draft) -> None: ...


class RobotDriver:
    """What the robot's source takes for its teleoperator and for the teleoperator's pipeline.

    A policy's action goes past that pipeline, as in lerobot's own recorder of policies.

    Args:
        teleop: lerobot's teleoperator, connected by the caller; None where nobody may take over.
        names: of the action's elements, in the dataset's order.
        teleop_action: the teleoperator's pipeline.
        handover_ticks: for so long after a person took over, the robot moves from where it was sent (before any action:
            from where it is) to where the teleoperator stands. Velocities are the person's at once.
        stopped: elements that are 0 while the robot is held; the others keep their last target.

    Attributes:
        device: whose buses are read for an action.
    """

    def __init__(
        self,
        actor: PolicyActor,
        teleop: Any,
        names: Sequence[str],
        teleop_action: Callable[[tuple[Any, Any]], Any],
        handover_ticks: int,
        stopped: frozenset[str],
    ) -> None:
        self._actor, self._teleop, self._names = actor, teleop, tuple(names)
        self._pipeline, self._handover_ticks, self._stopped = teleop_action, handover_ticks, stopped
        self.device: Any = self if teleop is None else teleop
        self._by_person = False
        self._person_ticks = 0
        self._from: RobotAction = {}
        self._last: RobotAction = {}

    def get_action(self) -> RobotAction:
        """The teleoperator's action while a person acts; else nothing, and `process` says what is done."""
        teleop = self._teleop
        leads = teleop is not None and (self._actor.resetting or self._actor.person)
        if not leads and not self._has_events():
            self._by_person = False
            return {}
        # Also when the read fails: the policy does not act for a person.
        self._by_person |= leads
        # Before its events, as in HIL-SERL: drivers learn what is pressed when they are asked for the action.
        action: RobotAction = teleop.get_action()
        self._by_person = leads or self._intervenes()
        return action if self._by_person else {}

    def process(self, transition: tuple[Any, Any]) -> RobotAction:
        """The action that is recorded, from the teleoperator's action and the observation."""
        action, observation = transition
        if self._by_person and action:
            self._last = self._hand_over(self._pipeline((action, observation)), observation)
            if not self._actor.resetting:
                self._actor.intervened()
            return self._last
        self._person_ticks = 0
        row = None if self._actor.resetting else self._actor.choose(person=self._by_person)
        if row is not None:
            self._last = dict(zip(self._names, row.tolist(), strict=True))
        else:
            self._last = self._hold(observation)
        return self._last

    @property
    def has_acted(self) -> bool:
        """Whether the robot was sent anything yet, by anybody."""
        return bool(self._last)

    def stand_still(self, observation: Mapping[str, Any]) -> RobotAction:
        """The action that holds the robot, whoever moved it before."""
        self._person_ticks = 0
        self._last = self._hold(observation)
        return self._last

    def send_feedback(self, observation: Any) -> None:
        """For teleoperators that feel what the robot feels."""
        if self._teleop is not None:
            self._teleop.send_feedback(observation)

    def _has_events(self) -> bool:
        teleop = self._teleop
        return bool(getattr(teleop, "has_events", hasattr(teleop, "get_teleop_events")))

    def _intervenes(self) -> bool:
        """Whether the device itself says so, as gamepads do."""
        told = self._teleop.get_teleop_events()
        return any(on for key, on in told.items() if (key.value if isinstance(key, Enum) else key) == "is_intervention")

    def _hand_over(self, wanted: RobotAction, observation: Mapping[str, Any]) -> RobotAction:
        self._person_ticks += 1
        part = self._person_ticks / (self._handover_ticks + 1)
        if part >= 1:
            return wanted
        if self._person_ticks == 1:
            self._from = self._hold(observation)
        return {
            name: value
            if name in self._stopped or name not in self._from
            else self._from[name] + part * (value - self._from[name])
            for name, value in wanted.items()
        }

    def _hold(self, observation: Mapping[str, Any]) -> RobotAction:
        """The last target, and no velocity; before any target, where the robot is."""
        source, stopped = self._last or observation, self._stopped
        try:
            return {name: 0.0 if name in stopped else float(source[name]) for name in self._names}
        except KeyError as error:
            raise SourceError(
                f"the robot cannot be held before its first action: its observation has no {error}, and where it is "
                "cannot be known; leave --session.start=key away, or say --policy.handover_s=0 if its teleoperator "
                "starts where it is"
            ) from error


class RobotPilot:
    """What the builder of a lerobot robot needs to let a policy act."""

    def __init__(self, config: RecordConfig, client: PolicyClient, actor: PolicyActor, fps: int) -> None:
        self._config, self._client, self._actor, self._fps = config, client, actor, fps
        self._stopped: frozenset[str] = frozenset()
        self._driver: RobotDriver | None = None

    def load(self, streams: Sequence[Stream], robot_type: str) -> None:
        """Load the policy for a recording of these streams; before anything is connected.

        Raises:
            UsageError: there is no such policy, or it does not fit; or how an element of the action is held is not
                known.
        """
        names = next(stream.names for stream in streams if stream.key == "action")
        self._stopped = stopped(names or (), self._config.policy.hold)
        self._client.await_configured()
        self._client.load(
            Schema(tuple(streams)),
            fps=self._fps,
            robot_type=robot_type,
            rename_map=self._config.rename_map,
            ahead=1,
        )

    def driver(self, teleop: Any, names: Sequence[str], teleop_action: Callable[[tuple[Any, Any]], Any]) -> RobotDriver:
        handover_ticks = round(self._config.policy.handover_s * self._fps)
        self._driver = RobotDriver(self._actor, teleop, names, teleop_action, handover_ticks, self._stopped)
        return self._driver

    def look(self, source: Looking, draft: Draft) -> None:
        """Leave an observation in the draft for the policy's first answer.

        A base would drive on until it comes, as the reset phase or the episode before left it: it is stopped first.
        """
        if self._stopped and self._driver is not None and self._driver.has_acted:
            source.send(self._driver.stand_still)
        source.look(draft)
