"""From flags to a source whose actions come from a trained policy. Runs in the control process."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from control import build
from control.affinity import others_cpus
from control.clock import SystemClock
from control.config import RecordConfig
from control.gym_declared import declared
from control.gym_source import GymSource
from control.lerobot_flags import RobotRecordConfig
from control.policy_actor import PolicyActor
from control.policy_client import PolicyClient
from control.policy_robot import RobotPilot
from control.policy_source import EnvPolicy, Intervening, PolicySource
from control.session import SessionSettings
from control.session_plan import SessionPlan
from control.source import Source
from transport.errors import UsageError
from transport.link import Link


def build_env(config: RecordConfig, link: Link) -> tuple[Source, SessionPlan, SessionSettings]:
    """Make the environment and load the policy, which imports its libraries meanwhile.

    Args:
        link: to whoever talks to the operator.

    Raises:
        UsageError: a flag's value that cannot be; says which and what would do.
        OnbeatError: the policy's process died.
    """
    if config.policy.hold:
        raise UsageError("--policy.hold found with --env.*; it is for robots, an environment says its neutral_action")
    log = _offering(link)
    client = start(config, log)
    with contextlib.ExitStack() as undo:
        undo.callback(client.close)
        env, fps = build.environment(config)
        actor = PolicyActor(client, fps, log)
        policy = EnvPolicy(actor, env.action_space, declared(env, "neutral_action"))
        person = build.teleoperator(config, env, fps)
        inner = GymSource(
            env,
            clock=SystemClock(),
            policy=policy,
            teleoperator=None if person is None else Intervening(person, actor),
            task=config.dataset.single_task,
            seed=config.env.seed,
        )
        undo.callback(inner.close)
        client.await_configured()
        client.load(inner.schema, fps=fps, robot_type=inner.robot_type, rename_map=config.rename_map, ahead=0)
        source = PolicySource(inner, actor, acted=policy.acted, log=log, release=client.close)
        made = source, build.plan_of(config, source, fps), _with_policy(build.settings_of(config, fps), source, actor)
        undo.pop_all()
    return made


def build_robot(
    config: RobotRecordConfig, argv: Sequence[str], link: Link
) -> tuple[Source, SessionPlan, SessionSettings]:
    """Load the policy, then connect a lerobot robot, and its teleoperator if there is one.

    Args:
        argv: lerobot's own flags, `--robot.*` and `--teleop.*`.
        link: to whoever talks to the operator.

    Raises:
        UsageError: a flag's value that cannot be, or lerobot is not installed.
        SourceError: a device does not answer.
        OnbeatError: the policy's process died.
    """
    log = _offering(link)
    fps = config.dataset.fps or 0
    client = start(config, log)
    with contextlib.ExitStack() as undo:
        undo.callback(client.close)
        actor = PolicyActor(client, fps, log)
        pilot = RobotPilot(config, client, actor, fps)
        inner, plan, settings = build.build_robot(config, argv, link, pilot)
        source = PolicySource(inner, actor, look=partial(pilot.look, inner), log=log, release=client.close)
        undo.pop_all()
    return source, plan, _with_policy(settings, source, actor)


def start(config: RecordConfig, log: Callable[[str], None]) -> PolicyClient:
    """Start the process of the policy that `config` names."""
    cpus = others_cpus(config.timing)
    return PolicyClient(config.policy, None if cpus is None else sorted(cpus), log)


def _with_policy(settings: SessionSettings, source: PolicySource, actor: PolicyActor) -> SessionSettings:
    """The actor is told of the session's log, of the key that takes over, and of every episode's start."""
    return replace(
        settings,
        join=lambda ring, board: actor.join(ring, board.takeovers),
        starts=lambda draft: source.starts(draft, settings.abort.check),
    )


def _offering(link: Link) -> Callable[[str], None]:
    def offer(text: str) -> None:
        link.offer({"log": text})

    return offer
