"""`record_dataset(env, policy, cfg)`: record from a script, with the signature that HIL-SERL's recorder had.

The loop runs in the caller's process and thread, on the caller's environment; supervisor, publisher and writer are
fresh interpreters. They never import the caller's script, so it needs no `if __name__ == "__main__":` guard.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import gymnasium

from control.build import plan_of, settings_of
from control.clock import SystemClock
from control.config import DatasetFlags, EpisodeFlags, RecordConfig
from control.envs import register
from control.errors import SessionAborted, told
from control.gym_declared import declared
from control.gym_make import env_fps
from control.gym_source import GymSource, Policy
from control.naming import supervisor_settings
from control.session import run_session
from control.supervised import settings_to_wire
from transport.dataset_spec import EncoderSpec
from transport.errors import OnbeatError, RefusedError, UsageError
from transport.link import Link, spawn

_DEFAULT_FPS = 30
register()  # so that a script can make the built-in environment


class WrapperConfig(Protocol):
    """What `record_dataset` reads of `cfg.wrapper`."""

    use_gripper: bool
    control_time_s: float


class RecordDatasetConfig(Protocol):
    """What `record_dataset` reads of `cfg`; `docs/record_dataset.md` has a line for each.

    Attributes:
        repo_id: `owner/name` of the dataset.
        dataset_root: its folder, which must not exist yet; None takes lerobot's own place.
        num_episodes: episodes to keep.
        fps: frames per second; 0 or None does not pace, and the dataset gets the environment's render_fps, else 30.
        push_to_hub: upload when the session is over.
        task: what is done, in words.
        number_of_steps_after_success: rows with reward 1.0, the detecting one included.
        wrapper: `use_gripper` (a fourth action name) and `control_time_s` (seconds of an episode at most).
        pretrained_policy_name_or_path: None does not ask the policy for actions.
    """

    repo_id: str
    dataset_root: str | Path | None
    num_episodes: int
    fps: int | None
    push_to_hub: bool
    task: str
    number_of_steps_after_success: int
    wrapper: WrapperConfig
    pretrained_policy_name_or_path: str | None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded.

    Attributes:
        root: the dataset's folder on the writer's machine; empty if nothing was kept.
        missing_frames: rows without a packet in the committed videos, over all cameras.
    """

    root: str
    episodes: int
    frames: int
    missing_frames: int


def record_dataset(env: gymnasium.Env[Any, Any], policy: Policy | None, cfg: RecordDatasetConfig) -> Recorded:
    """Record `cfg.num_episodes` episodes of `env` into a LeRobotDataset.

    Without a policy the action is the environment's own (`info["action_intervention"]`); what is passed to `env.step`
    is then the environment's `neutral_action`, or zeros where it declares none.

    Args:
        env: any gymnasium environment that `control.gym_source.GymSource` takes; it is not closed.
        policy: asked for actions if `cfg.pretrained_policy_name_or_path` is given.
        cfg: see `RecordDatasetConfig`. Optional fields beyond HIL-SERL's: `rgb_encoder` (an `EncoderSpec`), `private`
            and `tags` (of what is uploaded), `writer_address` (of a writer started with `onbeat writer`) and
            `writer_keys` (this recorder's key file).

    Raises:
        UsageError: something asked for that cannot be; nothing was written.
        SourceError: the environment failed; the running episode is aborted, the kept ones stay.
        OnbeatError: the recording failed otherwise, or was not uploaded; what was recorded stays.
    """
    if threading.current_thread() is not threading.main_thread():
        raise UsageError("record_dataset was called in a thread; call it in the main thread, which gets the signals")
    fps = cfg.fps or env_fps(env) or _DEFAULT_FPS
    config = _flags(cfg, fps)
    with_policy = policy is not None and cfg.pretrained_policy_name_or_path is not None
    source = GymSource(
        env,
        clock=SystemClock(),
        policy=policy if with_policy else None,
        task=cfg.task,
        use_gripper=cfg.wrapper.use_gripper,
        neutral_action=None if declared(env, "neutral_action") is not None else "zeros",
    )
    plan, settings = plan_of(config, source, fps), settings_of(config, fps, paced=bool(cfg.fps))
    process, link = spawn(
        "control.supervised",
        {"settings": settings_to_wire(supervisor_settings(config, datetime.now()))},
        [os.pidfd_open(os.getpid())],
    )
    try:
        run_session(source, plan, settings, link)
    except (RefusedError, SessionAborted) as error:
        # Where the supervisor has ended the loop, it knows why.
        raise _failure(link) or error from None
    finally:
        # The recording ends here; what is in the ring is encoded and committed before the caller goes on.
        outcome = _outcome(link)
        process.wait()
    if outcome is None:
        raise OnbeatError(f"the supervisor ended with code {process.returncode} and no summary")
    if outcome["problems"]:
        raise OnbeatError("; ".join(outcome.pop("problems")))
    return Recorded(outcome["root"], outcome["episodes"], outcome["frames"], outcome["missing_frames"])


def _flags(cfg: RecordDatasetConfig, fps: int) -> RecordConfig:
    dataset = DatasetFlags(
        repo_id=cfg.repo_id,
        single_task=cfg.task,
        root=None if cfg.dataset_root is None else str(cfg.dataset_root),
        fps=fps,
        episode_time_s=cfg.wrapper.control_time_s,
        num_episodes=cfg.num_episodes,
        push_to_hub=bool(cfg.push_to_hub),
        private=getattr(cfg, "private", None),
        tags=getattr(cfg, "tags", None),
        no_stamp=True,
        rgb_encoder=getattr(cfg, "rgb_encoder", None) or EncoderSpec(),
    )
    # The rule of the recorder that this replaces: a reward of exactly 1.0 is a success.
    episode = EpisodeFlags(cfg.number_of_steps_after_success, success_reward=1.0)
    config = RecordConfig(dataset=dataset, episode=episode)
    config.writer.address = getattr(cfg, "writer_address", None)
    config.writer.keys = getattr(cfg, "writer_keys", None)
    return config


def _outcome(link: Link) -> dict[str, Any] | None:
    """The supervisor's last words; None when it has none."""
    while (received := link.receive()) is not None:
        if "summary" in received[0]:
            summary: dict[str, Any] = received[0]["summary"]
            return summary
    return None


def _failure(link: Link) -> OnbeatError | None:
    """Why the supervisor gave up; None where it did not."""
    while (received := link.receive()) is not None and "summary" not in received[0]:
        if "failed" in received[0]:
            return told(received[0])
    return None
