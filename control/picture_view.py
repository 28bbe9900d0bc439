"""The loop's view of a camera's pictures: an array to hand out, filled from shared memory now or when there is time."""

from __future__ import annotations

import numpy as np

from control.camera_memory import Picture, PictureMemory, Shot


class PictureView:
    """The newest pictures, or depth maps, of one camera.

    Attributes:
        target: where `read_latest` copies the picture to, of the memory's shape and dtype; the array is handed out.
        own: an array of the view's own, which is the target where nobody sets another.
        latches: `read_latest` only notes which picture it is, and `fill` copies it, when there is more time.
        shot: which picture was copied last; None before the first.
    """

    def __init__(self, name: str, memory: PictureMemory) -> None:
        self.name = name
        self.own: Picture = np.zeros(memory.shape, memory.dtype)
        self.target: Picture = self.own
        self.latches = False
        self.shot: Shot | None = None
        self._memory = memory
        self._latched_seq = 0

    def read_latest(self, max_age_ms: int = 500) -> Picture:
        """The newest picture, at once, however old it is.

        Raises:
            RuntimeError: there is none yet.
            OSError: as `PictureMemory.read_newest`.
        """
        self._latched_seq = self._memory.newest_seq
        if not self._latched_seq:
            raise RuntimeError(f"camera {self.name} has delivered no picture yet; connect it first")
        if not self.latches:
            self.fill()
        return self.target

    def fill(self) -> None:
        """Copy the picture that `read_latest` noted; a newer one, if that was overwritten meanwhile.

        Raises:
            OSError: as `PictureMemory.read_newest`.
        """
        self.shot = self._memory.read_newest(self.target, self._latched_seq)
