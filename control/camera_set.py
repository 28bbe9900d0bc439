"""The cameras of a robot as control sees them: their shared memory, and the keeper of their processes."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from control.camera_memory import PictureMemory, create_memory
from control.camera_process import camera_message
from transport.link import Link, spawn

_END_LIMIT_S = 15


@dataclass(frozen=True, slots=True)
class CameraSpec:
    """A camera to be read.

    Attributes:
        config: what `control.lerobot_camera` makes it from.
        height, width: in pixels.
        depth: whether it delivers depth beside its pictures.
    """

    name: str
    config: dict[str, Any]
    height: int
    width: int
    depth: bool = False


class CameraSet:
    """All cameras of a session, read in processes of their own until `close`.

    Args:
        log: link to whoever talks to the operator; the keeper sends lines over it by itself.
        cpus: processors of all camera processes; None for any.

    Attributes:
        memories: the pictures of each camera.
        depths: the depth maps of those that deliver some.
    """

    def __init__(self, specs: Sequence[CameraSpec], log: Link, cpus: Sequence[int] | None = None) -> None:
        deep = [spec for spec in specs if spec.depth]
        sizes = [(spec.height, spec.width, depth) for depth, some in ((False, specs), (True, deep)) for spec in some]
        self._memory_fd, offsets = create_memory(sizes)
        self._log, self._cpus = log, cpus
        at = {spec.name: offset for spec, offset in zip(specs, offsets, strict=False)}
        depth_at = {spec.name: offset for spec, offset in zip(deep, offsets[len(specs) :], strict=True)}
        self._messages = [
            camera_message(spec.name, spec.config, at[spec.name], spec.height, spec.width, depth_at.get(spec.name))
            for spec in specs
        ]
        self.memories: Mapping[str, PictureMemory] = {
            spec.name: PictureMemory(self._memory_fd, at[spec.name], spec.height, spec.width) for spec in specs
        }
        self.depths: Mapping[str, PictureMemory] = {
            spec.name: PictureMemory(self._memory_fd, depth_at[spec.name], spec.height, spec.width, depth=True)
            for spec in deep
        }
        self._keeper: subprocess.Popen[bytes] | None = None
        self._link: Link | None = None

    def start(self) -> bool:
        """Start the keeper, or a new one if it has died; call it in the main thread, whose end ends the keeper.

        Returns:
            Whether one had died.
        """
        if not self._messages or (self._keeper is not None and self._keeper.poll() is None):
            return False
        had_died = self._keeper is not None
        self._drop_link()
        self._keeper, self._link = spawn(
            "control.camera_keeper",
            {"cameras": self._messages, "cpus": None if self._cpus is None else list(self._cpus)},
            [self._memory_fd, self._log.fileno()],
            die_with_parent=signal.SIGTERM,
        )
        return had_died

    def close(self) -> None:
        """End all camera processes; may be called twice."""
        if self._keeper is not None:
            self._drop_link()
            try:
                self._keeper.wait(_END_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._keeper.kill()
                self._keeper.wait()
            self._keeper = None
        if self._memory_fd >= 0:
            os.close(self._memory_fd)
            self._memory_fd = -1

    def _drop_link(self) -> None:
        """The keeper ends when its link does."""
        if self._link is not None:
            self._link.close()
            self._link = None
