"""The frames of a load: synthetic cameras, or a recorded dataset that another process has decoded into memory."""

from __future__ import annotations

import mmap
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from control.envs import frame_code
from control.load_pictures import PICTURES, forth_and_back, render
from transport.replay import ReplayLayout
from transport.schema import HWC, Kind, Schema, Stream


class SyntheticFrames:
    """Cameras that show a moving scene, each picture with the number of its frame in the session and of its camera.

    The columns are those of an arm: joint positions as state and action.

    Args:
        episode_frames: frames of every episode.
    """

    robot_type: str | None = "onbeat_load"

    def __init__(self, cameras: int, width: int, height: int, joints: int, episode_frames: int) -> None:
        names = tuple(f"joint_{i}.pos" for i in range(joints))
        self.schema = Schema(
            (
                Stream("action", "float32", (joints,), names=names),
                Stream("observation.state", "float32", (joints,), names=names),
                *(
                    Stream(f"observation.images.cam{i}", "uint8", (height, width, 3), Kind.VIDEO, HWC)
                    for i in range(cameras)
                ),
            )
        )
        self._episode_frames = episode_frames
        self._pictures = [render(width, height, camera) for camera in range(cameras)]
        self._phase = np.arange(joints, dtype=np.float32)

    def frames_of(self, episode: int) -> int:
        return self._episode_frames

    def fill(self, episode: int, frame: int, row: NDArray[np.void], pictures: Sequence[NDArray[Any]]) -> None:
        number = episode * self._episode_frames + frame
        state = np.sin(self._phase + 0.01 * number)
        row["observation.state"] = state
        row["action"] = state
        shown = forth_and_back(number, PICTURES)
        for camera, (to, rendered) in enumerate(zip(pictures, self._pictures, strict=True)):
            picture = rendered[shown]
            frame_code.draw(picture, number & frame_code.MAX_FRAME_NUMBER, camera)
            np.copyto(to, picture)


class ReplayedFrames:
    """The episodes of a recorded dataset, in order and from the start again.

    Args:
        fd: memory that holds all frames as `layout` says.
    """

    def __init__(self, fd: int, layout: ReplayLayout) -> None:
        self.schema = layout.schema
        self.robot_type = layout.robot_type
        self._episodes = layout.episodes
        self._starts = [0]
        for episode in layout.episodes:
            self._starts.append(self._starts[-1] + episode.frames)
        memory = np.frombuffer(mmap.mmap(fd, os.fstat(fd).st_size, prot=mmap.PROT_READ), np.uint8)
        self._rows, self._pictures = layout.arrays(memory)
        self._keys = [stream.key for stream in layout.schema.rows]

    def frames_of(self, episode: int) -> int:
        return self._episodes[episode % len(self._episodes)].frames

    def fill(self, episode: int, frame: int, row: NDArray[np.void], pictures: Sequence[NDArray[Any]]) -> None:
        at = self._starts[episode % len(self._episodes)] + frame
        recorded = self._rows[at]
        for key in self._keys:
            row[key] = recorded[key]
        for to, of_camera in zip(pictures, self._pictures, strict=True):
            np.copyto(to, of_camera[at])
