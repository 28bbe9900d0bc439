"""What can be said about a `testfile` camera on the command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lerobot.cameras.configs import CameraConfig, ColorMode


@CameraConfig.register_subclass("testfile")
@dataclass(kw_only=True)
class VideoFileCameraConfig(CameraConfig):  # type: ignore[misc]
    """A video file in place of a camera.

    Fields:
        fps, width, height: what the file has, or None; other values are refused, as a real camera refuses them.
        path: the video; its pictures are held in memory, at most 1 GiB of them.
        color_mode: order of the channels in the pictures delivered.
        stall_after_s: after this long, deliver nothing for `stall_s`, once; None: never.
        die_after_s: after this long, end as a camera does that was unplugged; None: never.
        use_depth: deliver a depth map beside each picture; see depth.py.
        orders: a file that is looked for before every picture, carried out and removed (see mischief.py); None: none.
    """

    path: Path
    color_mode: ColorMode = ColorMode.RGB
    stall_after_s: float | None = None
    stall_s: float = 1.0
    die_after_s: float | None = None
    use_depth: bool = False
    orders: Path | None = None

    def __post_init__(self) -> None:
        self.color_mode = ColorMode(self.color_mode)
