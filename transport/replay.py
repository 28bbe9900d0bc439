"""How a recorded dataset lies in memory between the process that decodes it and the one that replays it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from transport.schema import Schema

_ALIGN = 64


@dataclass(frozen=True, slots=True)
class ReplayEpisode:
    """One recorded episode."""

    frames: int
    task: str


@dataclass(frozen=True)
class ReplayLayout:
    """What the memory holds: all rows, then all pictures of each camera, episode after episode.

    Attributes:
        schema: the dataset's own streams, without telemetry beyond the loop's.
        fps: at which it was recorded.
    """

    schema: Schema
    fps: int
    robot_type: str | None
    episodes: tuple[ReplayEpisode, ...]

    @property
    def frames(self) -> int:
        return sum(episode.frames for episode in self.episodes)

    @property
    def nbytes(self) -> int:
        return sum(nbytes + _ALIGN for nbytes in self._sizes())

    def arrays(self, memory: NDArray[np.uint8]) -> tuple[NDArray[np.void], list[NDArray[Any]]]:
        """Views: rows of shape (frames,) and `schema.row_dtype`, and per camera pictures of shape (frames, *shape)."""
        views = []
        start = 0
        for nbytes in self._sizes():
            views.append(memory[start : start + nbytes])
            start += -(-nbytes // _ALIGN) * _ALIGN
        pictures = [
            view.view(stream.dtype).reshape(self.frames, *stream.shape)
            for view, stream in zip(views[1:], self.schema.pictures, strict=True)
        ]
        return views[0].view(self.schema.row_dtype), pictures

    def to_wire(self) -> dict[str, Any]:
        return {
            "schema": self.schema.to_wire(),
            "fps": self.fps,
            "robot_type": self.robot_type,
            "episodes": [[episode.frames, episode.task] for episode in self.episodes],
        }

    @classmethod
    def from_wire(cls, value: Mapping[str, Any]) -> ReplayLayout:
        """Read what `to_wire` wrote."""
        episodes = tuple(ReplayEpisode(frames, task) for frames, task in value["episodes"])
        return cls(Schema.from_wire(value["schema"]), value["fps"], value["robot_type"], episodes)

    def _sizes(self) -> list[int]:
        frames = self.frames
        return [frames * self.schema.row_dtype.itemsize, *(frames * s.nbytes for s in self.schema.pictures)]
