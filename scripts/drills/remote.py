"""A writer of its own, with a link in between that drills can hurt."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.drills.process import ONBEAT, OnbeatProcess
from scripts.drills.proxy import Link
from scripts.drills.stage import Stage


@dataclass(frozen=True)
class Remote:
    """The other side.

    Attributes:
        port: the writer's own; `link.port` is where recorders go through the link.
        root: the folder of the dataset `drill/ds`.
        flags: for `Stage.record`, with `local=False`.
    """

    writer: OnbeatProcess
    link: Link
    port: int
    root: Path
    flags: tuple[str, ...]


@contextmanager
def remote_writer(stage: Stage, *arguments: str, folder: Path | None = None, once: bool = True) -> Iterator[Remote]:
    """`onbeat writer` on this machine's loopback, behind a `Link`."""
    base = folder or stage.folder / "far"
    command = [
        ONBEAT,
        "writer",
        "--bind=tcp://127.0.0.1:0",
        f"--root={base}",
        f"--once={str(once).lower()}",
        *arguments,
    ]
    with OnbeatProcess(command, stage.folder) as writer:
        port = int(writer.wait_for(r"listening at tcp://\S*127\.0\.0\.1\]?:(\d+)").group(1))
        link = Link(port, stage.rng)
        flags = (
            f"--writer.address=tcp://127.0.0.1:{link.port}",
            "--dataset.repo_id=drill/ds",
            "--dataset.no_stamp=true",
            f"--publisher.spill_dir={stage.folder / 'spill'}",
        )
        try:
            yield Remote(writer, link, port, base / "drill/ds", flags)
        finally:
            link.close()
