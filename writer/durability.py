"""Which records of the log are whole in the journal: pure bookkeeping, fed in journal order.

A frame is whole when its row and the packet of every camera are journalled. Encoders hold frames back and may reorder
them, so a camera's frames 0..k count only when its packets so far are exactly those of frames 0..k: then decoding
needs nothing that comes later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable


class Wholeness:
    """The newest whole record of one episode's segment.

    Args:
        cameras: keys of the picture streams; may be empty.
        durable_seq: the newest record that was whole before this segment.
        first_frame_index: of the frames that will come.
    """

    def __init__(self, cameras: Iterable[str], durable_seq: int, first_frame_index: int = 0) -> None:
        self.whole_seq = durable_seq
        self._given_up = False
        self._newest_row = first_frame_index - 1
        self._waiting: deque[tuple[int, int | None]] = deque()
        self._first = first_frame_index
        self._count = dict.fromkeys(cameras, 0)
        self._newest = dict.fromkeys(self._count, first_frame_index - 1)
        self._whole = dict.fromkeys(self._count, first_frame_index - 1)

    def row(self, seq: int, frame_index: int) -> None:
        self._newest_row = frame_index
        self._waiting.append((seq, frame_index))
        self._advance()

    def packet(self, camera: str, frame_index: int) -> None:
        self._count[camera] += 1
        self._newest[camera] = max(self._newest[camera], frame_index)
        if self._first + self._count[camera] - 1 == self._newest[camera]:
            self._whole[camera] = self._newest[camera]
            self._advance()

    @property
    def frames(self) -> int:
        """Frames 0 to `frames - 1` are whole."""
        return min(self._whole.values(), default=self._newest_row) + 1

    def give_up(self) -> None:
        """Packets are missing for good: from here on the log does not wait for this episode."""
        self._given_up = True
        self._advance()

    def event(self, seq: int) -> None:
        """A record without pictures; whole as soon as everything before it is."""
        self._waiting.append((seq, None))
        self._advance()

    def _advance(self) -> None:
        whole = min(self._whole.values(), default=None)
        while self._waiting:
            seq, frame_index = self._waiting[0]
            if not self._given_up and frame_index is not None and whole is not None and frame_index > whole:
                return
            self.whole_seq = seq
            self._waiting.popleft()
