"""A leader, a follower and cameras, emulated, with the flags that lerobot-record and onbeat know them by.

with make_rig(folder, fps=60, width=640, height=480) as rig:
    subprocess.run(["lerobot-record", *rig.flags, "--dataset.repo_id=me/pick", ...])
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from scripts.emulators.feetech.arm import EmulatedArm
from scripts.emulators.numbered_video import write_numbered_video

# An arm has no scheduler; this brings an emulator as near to that as the machine permits.
_ARM_PRIORITY = 60
# Depth is encoded slowly, without loss.
_SMALL = (160, 120)
_SMALL_FLAGS = f"width: {_SMALL[0]}, height: {_SMALL[1]}"


@dataclass(frozen=True)
class Rig:
    """What is on the table.

    Attributes:
        folder: short enough for a socket's path; each camera's video and orders are in it.
        cameras: their names; camera i draws i into its pictures.
        depth_camera: one more, which delivers depth too; None: there is none.
        pictures: in each camera's video, which is played over and over.
    """

    follower: EmulatedArm
    leader: EmulatedArm
    folder: Path
    cameras: tuple[str, ...]
    pictures: int
    fps: int
    width: int
    height: int
    depth_camera: str | None = None

    @property
    def robot_flags(self) -> list[str]:
        """The follower, without cameras."""
        return arm_flags("robot", "so101_follower", self.follower)

    @property
    def flags(self) -> list[str]:
        """Follower, cameras and leader."""
        return [*self.robot_flags, *self.camera_flags(), *arm_flags("teleop", "so101_leader", self.leader)]

    def camera_flags(self) -> list[str]:
        if not self.cameras:
            return []
        size = f"width: {self.width}, height: {self.height}, fps: {self.fps}"
        cameras = [
            f"{name}: {{type: testfile, path: {self.folder / name}.mp4, {size}, orders: {self.orders(name)}}}"
            for name in self.cameras
        ]
        if self.depth_camera is not None:
            small = f"path: {self.folder / self.depth_camera}.mp4, {_SMALL_FLAGS}, fps: {self.fps}"
            cameras.append(f"{self.depth_camera}: {{type: testfile, {small}, use_depth: true}}")
        return [f"--robot.cameras={{{', '.join(cameras)}}}"]

    def orders(self, camera: str) -> Path:
        """Where a camera looks for orders; see lerobot_camera_testfile.mischief."""
        return self.folder / f"{camera}.orders"


@contextlib.contextmanager
def make_rig(
    folder: Path,
    *,
    fps: int,
    width: int,
    height: int,
    pictures: int | None = None,
    cameras: Sequence[str] = ("front", "wrist"),
    depth_camera: str | None = None,
) -> Iterator[Rig]:
    """Start both arms and draw the cameras' videos, by default five seconds of them; leaving ends the arms.

    Args:
        depth_camera: the name of one more, of 160x120, which delivers depth too.
    """
    count = 5 * fps if pictures is None else pictures
    with EmulatedArm("follower", folder) as follower, EmulatedArm("leader", folder) as leader:
        for arm in (follower, leader):
            with contextlib.suppress(PermissionError):
                os.sched_setscheduler(arm.pid, os.SCHED_FIFO, os.sched_param(_ARM_PRIORITY))
        for index, name in enumerate(cameras):
            path = folder / f"{name}.mp4"
            write_numbered_video(path, pictures=count, fps=fps, width=width, height=height, camera=index)
        if depth_camera is not None:
            path, number = folder / f"{depth_camera}.mp4", len(cameras)
            write_numbered_video(path, pictures=count, fps=fps, width=_SMALL[0], height=_SMALL[1], camera=number)
        yield Rig(follower, leader, folder, tuple(cameras), count, fps, width, height, depth_camera)


def arm_flags(section: str, kind: str, arm: EmulatedArm) -> list[str]:
    """An emulated arm as `--robot.*` or `--teleop.*`."""
    return [
        f"--{section}.type={kind}",
        f"--{section}.port={arm.port}",
        f"--{section}.id={arm.name}",
        f"--{section}.calibration_dir={arm.calibration_dir}",
    ]
