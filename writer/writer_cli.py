"""`onbeat writer`: encodes and writes datasets for recorders on this machine or on others."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from transport import flags, keys
from transport.errors import UsageError
from writer.parent import WriterParent

_MIN_MEMORY_GB = 0.5


@dataclass
class WriterConfig:
    # Where recorders connect to: tcp://ADDRESS:PORT or ipc://PATH.
    bind: str = "tcp://127.0.0.1:5757"
    # Folder under which datasets are written, as ROOT/OWNER/NAME.
    root: str = "recordings"
    # End after the first session.
    once: bool = False
    # Folder of the writer's keys (`onbeat keys` makes them); needed to listen to other machines.
    keys: str | None = None
    # Listen to other machines without keys: whoever reaches the port can write datasets, and read what passes by.
    insecure: bool = False
    # Upload datasets for recorders that ask for it, with this machine's login to the Hugging Face Hub; default: yes,
    # but not with --insecure.
    push_to_hub: bool | None = None
    # Gigabytes of memory at which ingest starts again; default: half of what the machine has.
    memory_gb: float | None = None
    # Show tracebacks.
    debug: bool = False


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    try:
        config = flags.parse(WriterConfig, argv, prog="onbeat writer", about=__doc__)
    except UsageError as error:
        return flags.fail(error)
    return flags.report(lambda: _run(config), debug=config.debug)


def _run(config: WriterConfig) -> int:
    _check_bind(config)
    if config.memory_gb is not None and not config.memory_gb >= _MIN_MEMORY_GB:
        raise UsageError(f"--memory_gb={config.memory_gb:g} found, expected at least {_MIN_MEMORY_GB:g}")
    folder = None if config.keys is None else Path(config.keys).expanduser().absolute()
    if folder is not None:
        keys.load_writer(folder)
        names = sorted(keys.load_allowed(folder).values())
        _log(f"recorders that may connect: {', '.join(names) or 'none yet, make their keys with `onbeat keys`'}")
    elif config.insecure:
        _log("no keys: whoever reaches the port can write datasets here, and read what passes by")
    base = Path(config.root).absolute()
    _log(f"datasets go to {base}; Ctrl-C ends")
    memory_bytes = None if config.memory_gb is None else int(config.memory_gb * 1e9)
    WriterParent(
        config.bind,
        base,
        once=config.once,
        supervisor_fd=None,
        log=_log,
        keys=folder,
        memory_bytes=memory_bytes,
        may_upload=not config.insecure if config.push_to_hub is None else config.push_to_hub,
    ).run()
    return 0


def _check_bind(config: WriterConfig) -> None:
    if config.keys is not None and config.insecure:
        raise UsageError("--keys and --insecure found together; leave --insecure away")
    parts = urlsplit(config.bind)
    if parts.scheme == "ipc":
        return
    try:
        port, host = parts.port, parts.hostname
    except ValueError:
        port, host = None, None
    if parts.scheme != "tcp" or host is None or port is None:
        raise UsageError(f"--bind={config.bind} found, expected tcp://ADDRESS:PORT or ipc://PATH")
    if not _is_loopback(host) and config.keys is None and not config.insecure:
        raise UsageError(
            f"{host} can be reached from other machines; make keys with `onbeat keys` and set --keys, bind to "
            "127.0.0.1, or say --insecure=true"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _log(text: str) -> None:
    print(f"onbeat writer: {text}", file=sys.stderr, flush=True)
