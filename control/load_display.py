"""The status of a load test: that of a recording, and what of it the figures need at the end."""

from __future__ import annotations

from collections.abc import Mapping

from control.board import LoopFigures
from control.display import Display


class LoadDisplay(Display):
    """Remembers, beyond showing.

    Attributes:
        lag_records: how many published records were not durable at the worst while the load ran.
        ring_bytes: of the log ring.
        obtained: protections of the loop and their state.
    """

    lag_records = 0
    ring_bytes = 0
    obtained: Mapping[str, str] = {}

    def protections(self, protections: Mapping[str, str]) -> None:
        self.obtained = dict(protections)
        super().protections(protections)

    def update(
        self,
        *,
        figures: LoopFigures,
        publisher: Mapping[str, object],
        ring_fill_bytes: int,
        ring_fill_s: float,
        ring_fraction: float,
        draining: bool,
    ) -> None:
        head, durable = publisher.get("head_seq", 0), publisher.get("durable_seq", 0)
        if not draining and isinstance(head, int) and isinstance(durable, int):
            self.lag_records = max(self.lag_records, head - durable)
        if ring_fraction:
            self.ring_bytes = round(ring_fill_bytes / ring_fraction)
        super().update(
            figures=figures,
            publisher=publisher,
            ring_fill_bytes=ring_fill_bytes,
            ring_fill_s=ring_fill_s,
            ring_fraction=ring_fraction,
            draining=draining,
        )
