"""One run of stock lerobot: `python -m scripts.bench_kit.run_lerobot CONFIG.json`.

It calls the function behind `lerobot-record` with streaming encoding on and everything else at its default (queue,
encoder threads, image writers, processors), on a simulated robot. Nothing of lerobot is patched.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from lerobot.configs import RGBEncoderConfig
from lerobot.configs.dataset import DatasetRecordConfig
from lerobot.scripts.lerobot_record import RecordConfig, record

from scripts.bench_kit.loadrobot import LoadRobot, LoadRobotConfig
from scripts.bench_kit.loadteleop import LoadTeleopConfig
from writer.dataset_files import DatasetFiles


def main() -> int:
    config = json.loads(Path(sys.argv[1]).read_text())
    load, episodes = config["load"], config["episodes"]
    record(
        RecordConfig(
            robot=LoadRobotConfig(
                id="load",
                calibration_dir=Path(config["folder"]) / "calibration",
                n_cameras=load["cameras"],
                width=load["width"],
                height=load["height"],
                joints=load["joints"],
                step_ms=load["step_ms"],
                # A loop that only sleeps cannot be faster than its rate by more than rounding.
                ticks=config["ticks"] + 10 * episodes,
            ),
            teleop=LoadTeleopConfig(id="load"),
            dataset=DatasetRecordConfig(
                repo_id="local/bench",
                single_task="Load test",
                root=config["root"],
                fps=load["fps"],
                episode_time_s=config["ticks"] / episodes / load["fps"],
                reset_time_s=0,
                num_episodes=episodes,
                push_to_hub=False,
                rgb_encoder=RGBEncoderConfig(**load["encoder"]),
                streaming_encoding=True,
                no_stamp=True,
            ),
            play_sounds=False,
        )
    )
    episodes_there, _ = DatasetFiles(Path(config["root"])).episodes()
    LoadRobot.arm.save(Path(config["ticks_file"]), [episode.length for episode in episodes_there])
    return 0


if __name__ == "__main__":
    sys.exit(main())
