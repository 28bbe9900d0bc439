"""HIL-SERL's transitions, without lerobot: what becomes of them in a frame, and what ends an episode."""

from __future__ import annotations

from enum import Enum
from typing import Any

import numpy as np
import pytest
import torch

from control.clock import SystemClock
from control.episode_rules import EpisodeConfig, EpisodeRules, OperatorEvents
from control.errors import EnvironmentRefused, ObservationChangedError, SourceError
from control.hil_features import GYM_ACTION, columns
from control.hil_source import HilSource
from control.source import Draft
from transport.records import EndReason


class Events(Enum):
    """As lerobot's TeleopEvents."""

    SUCCESS = "success"
    FAILURE = "failure"
    RERECORD_EPISODE = "rerecord_episode"
    IS_INTERVENTION = "is_intervention"


QUIET = {Events.SUCCESS: False, Events.RERECORD_EPISODE: False, Events.IS_INTERVENTION: False}


def transition(step: int, **changes: Any) -> dict[str, Any]:
    observation = {
        "observation.images.front": torch.full((1, 3, 4, 6), step / 100),
        "observation.state": torch.full((1, 2), float(step)),
        "shoulder.pos": 1.5,
    }
    action = torch.full((1, 4), float(step))
    return {
        "observation": observation,
        "action": action,
        "reward": 0.0,
        "done": False,
        "truncated": False,
        "info": QUIET,
        "complementary_data": {"teleop_action": action[0] / 8},
        **changes,
    }


class Steps:
    """A rollout of given transitions."""

    sent_ns = returned_ns = 7

    def __init__(self, *changes: dict[str, Any], silent_resets: int = 0) -> None:
        self.changes = list(changes)
        self.silent_resets = silent_resets

    def reset(self) -> dict[str, Any]:
        self.step_number = 0
        self.silent_resets -= 1
        if self.silent_resets >= 0:
            raise ConnectionError("no status packet")
        return transition(0)

    def step(self) -> dict[str, Any]:
        self.step_number += 1
        return transition(self.step_number, **self.changes[self.step_number - 1])

    def close(self, *, failed: bool) -> None: ...


def source_of(
    *changes: dict[str, Any], counts_success: bool = True, use_gripper: bool = True, silent_resets: int = 0
) -> HilSource:
    return HilSource(
        Steps(*changes, silent_resets=silent_resets),
        GYM_ACTION,
        transition(0),
        clock=SystemClock(),
        use_gripper=use_gripper,
        counts_success=counts_success,
        log=lambda text: None,
    )


def play(source: HilSource, steps_after_success: int = 1) -> tuple[list[Draft], EndReason | None]:
    """Tick until the rules end the episode, as the loop does."""
    rules = EpisodeRules(EpisodeConfig(None, steps_after_success, None, source.may_step_after_end))
    drafts = [blank(source)]
    source.begin(drafts[0])
    while rules.ended is None:
        outcome = source.tick(drafts[-1])
        source.finish(drafts[-1], rules.observe(outcome, OperatorEvents()).mark)
        drafts.append(blank(source))
        source.stage(drafts[-1])
    return drafts[:-1], rules.ended


def blank(source: HilSource) -> Draft:
    pictures = [np.zeros(stream.shape, stream.dtype) for stream in source.schema.pictures]
    return Draft(np.zeros((), source.schema.row_dtype), pictures)


def test_a_frame_pairs_the_action_with_the_observation_before_it() -> None:
    penalty = {"complementary_data": {"discrete_penalty": -0.5}}
    drafts, reason = play(source_of({}, penalty, {"truncated": True, "reward": torch.tensor([0.25])}))
    assert reason is EndReason.TRUNCATED
    assert [draft.row["observation.state"].tolist() for draft in drafts] == [[0, 0], [1, 1], [2, 2]]
    assert [float(draft.pictures[0][0, 0, 0]) for draft in drafts] == [np.float32(n / 100) for n in range(3)]
    # Without the teleoperator's, the action that reached the environment.
    assert [draft.row["action"].tolist() for draft in drafts] == [[1 / 8] * 4, [2] * 4, [3 / 8] * 4]
    assert [draft.row["next.reward"].item() for draft in drafts] == [0, 0, 0.25]
    assert [draft.row["next.done"].item() for draft in drafts] == [False, False, True]
    assert [draft.row["complementary_info.discrete_penalty"].item() for draft in drafts] == [0, -0.5, 0]


SUCCESS = {"info": QUIET | {Events.SUCCESS: True}, "reward": 1.0}
ENDING = SUCCESS | {"done": True}


@pytest.mark.parametrize(
    ("changes", "steps", "counts", "rewards", "reason"),
    [
        ([{}, ENDING], 1, True, [0, 1], EndReason.SUCCESS),
        ([{}, ENDING, {}, {}], 3, True, [0, 1, 1, 1], EndReason.SUCCESS),
        # As gym_hil's wrapper says it; the pipeline beside it knows of nothing.
        ([{"info": QUIET | {"next.success": True}, "reward": 1.0, "done": True}], 1, True, [1], EndReason.SUCCESS),
        # terminate_on_success: false
        ([SUCCESS, {}, SUCCESS, {"truncated": True}], 1, False, [1, 0, 1, 0], EndReason.TRUNCATED),
        ([{}, {"done": True}], 3, True, [0, 0], EndReason.TERMINATED),
        ([{}, {"info": QUIET | {Events.FAILURE: True}}], 1, True, [0, 0], EndReason.FAILURE),
        ([ENDING, {"info": QUIET | {Events.RERECORD_EPISODE: True}}], 3, True, [1, 1], EndReason.RERECORD),
        ([{"info": QUIET | {"rerecord_episode": True}, "done": True}], 1, True, [0], EndReason.RERECORD),
        ([{"info": {"rerecord_episode": True} | QUIET}], 1, True, [0], EndReason.RERECORD),
    ],
)
def test_ends(changes: list[dict[str, Any]], steps: int, counts: bool, rewards: list[float], reason: EndReason) -> None:
    drafts, found = play(source_of(*changes, counts_success=counts), steps)
    assert found is reason
    assert [draft.row["next.reward"].item() for draft in drafts] == rewards


def test_no_gripper_no_penalty() -> None:
    features = source_of({}, use_gripper=False).schema.features()
    assert list(features) == ["action", "next.reward", "next.done", "observation.images.front", "observation.state"]
    assert features["observation.images.front"]["names"] == ["channels", "height", "width"]


def test_a_bus_that_is_silent_while_the_robot_is_reset_is_asked_again() -> None:
    drafts, reason = play(source_of({"done": True}, silent_resets=2))
    assert (len(drafts), reason) == (1, EndReason.TERMINATED)
    with pytest.raises(SourceError, match="the environment's reset failed: ConnectionError: no status packet"):
        play(source_of({"done": True}, silent_resets=3))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (
            {"complementary_data": {"teleop_action": torch.zeros(3)}},
            SourceError,
            r"shape \(3,\) found, expected \(4,\)",
        ),
        ({"observation": {}}, ObservationChangedError, "'observation.images.front' is missing"),
        ({"reward": "much"}, SourceError, "reading the environment's step failed"),
    ],
)
def test_what_changes_under_way_ends_the_episode(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        play(source_of(changes))


@pytest.mark.parametrize(
    ("action", "observation", "message"),
    [
        (GYM_ACTION, {"observation.environment_state": torch.zeros(1, 3)}, "'observation.environment_state'"),
        ({"shoulder.pos": float}, {}, "expected dtype, shape and names"),
        (GYM_ACTION | {"names": {"motors": ["a"]}}, {}, "expected dtype, shape and names"),
    ],
)
def test_what_has_no_column_is_refused(action: Any, observation: Any, message: str) -> None:
    with pytest.raises(EnvironmentRefused, match=message):
        columns(action, observation, use_gripper=True)
