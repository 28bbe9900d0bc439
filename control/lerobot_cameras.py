"""A robot's cameras, taken out of its hands before any is opened: each gets a process of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from control.affinity import others_cpus
from control.camera_set import CameraSet, CameraSpec
from control.config import TimingFlags
from control.lerobot_camera import CameraProxy, config_of, encode
from control.lerobot_device import parts_of
from transport.errors import UsageError
from transport.link import Link


def take_cameras(robot: Any, timing: TimingFlags, link: Link) -> tuple[dict[str, CameraProxy], CameraSet]:
    """Put stand-ins in the place of the robot's cameras, wherever it keeps them.

    Raises:
        UsageError: a camera that cannot be read in another process.
    """
    found: dict[int, tuple[str, Any]] = {}
    holders = [part.cameras for part in parts_of(robot) if isinstance(getattr(part, "cameras", None), dict)]
    for holder in reversed(holders):
        for name, camera in holder.items():
            if config_of(camera) is not None:
                found[id(camera)] = (name, camera)
    specs: list[CameraSpec] = []
    for name, camera in found.values():
        if not getattr(camera, "use_rgb", True):
            raise UsageError(f"camera {name} delivers depth alone, expected pictures as well; set its use_rgb to true")
        try:
            config, depth = encode(config_of(camera)), bool(getattr(camera, "use_depth", False))
            specs.append(CameraSpec(_unique(name, specs), config, camera.height, camera.width, depth))
        except TypeError as error:
            raise UsageError(f"camera {name}: {error}") from error
    cpus = others_cpus(timing)
    cameras = CameraSet(specs, link, None if cpus is None else sorted(cpus))
    proxies = {
        key: CameraProxy(
            spec.name, config_of(camera), camera, cameras.memories[spec.name], cameras.depths.get(spec.name)
        )
        for (key, (_, camera)), spec in zip(found.items(), specs, strict=True)
    }
    for holder in holders:
        holder.update({name: proxies.get(id(camera), camera) for name, camera in holder.items()})
    return {proxy.name: proxy for proxy in proxies.values()}, cameras


def _unique(name: str, specs: Sequence[CameraSpec]) -> str:
    """Two arms may each have a camera called wrist."""
    names = {spec.name for spec in specs}
    return name if name not in names else next(new for n in range(2, 1000) if (new := f"{name}_{n}") not in names)
