"""`onbeat record` on an emulated rig, for tests that look at the dataset afterwards."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onbeat_process as run
import outcome

sys.path[:0] = [str(Path(__file__).parents[2]), str(Path(__file__).parents[1] / "emulators")]

from control.envs import frame_code  # noqa: E402 - the emulators, and their tests' helpers, are not installed
from scripts.emulators.rig import Rig, make_rig  # noqa: E402

ATTEMPTS = 4
# What an emulator on a busy machine may bring about, as a real bus does not: a machine that stood still.
STARVED = ("There is no status packet", "Incorrect status packet", "motor check failed", "Port is in use")


@contextlib.contextmanager
def short_rig(**form: Any) -> Iterator[Rig]:
    """A rig in a folder whose path is short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="arm") as name, make_rig(Path(name), **form) as rig:
        yield rig


def dataset_flags(rig: Rig, **values: Any) -> list[str]:
    """Everything that lerobot-record and onbeat are told alike, but for the root; `values` add to `--dataset.*`."""
    dataset = {
        "repo_id": "me/pick",
        "no_stamp": "true",
        "single_task": "Pick the cube",
        "fps": rig.fps,
        "reset_time_s": 0,
        "push_to_hub": "false",
        "streaming_encoding": "true",
        "encoder_threads": 1,
        **values,
    }
    return [*rig.flags, *(f"--dataset.{name}={value}" for name, value in dataset.items()), "--play_sounds=false"]


def record_ours(
    flags: list[str],
    root: Path,
    home: Path,
    *,
    meanwhile: Callable[[run.OnbeatProcess], None] = lambda process: None,
    before: Callable[[], None] = lambda: None,
) -> run.OnbeatProcess:
    """Record into `root`, again from the start when the machine stood still; returns the process, which has ended.

    Episodes are short: encoders and cameras that are slow on a busy machine are no matter here.

    Args:
        meanwhile: called as soon as it runs; may raise AssertionError if that is because the machine stood still.
        before: called before each attempt, with `root` as it was at first.
    """
    spare = root.with_name(f"{root.name}.before")
    if root.exists():
        shutil.copytree(root, spare)
    for _ in range(ATTEMPTS):
        shutil.rmtree(root, ignore_errors=True)
        shutil.rmtree(root.with_name(f"{root.name}.onbeat"), ignore_errors=True)
        if spare.exists():
            shutil.copytree(spare, root)
        before()
        ours = [f"--dataset.root={root}", "--writer.allow_slow=true", "--timing.allow_slow_cameras=true"]
        with run.OnbeatProcess([run.ONBEAT, "record", *flags, *ours], home) as process:
            try:
                meanwhile(process)
            except AssertionError:
                # Not the machine's fault: `starved` says what happened instead.
                assert starved(process, process.finish())
                continue
            if not starved(process, process.finish()):
                return process
    raise AssertionError(f"the machine stood still {ATTEMPTS} times:\n{process.output}")


def starved(process: run.OnbeatProcess, code: int) -> bool:
    """Whether a machine that stood still for a tenth of a second ended the session; anything else is a failure."""
    if code == 0:
        return False
    assert any(word in process.output for word in STARVED), process.output
    return True


def numbers(rig: Rig, root: Path, camera: str, episode: int = 0) -> np.ndarray:
    """The number in each picture of an episode that onbeat recorded, int64."""
    found = []
    for picture in outcome.decode(root / f"videos/observation.images.{camera}/chunk-000/file-{episode:03d}.mp4"):
        code = frame_code.read(picture)
        assert code is not None
        assert code[1] == rig.cameras.index(camera)
        found.append(code[0])
    return np.array(found)


def assert_same_pictures(rig: Rig, root: Path, camera: str, episode: int = 0, restarts: int = 0) -> None:
    """What the sidecar says about a frame's picture is what the pixels say; a restarted camera counts from 0 again.

    With restarts, the camera's video must last for the whole session.
    """
    seen = numbers(rig, root, camera, episode)
    if not restarts:
        seen[1:] += rig.pictures * np.cumsum(np.diff(seen) < 0)
    told = outcome.telemetry(root, episode)
    seq, capture_ns = (told[f"cameras.{camera}.{name}"].astype(np.int64) for name in ("seq", "capture_ns"))
    assert len(seen) == len(seq)
    restarted = np.diff(seen) < 0
    assert restarted.sum() == restarts
    assert (np.diff(seq) >= 0).all()
    assert ((np.diff(seen) != 0) == (np.diff(seq) > 0)).all()
    assert (np.diff(capture_ns) >= 0).all()
    assert (told[f"cameras.{camera}.repeated"][1:] == (np.diff(seq) == 0)).all()
    # A starved camera skips numbers and never repeats one.
    assert (np.diff(seen - seq)[~restarted] >= 0).all()
