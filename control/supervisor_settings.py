"""What of the flags concerns the supervisor."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from control.preview_settings import PreviewSettings
from transport.dataset_spec import DatasetSpec


@dataclass(frozen=True, slots=True)
class SupervisorSettings:
    """What of the flags concerns the supervisor.

    Attributes:
        writer_address: of a writer of its own; None starts one here.
        writer_keys: file of this recorder's key; None where the writer wants none.
        timeout_s: how long the writer may take to answer before the first episode.
        min_free_bytes: on the writer's disk; below it the session ends.
        spill_dir, spill_max_bytes: where the publisher puts what the ring has no room for, and how much of it.
        spill_warning: what is wrong with that folder; empty when nothing is.
        give_up_s: without any progress of the writer for so long after the recording ended, what is undelivered is
            left in the spill folder.
        play_sounds: None plays them where the machine has a player.
        first_index: index in the dataset of the session's first episode, as far as it is known here.
        max_tick_s, max_reset_s: without a tick for so long, control is ended, if it is a process of ours; 0: never.
        preview: what is shown in a viewer; None shows nothing.
        others_cpus: processors of supervisor, publisher and local writer; None for all.
    """

    spec: DatasetSpec
    owner: str
    writer_address: str | None = None
    timeout_s: float = 60.0
    min_free_bytes: int = 500_000_000
    num_episodes: int = 1
    spill_dir: str = ""
    spill_warning: str = ""
    spill_max_bytes: int = 0
    give_up_s: float = 120.0
    play_sounds: bool | None = None
    first_index: int = 0
    preview: PreviewSettings | None = None
    others_cpus: Sequence[int] | None = None
    writer_keys: str | None = None
    max_tick_s: float = 5.0
    max_reset_s: float = 120.0
