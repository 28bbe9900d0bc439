"""What encoding an episode cost: measured by the encoders' threads, left beside the journal, kept in the sidecar.

Nothing depends on these figures: a writer that was killed has them only from the picture on at which it went on.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

_PATTERN = "encode-*.json"


@dataclass(frozen=True, slots=True)
class EncodeRun:
    """One run of every camera's encoder, over a whole episode or the rest of one.

    Attributes:
        first_frame_index: of the first picture.
        cpu_ns: processor time of the whole ingest process meanwhile: receiving, converting, encoding, journal.
        busy_us: by camera, for each picture how long its thread converted and encoded.
    """

    first_frame_index: int
    cpu_ns: int
    busy_us: Mapping[str, Sequence[int]]

    def name(self) -> str:
        return _PATTERN.replace("*", f"{self.first_frame_index:06d}")

    def leave(self, folder: Path) -> None:
        """Write it into an episode's folder; a process that is killed meanwhile leaves nothing of its name.

        Raises:
            OSError: the disk does not take it.
        """
        partial = folder / f"{self.name()}.new"
        try:
            partial.write_bytes(json.dumps(asdict(self)).encode())
            partial.rename(folder / self.name())
        except OSError:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            raise


def read_runs(folder: Path, log: Callable[[str], object]) -> tuple[EncodeRun, ...]:
    """What an episode's folder has, in order. A torn one, as a power cut leaves it, is said and does without."""
    runs = []
    for path in sorted(folder.glob(_PATTERN)):
        try:
            runs.append(EncodeRun(**json.loads(path.read_bytes())))
        except json.JSONDecodeError as error:
            log(f"{path} is torn ({error}): the report lacks that encode cost, the recording lacks nothing")
    return tuple(runs)
