"""A configuration of HIL-SERL's with two arms and one camera, and the source that it makes, ticked by hand."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path[:0] = [
    str(Path(__file__).parents[2]),
    *(str(Path(__file__).parents[1] / name) for name in ("emulators", "e2e")),
]

import driver_units  # noqa: E402 - the emulators, and their tests' helpers, are not installed

from control import hil_config  # noqa: E402
from control.abort import Abort  # noqa: E402
from control.config import TimingFlags  # noqa: E402
from control.errors import SourceError  # noqa: E402
from control.hil_build import build_source  # noqa: E402
from control.hil_source import HilSource  # noqa: E402
from control.source import Draft, Mark, Outcome  # noqa: E402
from scripts.emulators.feetech.arm import EmulatedArm  # noqa: E402
from scripts.emulators.numbered_video import write_numbered_video  # noqa: E402
from transport.link import Link  # noqa: E402

# A quarter of a tick is long enough for any machine.
FPS = 2
ATTEMPTS = 3
PLUGIN = "--env.discover_packages_path=hil_scripted"
CROP, SIZE = (10, 20, 80, 100), (64, 48)


def written(folder: Path, follower: Any, leader: Any, *, processor: Any = None, **changes: Any) -> str:
    """The flag for a configuration file with two arms and one camera; `changes` are of its `env` section."""
    video = folder / "front.mp4"
    if not video.exists():
        write_numbered_video(video, pictures=20, fps=10, width=160, height=120)
    camera = {"type": "testfile", "path": str(video), "width": 160, "height": 120, "fps": 10}
    env = {
        "type": "gym_manipulator",
        "name": "real_robot",
        "fps": FPS,
        "robot": {**device("so101_follower", follower), "cameras": {"front": camera}},
        "teleop": device("so101_leader", leader),
        "processor": {
            "gripper": {"use_gripper": True, "gripper_penalty": -0.5},
            "image_preprocessing": {"crop_params_dict": {"observation.images.front": CROP}, "resize_size": SIZE},
            "reset": {"reset_time_s": 0.0, "control_time_s": 60.0},
            **(processor or {}),
        },
    }
    path = folder / "env_config.json"
    dataset = {"repo_id": "me/pick", "task": "Pick: the cube", "num_episodes_to_record": 1}
    path.write_text(json.dumps({"env": {**env, **changes}, "dataset": dataset, "mode": "record", "device": "cpu"}))
    return f"--config_path={path}"


def device(kind: str, arm: Any) -> dict[str, str]:
    return {"type": kind, "port": arm.port, "id": arm.name, "calibration_dir": str(arm.calibration_dir)}


def built(argv: list[str], link: Link, abort: Abort | None = None) -> HilSource:
    """Connecting waits 50 ms for each answer, which an emulator on a busy machine may miss."""
    config, abort = hil_config.parse(argv), abort or Abort()
    for _ in range(ATTEMPTS - 1):
        with contextlib.suppress(SourceError):
            return build_source(config, TimingFlags(), link, abort, counts_success=True, on_fault="release")
    return build_source(config, TimingFlags(), link, abort, counts_success=True, on_fault="release")


@dataclass
class Ticking:
    """A source that is ticked by hand; each frame is what its tick and the one before left in it."""

    source: HilSource

    def __post_init__(self) -> None:
        self.draft = self._draft()
        self.source.begin(self.draft)

    def tick(self) -> tuple[dict[str, Any], list[np.ndarray], Outcome]:
        draft = self.draft
        outcome = self.source.tick(draft)
        self.source.finish(draft, Mark(outcome.reward, outcome.terminated))
        self.draft = self._draft()
        self.source.stage(self.draft)
        row = {name.removeprefix("onbeat."): draft.row[name].copy() for name in draft.row.dtype.names or ()}
        return row, list(draft.pictures), outcome

    def _draft(self) -> Draft:
        schema = self.source.schema
        return Draft(np.zeros((), schema.row_dtype), [np.zeros(s.shape, s.dtype) for s in schema.pictures])


def last(arm: EmulatedArm, role: str) -> np.ndarray:
    steps = arm.history("read", "Present_Position")[-1]
    return np.array(list(driver_units.units(role, steps).values()), np.float32)
