"""A lerobot robot with its teleoperator as a source of frames: (o_t, a_t) inside one tick, as lerobot-record has them.

The order is `record_loop`'s: read the state, latch the cameras' newest pictures, read the teleoperator, send, note.
Columns, names and the stored action are its too. What it does not have goes to the sidecar: when the observation was
asked for, what the driver says it sent, which read failed, and when each picture was taken.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from lerobot.utils.constants import ACTION, OBS_STR
from lerobot.utils.feature_utils import build_dataset_frame

from control.camera_watch import CameraWatch
from control.clock import Clock
from control.errors import SourceError
from control.lerobot_account import CameraAccount, CameraLimits
from control.lerobot_bus import BusLimits
from control.lerobot_camera import CameraProxy
from control.lerobot_held import Held
from control.lerobot_pipelines import Pipelines
from control.source import Draft, Mark, Outcome
from control.teleop_proxy import TeleopProxy
from transport.schema import HWC, Kind, Schema, Stream

_SENT_KEY = "onbeat.sent_action"
_TELEOP_KEY = "onbeat.teleop_read_ns"


class RobotSource:
    """Implements `control.source.Source`. Robot and teleoperator are connected by the caller.

    Args:
        features: of the dataset, as lerobot-record makes them.
        cameras: stand-ins of the robot's cameras, by name.
        watch: over their processes.
        log: takes lines for the operator; must not wait.
        fps: ticks per second; a failed read may cost a quarter of one.
        release: disconnects everything; told whether the session failed.

    Raises:
        SourceError: the first observation cannot be read.
        SchemaError: lerobot's features hold what the log cannot.
    """

    may_step_after_end = False

    def __init__(
        self,
        robot: Any,
        teleop: Any,
        features: Mapping[str, Mapping[str, Any]],
        pipelines: Pipelines,
        cameras: Mapping[str, CameraProxy],
        *,
        clock: Clock,
        fps: int,
        limits: CameraLimits,
        watch: CameraWatch,
        log: Callable[[str], None],
        release: Callable[[bool], None],
    ) -> None:
        self._robot, self._teleop, self._features, self._pipelines = robot, teleop, features, pipelines
        self._clock, self._log = clock, log
        self._watch, self._release = watch, release
        self.robot_type: str = robot.name
        limit_ns = 10**9 // fps // 4
        device = getattr(teleop, "device", teleop)
        # A teleoperator in a process of its own: its values have a time of theirs.
        self._proxy = device if isinstance(device, TeleopProxy) else None
        robot_buses, teleop_buses = BusLimits(robot, clock.now_ns), BusLimits(device, clock.now_ns)
        self._state = Held("read of the robot", robot_buses, limit_ns)
        self._wanted = Held("read of the teleoperator", teleop_buses, limit_ns)
        self._sent = Held("write to the robot", robot_buses, limit_ns)
        self._helds = {"robot_read": self._state, "teleop_read": self._wanted, "send": self._sent}
        first = self._state.prime(robot.get_observation)
        self._wanted.prime(teleop.get_action)
        self._sent.prime(dict)
        # Which of the robot's pictures are a camera's, whatever the robot calls them.
        views = [view for proxy in cameras.values() for view in proxy.views]
        self._keys = {key: view for key, value in first.items() for view in views if value is view.target}
        self._cameras = {key: CameraAccount(key, view, limits) for key, view in self._keys.items()}
        self._is_unitree = robot.name == "unitree_g1"
        for view in self._keys.values():
            view.latches = not (pipelines.look_at_pictures or self._is_unitree)
        self._sent_names = tuple(name for name, kind in robot.action_features.items() if kind is float)
        self.schema = Schema(streams_of(features), self._telemetry())
        self._targets = [
            self._keys.get(stream.key.removeprefix(f"{OBS_STR}.images.")) for stream in self.schema.pictures
        ]
        self._row_keys = [stream.key for stream in self.schema.rows]

    def begin(self, draft: Draft) -> None:
        """Nothing moves by itself; cameras that have died are waited for."""
        self._watch.await_fresh()
        for held in self._helds.values():
            held.forget_failures()
        for camera in self._cameras.values():
            camera.begin()

    def look(self, draft: Draft) -> None:
        """Leave an observation in the draft, and do not act."""
        observation = self._pipelines.observation(self._look())
        self._fill_pictures()
        self._fill(draft, build_dataset_frame(self._features, observation, prefix=OBS_STR))

    def send(self, choose: Callable[[dict[str, Any]], Any]) -> None:
        """Act once outside a tick, with what `choose` makes of an observation; nothing is recorded."""
        observation = self._look()
        to_send = self._pipelines.robot_action((choose(observation), observation))
        self._sent.get(lambda: self._robot.send_action(to_send))

    def tick(self, draft: Draft) -> Outcome:
        for view, picture in zip(self._targets, draft.pictures, strict=True):
            if view is not None:
                view.target = picture
        try:
            return self._tick(draft)
        finally:
            for view in self._keys.values():
                view.target = view.own

    def _tick(self, draft: Draft) -> Outcome:
        now_ns = self._clock.now_ns
        observed_ns = now_ns()
        observation = self._look()
        processed = self._pipelines.observation(observation)
        frame = build_dataset_frame(self._features, processed, prefix=OBS_STR)
        looked_ns = now_ns()
        stored, to_send = self._decide(observation)
        sent_ns = now_ns()
        sent = self._sent.get(lambda: self._robot.send_action(to_send))
        acted_ns = now_ns()
        self._fill_pictures()
        frame |= build_dataset_frame(self._features, stored, prefix=ACTION)
        self._fill(draft, frame)
        row = draft.row
        row["onbeat.observed_ns"] = observed_ns
        if self._proxy is not None:
            row[_TELEOP_KEY] = self._proxy.read_ns
        for name, held in self._helds.items():
            row[f"onbeat.{name}_failed"] = held.failed
        row[_SENT_KEY] = [sent.get(name, math.nan) for name in self._sent_names]
        for camera in self._cameras.values():
            camera.fill(row, observed_ns)
        sections_ns = {
            "robot.read": looked_ns - observed_ns,
            "teleop": sent_ns - looked_ns,
            "robot.send": acted_ns - sent_ns,
        }
        return Outcome(action_sent_ns=sent_ns, sections_ns=sections_ns)

    def finish(self, draft: Draft, mark: Mark) -> None:
        """There are no columns of reward and done. With the last row, say what went wrong."""
        if mark.done:
            self._say_what_failed()

    def stage(self, draft: Draft) -> None:
        """Nothing is known ahead."""

    def idle(self) -> None:
        self._watch.look()
        _, to_send = self._decide(self._look())
        self._sent.get(lambda: self._robot.send_action(to_send))

    def close(self, *, failed: bool = False) -> None:
        self._release(failed)

    # -- inside a tick -------------------------------------------------------------------------------------------

    def _look(self) -> dict[str, Any]:
        """Read the state and take the newest pictures, these also when the state cannot be read."""
        observation: dict[str, Any] = self._state.get(self._robot.get_observation)
        if self._state.failed:
            observation |= {key: view.read_latest() for key, view in self._keys.items()}
        return observation

    def _decide(self, observation: dict[str, Any]) -> tuple[Any, Any]:
        """The action that is stored, and the one that is sent."""
        action = self._wanted.get(self._teleop.get_action)
        if self._is_unitree:
            self._teleop.send_feedback(observation)
        stored = self._pipelines.teleop_action((action, observation))
        return stored, self._pipelines.robot_action((stored, observation))

    def _fill_pictures(self) -> None:
        for view in self._keys.values():
            if view.latches:
                view.fill()

    def _fill(self, draft: Draft, frame: Mapping[str, Any]) -> None:
        for key in self._row_keys:
            if key in frame:
                draft.row[key] = frame[key]
        for stream, target in zip(self.schema.pictures, draft.pictures, strict=True):
            picture = frame[stream.key]
            if picture is target:
                continue
            if picture.shape != stream.shape or picture.dtype != stream.dtype:
                raise SourceError(
                    f"{stream.key}: a picture of shape {picture.shape} and dtype {picture.dtype} found, expected "
                    f"{stream.shape} and {stream.dtype}"
                )
            np.copyto(target, picture)

    def _telemetry(self) -> tuple[Stream, ...]:
        return (
            Stream("onbeat.observed_ns", "int64", (1,)),
            *([Stream(_TELEOP_KEY, "int64", (1,))] if self._proxy is not None else []),
            *(Stream(f"onbeat.{name}_failed", "bool", (1,)) for name in self._helds),
            Stream(_SENT_KEY, "float32", (len(self._sent_names),), names=self._sent_names),
            *(stream for camera in self._cameras.values() for stream in camera.streams),
        )

    def _say_what_failed(self) -> None:
        said = [held.summary for held in self._helds.values() if held.failures]
        said += [camera.summary for camera in self._cameras.values() if camera.summary]
        if said:
            self._log("; ".join(said))


def streams_of(features: Mapping[str, Mapping[str, Any]]) -> tuple[Stream, ...]:
    """lerobot's features of a dataset as streams."""
    return tuple(_stream(key, feature) for key, feature in features.items())


def _stream(key: str, feature: Mapping[str, Any]) -> Stream:
    shape: Sequence[int] = tuple(feature["shape"])
    if feature["dtype"] == "video":
        if (feature.get("info") or {}).get("is_depth_map"):
            # Every camera of lerobot's delivers whole millimetres.
            return Stream(key, "uint16", tuple(shape), Kind.DEPTH, HWC)
        return Stream(key, "uint8", tuple(shape), Kind.VIDEO, HWC)
    return Stream(key, feature["dtype"], tuple(shape), names=tuple(feature["names"]))
