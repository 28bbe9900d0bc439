"""What a recording is called and where it goes."""

from __future__ import annotations

import json
import os
import socket
from datetime import datetime
from pathlib import Path

from control.affinity import others_cpus
from control.config import RecordConfig
from control.preview_settings import preview_settings
from control.supervisor_settings import SupervisorSettings
from control.writer_installed import check_writer_installed
from transport import spill_dir
from transport.dataset_spec import DatasetSpec, UploadSpec
from transport.errors import UsageError
from transport.keys import load_recorder


def supervisor_settings(config: RecordConfig, now: datetime) -> SupervisorSettings:
    """Name the dataset and collect what concerns the supervisor; `fps` is filled in once control has said it.

    Raises:
        UsageError: names or folders that cannot be, or no writer to record with.
    """
    dataset, writer = config.dataset, config.writer
    if writer.address is None:
        check_writer_installed()
    repo_id = dataset.repo_id
    if not dataset.no_stamp and not config.resume:
        repo_id = f"{repo_id}_{now:%Y%m%d_%H%M%S}"
    root = None
    if writer.address is None:
        root = str(Path(dataset.root).absolute() if dataset.root else lerobot_home() / repo_id)
    elif dataset.root is not None:
        raise UsageError(
            "--dataset.root and --writer.address found together: the writer chooses the folder; leave --dataset.root "
            "away and start the writer with --root"
        )
    key_file = None if writer.keys is None else Path(writer.keys).expanduser().absolute()
    if key_file is not None:
        if writer.address is None:
            raise UsageError("--writer.keys found without --writer.address; a local writer needs no keys")
        load_recorder(key_file)
    if root is not None and not (parent := next(p for p in Path(root).parents if p.exists())).is_dir():
        raise UsageError(
            f"{parent} is a file, expected a folder to put the dataset into; choose another --dataset.root"
        )
    if root is not None and not config.resume and Path(root).exists():
        raise UsageError(f"{root} exists; choose another --dataset.root, or append to it with --resume=true")
    spec = DatasetSpec(
        repo_id=repo_id,
        fps=dataset.fps if dataset.fps is not None else 1,
        root=root,
        resume=config.resume,
        rgb_encoder=dataset.rgb_encoder,
        depth_encoder=dataset.depth_encoder,
        encoder_threads=dataset.encoder_threads,
        allow_slow_encoder=writer.allow_slow,
        keep_journal=writer.keep_journal,
        upload=UploadSpec(dataset.private, tuple(dataset.tags or ())) if dataset.push_to_hub else None,
    )
    publisher = config.publisher
    if publisher.spill_max_gb < 0 or publisher.give_up_s <= 0:
        raise UsageError(
            f"--publisher.spill_max_gb={publisher.spill_max_gb:g} and --publisher.give_up_s={publisher.give_up_s:g} "
            "found, expected a number from 0 and a positive one"
        )
    spill_max_bytes = int(publisher.spill_max_gb * 1e9)
    place = spill_dir.choose(publisher.spill_dir, os.environ)
    return SupervisorSettings(
        spec=spec,
        owner=f"{socket.gethostname()} (process {os.getpid()})",
        writer_address=writer.address,
        writer_keys=None if key_file is None else str(key_file),
        timeout_s=writer.timeout_s,
        min_free_bytes=int(writer.min_free_gb * 1e9),
        num_episodes=dataset.num_episodes,
        spill_dir=str(place.folder),
        spill_warning=place.warning or place.too_small_for(spill_max_bytes),
        spill_max_bytes=spill_max_bytes,
        give_up_s=publisher.give_up_s,
        play_sounds=config.play_sounds,
        first_index=_episodes_in(root) if config.resume and root is not None else 0,
        max_tick_s=config.timing.max_tick_s,
        max_reset_s=config.timing.max_reset_s,
        preview=preview_settings(config),
        others_cpus=None if (cpus := others_cpus(config.timing)) is None else sorted(cpus),
    )


def _episodes_in(root: str) -> int:
    """For the operator's ears only: whether the dataset is one is the writer's affair."""
    try:
        return int(json.loads((Path(root) / "meta/info.json").read_text())["total_episodes"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def lerobot_home() -> Path:
    """Where lerobot keeps datasets: $HF_LEROBOT_HOME, else as huggingface_hub derives it from HF_HOME and XDG."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    huggingface = Path(os.environ.get("HF_HOME", cache / "huggingface"))
    return Path(os.environ.get("HF_LEROBOT_HOME", huggingface / "lerobot")).expanduser()
