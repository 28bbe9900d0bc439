"""What it costs to commit an episode, early and late in a dataset: `python scripts/bench_commit.py [N] [--json]`.

Commits tiny episodes (10 frames, one 64x48 camera; N is 300 if not given) into a temporary folder and prints the
median wall-clock time of commits 2 to 6 and of the last five. The target is a ratio of at most 1.3.

Bias: the dataset is in the page cache and every fsync goes to this machine's disk, which others may be using; medians
of five leave single stalls out.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import av
import numpy as np

from transport.dataset_spec import DatasetSpec, EncoderSpec
from transport.records import EndReason
from transport.schema import HWC, Kind, Schema, Stream
from writer.commit import Committer
from writer.episode import FinishedEpisode

FRAMES, HEIGHT, WIDTH, FPS = 10, 48, 64, 30
SCHEMA = Schema(
    (
        Stream("observation.state", "float32", (6,)),
        Stream("observation.images.front", "uint8", (HEIGHT, WIDTH, 3), Kind.VIDEO, HWC),
        Stream("action", "float32", (6,)),
    )
)
SPEC = DatasetSpec("bench/commit", FPS, rgb_encoder=EncoderSpec(vcodec="h264", preset="ultrafast"))


def write_video(key: str, path: Path) -> None:
    with av.open(str(path), "w") as output:
        stream = output.add_stream("h264", FPS, options={"preset": "ultrafast", "g": "2", "crf": "30"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for i in range(FRAMES):
            picture = np.full((HEIGHT, WIDTH, 3), 20 * i, np.uint8)
            output.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode())


def episode(number: int) -> FinishedEpisode:
    rows = np.zeros(FRAMES, SCHEMA.row_dtype)
    rows["observation.state"] = np.random.default_rng(number).normal(size=(FRAMES, 6))
    return FinishedEpisode("b" * 32, number, "bench", SCHEMA, SPEC, rows, {}, EndReason.NEXT)


def costs_ms(episodes: int) -> list[float]:
    """Wall-clock milliseconds of each commit."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "ds"
        committer = Committer(root, root.with_name("ds.onbeat"), SPEC, SCHEMA)
        costs = []
        for number in range(episodes):
            began = time.perf_counter()
            committer.commit(episode(number), write_video)
            costs.append((time.perf_counter() - began) * 1e3)
    return costs


def main() -> int:
    numbers = [int(word) for word in sys.argv[1:] if word.isdecimal()]
    episodes = numbers[0] if numbers else 300
    costs = costs_ms(episodes)
    early, late = median(costs[1:6]), median(costs[-5:])
    if "--json" in sys.argv:
        print(json.dumps({"first": early, "last": late}))
        return 0
    print(f"commit of episodes 2-6: {early:.1f} ms, of the last five of {episodes}: {late:.1f} ms")
    print(f"ratio {late / early:.2f} (target: at most 1.3)")
    return 0 if late <= 1.3 * early else 1


if __name__ == "__main__":
    sys.exit(main())
