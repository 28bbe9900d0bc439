"""What is in a dataset, by decoding it: compared with the rows, and with what the built-in environment drew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import gymnasium
import numpy as np
import pyarrow.dataset
import pyarrow.parquet
from numpy.typing import NDArray

from control.envs import frame_code
from writer.verify import verify


def info(root: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((root / "meta/info.json").read_text())
    return found


def rows(root: Path) -> dict[str, NDArray[Any]]:
    """Columns of all episodes in order."""
    table = pyarrow.dataset.dataset(root / "data", format="parquet").to_table().sort_by("index")
    return {name: np.array(table[name].to_pylist()) for name in table.column_names}


def telemetry(root: Path, episode: int) -> dict[str, NDArray[Any]]:
    """The sidecar's columns, without `onbeat.` in front."""
    table = pyarrow.parquet.read_table(root / f"meta/onbeat/episode-{episode:06d}.parquet")
    return {name.removeprefix("onbeat."): np.array(table[name].to_pylist()) for name in table.column_names}


def decode(path: Path) -> list[NDArray[np.uint8]]:
    """All pictures of a video, uint8 HWC."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def assert_whole(root: Path, episodes: int, *, numbered: bool = True) -> None:
    """Every frame of every camera decodes at its time and shows its own number; rows and totals agree."""
    result = verify(root, frame_code.read if numbered else None)
    problems = [*result.problems, *(f"episode {e.episode_index}: {p}" for e in result.episodes for p in e.problems)]
    assert problems == []
    assert [episode.episode_index for episode in result.episodes] == list(range(episodes))
    assert not list(root.parent.glob("*.onbeat")), "something is left beside the dataset"


def assert_no_slot_lost(root: Path, episode: int, fps: int) -> None:
    """The frames are those that control published: slot after slot of the grid, with gaps only where it missed some."""
    found = telemetry(root, episode)
    slots = np.rint(np.diff(found["scheduled_ns"].ravel()) * fps / 1e9).astype(int)
    assert (slots == 1 + found["missed_slots"].ravel()[1:]).all()


def psnr_against_replay(root: Path, env: gymnasium.Env[Any, Any], seed: int | None) -> float:
    """The worst PSNR in dB of any picture of episode 0, against the environment stepped again as recorded.

    The states must be equal exactly: that also shows that row t has the observation before its action.
    """
    data = rows(root)
    cameras = [key for key, feature in info(root)["features"].items() if feature["dtype"] == "video"]
    decoded = {key: decode(root / f"videos/{key}/chunk-000/file-000.mp4") for key in cameras}
    observation, _ = env.reset(seed=seed)
    worst = np.inf
    for index in range(int((data["episode_index"] == 0).sum())):
        np.testing.assert_array_equal(data["observation.state"][index], observation["observation.state"])
        for key in cameras:
            error = decoded[key][index].astype(np.float64) - observation[key]
            worst = min(worst, 10 * np.log10(255**2 / max(np.mean(error**2), 1e-9)))
        observation, *_ = env.step(data["action"][index].astype(np.float32))
    return float(worst)
