"""Whether a writer can be started on this machine: its packages are looked up, never imported here."""

from __future__ import annotations

from importlib.util import find_spec

from transport.errors import UsageError

_PACKAGES = ("av", "cv2", "mcap", "pyarrow", "lerobot")


def check_writer_installed() -> None:
    """Whether the extras of the writer's side are there.

    Raises:
        UsageError: they are not, as on a machine that is a robot's only.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"no writer is installed on this machine ({', '.join(missing)} missing); name one on another machine with "
            "--writer.address, or install onbeat with its extras, as in pip install 'onbeat[writer,lerobot]'"
        )
