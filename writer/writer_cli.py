"""`onbeat writer`: encodes and writes datasets for recorders on this machine or on others."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from transport import flags
from transport.errors import UsageError
from writer.parent import WriterParent


@dataclass
class WriterConfig:
    # Where recorders connect to: tcp://ADDRESS:PORT or ipc://PATH.
    bind: str = "tcp://127.0.0.1:5757"
    # Folder under which datasets are written, as ROOT/OWNER/NAME.
    root: str = "recordings"
    # End after the first session.
    once: bool = False
    # Accept recorders from other machines without keys; anybody who reaches the port can then write datasets.
    insecure: bool = False
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
    base = Path(config.root).absolute()
    _log(f"datasets go to {base}; Ctrl-C ends")
    WriterParent(config.bind, base, once=config.once, supervisor_fd=None, log=_log).run()
    return 0


def _check_bind(config: WriterConfig) -> None:
    parts = urlsplit(config.bind)
    if parts.scheme == "ipc":
        return
    try:
        port, host = parts.port, parts.hostname
    except ValueError:
        port, host = None, None
    if parts.scheme != "tcp" or host is None or port is None:
        raise UsageError(f"--bind={config.bind} found, expected tcp://ADDRESS:PORT or ipc://PATH")
    if not _is_loopback(host) and not config.insecure:
        raise UsageError(
            f"{host} can be reached from other machines and this version has no keys yet; bind to 127.0.0.1 (and "
            "tunnel), or say --insecure=true"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _log(text: str) -> None:
    print(f"onbeat writer: {text}", file=sys.stderr, flush=True)
