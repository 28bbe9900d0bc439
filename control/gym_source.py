"""Any gymnasium environment as a source of frames: (o_t, a_t, r_{t+1}, done_{t+1}).

A tick acts on the observation in hand. What the step returns is the next frame's observation: it is checked in the
tick and copied in `stage`, before the environment may reuse its buffers in the next step.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import gymnasium
import numpy as np
from numpy.typing import ArrayLike, NDArray

from control.clock import Clock
from control.errors import EnvironmentRefused, SourceError
from control.gym_actions import ActionForm
from control.gym_declared import declared, declared_names, refuse_auto_reset
from control.gym_info import flag, read_info, scalar
from control.gym_make import one_line
from control.gym_spaces import check_keys, check_ranges, observation_leaves
from control.source import Draft, Mark, Observation, Outcome
from control.teleoperator import TeleopAction, Teleoperator
from transport.schema import Kind, Schema, Stream

_SEED_STREAMS = (
    Stream("next.reward", "float32", (1,)),
    Stream("next.done", "bool", (1,)),
    Stream("complementary_info.discrete_penalty", "float32", (1,), names=("discrete_penalty",)),
)


class Policy(Protocol):
    """What acts without a person. If it has a `reset()`, that is called before each episode."""

    def select_action(self, observation: Any) -> Any:
        """The action for an observation as the environment delivers it: numpy or torch, batched by 1 or not."""


class GymSource:
    """Implements `control.source.Source` for a gymnasium environment.

    Who acts, in this order: the teleoperator where it gives an action, the policy, else the neutral action is passed.
    The `action` column holds what acted: when `info` reports an intervention of the environment's own, that action.
    The policy is asked in every tick, so that its queue of actions stays in step with time under an intervention.

    Args:
        env: its observation and action spaces declare the columns (see `control.gym_spaces`, `control.gym_actions`).
            May declare in its metadata `neutral_action`, `steps_after_end`, `action_names`, `state_names`.
        task: what the episodes show, in words.
        action_names: names of the action's elements; None takes the environment's, or HIL-SERL's where they fit.
        use_gripper: whether HIL-SERL's names include a gripper; None takes what the action space has.
        neutral_action: passed while nobody acts. None takes the environment's own `neutral_action`, from its
            attribute or its metadata. "zeros" is for environments that replace the action anyway: a gripper may read
            0 as close.
        may_step_after_end: None takes the environment's `steps_after_end`, False if undeclared.
        fill_seed_columns: whether there are `next.reward`, `next.done`, `complementary_info.discrete_penalty`.
        seed: of the first reset; the following ones go on from there.

    Raises:
        EnvironmentRefused: the environment cannot be recorded as it is.
        SchemaError: it names something that LeRobot cannot hold.
    """

    def __init__(
        self,
        env: gymnasium.Env[Any, Any],
        *,
        clock: Clock,
        policy: Policy | None = None,
        teleoperator: Teleoperator | None = None,
        task: str = "",
        action_names: tuple[str, ...] | None = None,
        use_gripper: bool | None = None,
        neutral_action: ArrayLike | Literal["zeros"] | None = None,
        may_step_after_end: bool | None = None,
        fill_seed_columns: bool = True,
        seed: int | None = None,
    ) -> None:
        refuse_auto_reset(env)
        self._env = env
        self._clock = clock
        self._policy = policy
        self._teleoperator = teleoperator
        self.task = task
        names = action_names if action_names is not None else declared_names(env, "action_names")
        self._actions = ActionForm(env.action_space, names, use_gripper)
        self._leaves = observation_leaves(env.observation_space, declared_names(env, "state_names"))
        self._neutral = self._neutral_action(neutral_action)
        after_end = declared(env, "steps_after_end") if may_step_after_end is None else may_step_after_end
        self._may_step_after_end = bool(after_end)
        self._fills_seed_columns = fill_seed_columns
        seed_streams = _SEED_STREAMS if fill_seed_columns else ()
        self._schema = Schema((*(leaf.stream for leaf in self._leaves), self._actions.stream, *seed_streams))
        self._next_seed = seed
        self._observation: Observation = None
        self._arrays: list[NDArray[Any]] = []
        self._info: Mapping[Any, Any] = {}
        self._closed = False

    @property
    def schema(self) -> Schema:
        return self._schema

    @property
    def may_step_after_end(self) -> bool:
        return self._may_step_after_end

    @property
    def robot_type(self) -> str | None:
        return None

    def begin(self, draft: Draft) -> None:
        """See `Source.begin`; also resets policy and teleoperator."""
        for name, actor in (("policy", self._policy), ("teleoperator", self._teleoperator)):
            reset = getattr(actor, "reset", None)
            if reset is not None:
                with _failing_as(f"the {name}'s reset"):
                    reset()
        with _failing_as("env.reset"):
            observation, info = self._env.reset(seed=self._next_seed)
        self._next_seed = None
        self._look(observation, info)
        check_keys(observation, self._leaves)
        check_ranges(self._leaves, self._arrays)
        self.stage(draft)

    def tick(self, draft: Draft) -> Outcome:
        """See `Source.tick`."""
        sections_ns: dict[str, int] = {}
        choice, action = self._decide(sections_ns)
        # Recorded before the step: the environment may change the array that it is given.
        self._record(draft, action)

        handed = self._actions.for_env(action.copy())
        sent_ns = self._clock.now_ns()
        with _failing_as("env.step"):
            observation, reward, terminated, truncated, info = self._env.step(handed)
        sections_ns["env.step"] = self._clock.now_ns() - sent_ns

        self._look(observation, info)
        with _failing_as("reading the info of env.step"):
            said = read_info(info)
        if said.intervention is not None:
            self._record(draft, self._actions.read(said.intervention, "the environment's intervention"))
        if self._fills_seed_columns:
            draft.row["complementary_info.discrete_penalty"] = said.discrete_penalty
        overridden = choice.action is not None and self._policy is not None
        with _failing_as("reading the reward and the end of env.step"):
            return Outcome(
                action_sent_ns=sent_ns,
                reward=scalar(reward),
                terminated=flag(terminated) or said.terminate,
                truncated=flag(truncated),
                success=said.success or choice.success,
                failure=said.failure or choice.failure,
                rerecord=said.rerecord or choice.rerecord,
                stop=choice.stop,
                is_intervention=said.is_intervention or choice.is_intervention or overridden,
                sections_ns=sections_ns,
            )

    def finish(self, draft: Draft, mark: Mark) -> None:
        """See `Source.finish`."""
        if self._fills_seed_columns:
            draft.row["next.reward"] = mark.reward
            draft.row["next.done"] = mark.done

    def stage(self, draft: Draft) -> None:
        """See `Source.stage`: copies the observation in hand."""
        pictures = iter(draft.pictures)
        for leaf, array in zip(self._leaves, self._arrays, strict=True):
            target = draft.row[leaf.stream.key] if leaf.stream.kind is Kind.ROW else next(pictures)
            np.copyto(target, array, casting="same_kind")

    def idle(self) -> None:
        """See `Source.idle`: a simulated environment stands still."""

    def close(self, *, failed: bool = False) -> None:
        """See `Source.close`; also closes the teleoperator."""
        if self._closed:
            return
        self._closed = True
        try:
            with _failing_as("env.close"):
                self._env.close()
        finally:
            if self._teleoperator is not None:
                self._teleoperator.close()

    def _decide(self, sections_ns: dict[str, int]) -> tuple[TeleopAction, NDArray[Any]]:
        choice, action = TeleopAction(), self._neutral
        if self._policy is not None:
            started_ns = self._clock.now_ns()
            with _failing_as("the policy"):
                action = self._actions.read(self._policy.select_action(self._observation), "the policy")
            sections_ns["policy"] = self._clock.now_ns() - started_ns
        if self._teleoperator is not None:
            started_ns = self._clock.now_ns()
            with _failing_as("the teleoperator"):
                choice = self._teleoperator.act(self._observation, self._info)
                if choice.action is not None:
                    action = self._actions.read(choice.action, "the teleoperator")
            sections_ns["teleop"] = self._clock.now_ns() - started_ns
        if action is None:
            raise SourceError(
                "the teleoperator gave no action, and the environment declares no neutral_action to pass instead"
            )
        return choice, action

    def _look(self, observation: Observation, info: Mapping[Any, Any]) -> None:
        self._observation = observation
        self._info = info
        self._arrays = [leaf.read(observation) for leaf in self._leaves]

    def _record(self, draft: Draft, action: NDArray[Any]) -> None:
        np.copyto(draft.row["action"], action.reshape(self._actions.stream.shape), casting="same_kind")

    def _neutral_action(self, given: ArrayLike | Literal["zeros"] | None) -> NDArray[Any] | None:
        if isinstance(given, str):
            if given != "zeros":
                raise EnvironmentRefused(f"neutral_action {given!r} found, expected numbers or 'zeros'")
            return self._actions.zeros()
        neutral = given if given is not None else declared(self._env, "neutral_action")
        if neutral is not None:
            try:
                return self._actions.read(neutral, "neutral_action")
            except SourceError as error:
                raise EnvironmentRefused(str(error)) from error
        if self._policy is None and self._teleoperator is None:
            raise EnvironmentRefused(
                "nobody acts: give a policy or a teleoperator, or declare metadata['neutral_action'] in the "
                "environment (the action that moves nothing; zeros may close a gripper)"
            )
        return None


@contextmanager
def _failing_as(what: str) -> Iterator[None]:
    """Turn whatever the environment, the policy or the teleoperator raises into the loop's error."""
    try:
        yield
    except SourceError:
        raise
    except Exception as error:
        raise SourceError(f"{what} failed: {one_line(error)}") from error
