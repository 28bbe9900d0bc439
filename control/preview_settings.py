"""lerobot-record's `--display_*` flags, checked without importing a viewer."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from control.config import RecordConfig
from transport.errors import UsageError

_PACKAGES = {"rerun": "rerun", "foxglove": "foxglove"}


@dataclass(frozen=True, slots=True)
class PreviewSettings:
    """What lerobot-record's `--display_*` flags say.

    Attributes:
        mode: rerun or foxglove.
        ip, port: of a viewer elsewhere (rerun), or to listen at (foxglove).
        compress: send pictures as JPEG.
    """

    mode: str
    ip: str | None = None
    port: int | None = None
    compress: bool = False


def preview_settings(config: RecordConfig) -> PreviewSettings | None:
    """What is to be shown; None for nothing.

    Raises:
        UsageError: no such viewer, or it is not installed; says which extra brings it.
    """
    if not config.display_data:
        return None
    mode = config.display_mode
    package = _PACKAGES.get(mode)
    if package is None:
        raise UsageError(f"--display_mode={mode} found, expected one of {', '.join(_PACKAGES)}")
    for name in ("lerobot", package):
        if importlib.util.find_spec(name) is None:
            raise UsageError(
                f"--display_data=true with --display_mode={mode} needs the package {name}, which is not installed; "
                "pip install 'onbeat[display]'"
            )
    return PreviewSettings(mode, config.display_ip, config.display_port, config.display_compressed_images)
