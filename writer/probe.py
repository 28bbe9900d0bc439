"""What `onbeat doctor` has to measure on the writer's side: encoders at the wanted load, and the dataset's disk.

A process of its own. Its link gets one message a result, {"codec": ..} and {"disk": ..}, or {"failed": why} in place of
it, and {"done": True} at last; {"next": what} says what is measured now.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from transport.dataset_spec import EncoderSpec
from transport.errors import UsageError
from transport.link import child_link
from writer.priority import give_up_realtime

# As the journal writes: some packets, four times a second.
_SYNC_BYTES = 64 << 10
_SYNC_INTERVAL_S = 0.25
_FILE_BYTES = 256 << 20
_CHUNK_BYTES = 4 << 20


def probe_disk(folder: Path, seconds: float, file_bytes: int = _FILE_BYTES) -> dict[str, Any]:
    """Write as the journal does, then one large file; both are without a name and gone afterwards, whatever happens.

    Returns:
        Fields of `control.doctor_figures.Disk`.

    Raises:
        OSError: nothing can be written there.
    """
    there = _nearest(folder)
    block = np.random.default_rng(0).bytes(_SYNC_BYTES)
    times_ms: list[float] = []
    with tempfile.TemporaryFile(dir=there, buffering=0) as file:
        end_s = time.monotonic() + seconds
        while not times_ms or time.monotonic() < end_s:
            began_s = time.monotonic()
            file.write(block)
            os.fdatasync(file.fileno())
            times_ms.append((time.monotonic() - began_s) * 1e3)
            time.sleep(max(began_s + _SYNC_INTERVAL_S - time.monotonic(), 0))
    free = os.statvfs(there)
    free_bytes = free.f_bavail * free.f_frsize
    written = min(file_bytes, free_bytes // 4) // _CHUNK_BYTES * _CHUNK_BYTES
    return {
        "folder": str(there),
        "file_system": _file_system(there),
        "free_bytes": free_bytes,
        "sync_ms": (statistics.median(times_ms), max(times_ms)),
        "syncs": len(times_ms),
        "write_bytes_per_s": _sequential(there, written) if written else None,
        "written_bytes": written,
    }


def _sequential(folder: Path, nbytes: int) -> float:
    chunk = np.random.default_rng(1).bytes(_CHUNK_BYTES)
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        began_s = time.monotonic()
        for _ in range(nbytes // _CHUNK_BYTES):
            file.write(chunk)
        os.fdatasync(file.fileno())
        return nbytes / (time.monotonic() - began_s)


def _nearest(folder: Path) -> Path:
    """The folder, or the first one above it that exists."""
    folder = folder.absolute()
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _file_system(folder: Path) -> str:
    """The type of the mount that holds `folder`, for example ext4."""
    device = folder.stat().st_dev
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        fields = line.split()
        if fields[2] == f"{os.major(device)}:{os.minor(device)}":
            return fields[fields.index("-") + 1]
    return "unknown"


def _main() -> None:
    link, config, _ = child_link()
    give_up_realtime()
    link.send({"next": "the disk"})
    try:
        link.send({"disk": probe_disk(Path(config["folder"]), config["disk_s"])})
    except OSError as error:
        link.send({"failed": f"{config['folder']} cannot be written ({error.strerror}); set --root"})
    try:
        if config["load"][0]:
            from writer.probe_codecs import probe_codecs  # needs packages that a robot machine may lack

            spec = EncoderSpec(**config["rgb_encoder"])
            for message in probe_codecs(spec, config["encoder_threads"], tuple(config["load"]), config["codec_s"]):
                link.send(message)
    except ModuleNotFoundError as error:
        failed = (
            f"no writer is installed here (package {error.name} missing); name one on another machine with "
            "--writer.address, or pip install 'onbeat[writer,lerobot]'"
        )
        link.send({"failed": failed})
    except UsageError as error:
        link.send({"failed": str(error)})
    link.send({"done": True})


if __name__ == "__main__":
    _main()
