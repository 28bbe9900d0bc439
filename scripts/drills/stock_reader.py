"""Stock LeRobot in a process of its own: opens datasets that it is told and reads pictures from them.

Importing lerobot takes longer than most drills, so one process serves them all: a path a line in, JSON a line out.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
from pathlib import Path


class StockReader:
    """The client's side."""

    def __init__(self) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="onbeat-drills-hf-")
        environment = {"PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "1", "HF_HOME": self._home.name}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "scripts.drills.stock_reader"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=environment,
            start_new_session=True,
        )
        self._lock = threading.Lock()

    def open(self, root: Path) -> str:
        """Empty if stock opens the dataset and reads it, else what it said."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(f"{root}\n")
            self._process.stdin.flush()
            answer = self._process.stdout.readline()
        return str(json.loads(answer)["problem"]) if answer else "stock LeRobot's process died"

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._home.cleanup()


def _serve() -> None:
    from lerobot.datasets.lerobot_dataset import LeRobotDataset

    answers, sys.stdout = sys.stdout, sys.stderr
    for line in sys.stdin:
        root = Path(line.strip())
        problem = ""
        try:
            dataset = LeRobotDataset("drill/dataset", root=root, video_backend="pyav")
            info = json.loads((root / "meta/info.json").read_text())
            if (dataset.num_episodes, dataset.num_frames) != (info["total_episodes"], info["total_frames"]):
                problem = f"stock counts {dataset.num_episodes} episodes and {dataset.num_frames} frames"
            for index in sorted({0, dataset.num_frames // 2, dataset.num_frames - 1}):
                item = dataset[index]
                if int(item["index"]) != index or any(camera not in item for camera in dataset.meta.video_keys):
                    problem = f"stock read frame {index} as {int(item['index'])}"
        except Exception as error:  # noqa: BLE001 - whatever stock raises is the finding
            problem = f"stock could not open it: {type(error).__name__}: {error}"
        print(json.dumps({"problem": problem}), file=answers, flush=True)


if __name__ == "__main__":
    _serve()
