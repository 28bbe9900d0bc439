"""From the flags of a load test to those of a recording: rates, episodes and ticks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from control.config import DatasetFlags, RecordConfig
from control.envs import frame_code
from control.load_config import LoadConfig, LoadFlags
from transport.errors import UsageError
from transport.replay import ReplayLayout
from transport.timing import TICKS_FOR_P999

_DEFAULT_FPS = 60
_DEFAULT_DURATION_S = 60.0


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """How long a load lasts.

    Attributes:
        fps: ticks per second, and those of the dataset that is recorded.
        episode_frames: of each episode, in order.
    """

    fps: int
    episode_frames: tuple[int, ...]

    @property
    def ticks(self) -> int:
        return sum(self.episode_frames)


def plan_load(load: LoadFlags, replay: ReplayLayout | None) -> LoadPlan:
    """Lay the load out.

    Raises:
        UsageError: flags that cannot be, or limits that this load cannot be held against.
    """
    if load.sink not in ("writer", None):
        raise UsageError(f"--load.sink={load.sink} found, expected writer or null")
    if load.episode_s <= 0 or load.step_ms < 0 or (load.duration_s is not None and load.duration_s <= 0):
        raise UsageError(
            f"--load.duration_s={load.duration_s} --load.episode_s={load.episode_s:g} --load.step_ms={load.step_ms:g} "
            "found, expected positive seconds and milliseconds from 0"
        )
    if replay is None:
        _check_cameras(load)
    base = load.fps if load.fps is not None else replay.fps if replay is not None else _DEFAULT_FPS
    rate = base * load.speed
    fps = round(rate)
    if abs(rate - fps) > 1e-6 or fps < 1:
        raise UsageError(
            f"{base} frames per second times --load.speed={load.speed:g} found, which is {rate:g}; expected a whole "
            "number from 1"
        )
    plan = LoadPlan(fps, tuple(_episodes(load, fps, None if replay is None else [e.frames for e in replay.episodes])))
    if load.max_p999_us is not None and plan.ticks < TICKS_FOR_P999:
        raise UsageError(
            f"--load.max_p999_us needs {TICKS_FOR_P999} ticks and this load has {plan.ticks}; set "
            f"--load.duration_s={-(-TICKS_FOR_P999 // fps)}"
        )
    if load.max_lost is not None and not load.check:
        raise UsageError("--load.max_lost and --load.check=false found together; pictures are counted by the check")
    return plan


def _check_cameras(load: LoadFlags) -> None:
    """Every synthetic picture carries the numbers of its frame and of its camera."""
    least, most = (frame_code.MIN_WIDTH, frame_code.MIN_HEIGHT), frame_code.MAX_CAMERA_INDEX + 1
    if load.cameras and (load.width < least[0] or load.height < least[1]):
        raise UsageError(
            f"--load.width={load.width} --load.height={load.height} found, expected at least {least[0]}x{least[1]}: "
            "every picture carries its frame number"
        )
    if not 0 <= load.cameras <= most or load.joints < 1:
        raise UsageError(
            f"--load.cameras={load.cameras} --load.joints={load.joints} found, expected 0 to {most} cameras and at "
            "least 1 joint"
        )


def _episodes(load: LoadFlags, fps: int, recorded: Sequence[int] | None) -> list[int]:
    if recorded is None:
        wanted = max(round((load.duration_s or _DEFAULT_DURATION_S) * fps), 1)
        count = max(round(wanted / (load.episode_s * fps)), 1)
        return [-(-wanted // count)] * count
    if load.duration_s is None:
        return list(recorded)
    frames: list[int] = []
    while sum(frames) < load.duration_s * fps:
        frames.append(recorded[len(frames) % len(recorded)])
    return frames


def as_recording(config: LoadConfig, plan: LoadPlan, *, root: str | None, address: str | None) -> RecordConfig:
    """The recording that this load is."""
    recording = RecordConfig(timing=config.timing, publisher=config.publisher, debug=config.debug)
    recording.dataset = DatasetFlags(
        repo_id="local/loadtest",
        single_task="Load test",
        root=root,
        fps=plan.fps,
        episode_time_s=max(plan.episode_frames) / plan.fps,
        num_episodes=len(plan.episode_frames),
        rgb_encoder=config.dataset.rgb_encoder,
        encoder_threads=config.dataset.encoder_threads,
    )
    recording.writer = config.writer
    recording.writer.address = address
    return recording
