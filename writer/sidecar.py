"""The sidecar `meta/onbeat/`: what onbeat knows about an episode beyond LeRobot's columns. Stock LeRobot ignores it.

episode-000007.parquet   one row per frame: `frame_index`, then every telemetry stream under its full name
                         (`onbeat.scheduled_ns`, ...); streams of shape (1,) are plain columns, others lists
episode-000007.json      session_id, episode_id, task, frames, reason, detail, codec, pix_fmt, codec_options (what the
                         encoder was opened with), gaps, timing and encoding (`writer.episode_timing`), version
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from writer.commit_steps import sidecar_path
from writer.episode import FinishedEpisode
from writer.episode_timing import encode_facts, timing_facts


def write_sidecar(tree: Path, episode_index: int, episode: FinishedEpisode) -> None:
    """Write both files of an episode below `tree`."""
    frames = len(episode.rows)
    columns = {"frame_index": pa.array(np.arange(frames))}
    for stream in episode.schema.sidecar:
        flat = pa.array(np.ascontiguousarray(episode.rows[stream.key]).reshape(-1))
        columns[stream.key] = flat if stream.shape == (1,) else _lists(flat, len(flat) // frames)
    facts = {
        "session_id": episode.session_id,
        "episode_id": episode.episode_id,
        "task": episode.task,
        "frames": frames,
        "reason": str(episode.reason),
        "detail": episode.detail,
        "codec": episode.spec.rgb_encoder.vcodec,
        "pix_fmt": episode.spec.rgb_encoder.pix_fmt,
        "codec_options": dict(episode.codec_options),
        "gaps": [],
        "timing": timing_facts(episode.rows, episode.spec.fps),
        "encoding": encode_facts(episode.encode_runs),
        "version": version("onbeat"),
    }
    path = tree / sidecar_path(episode_index, "json")
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(facts, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    pq.write_table(pa.table(columns), tree / sidecar_path(episode_index, "parquet"))


def _lists(flat: pa.Array, size: int) -> pa.Array:
    return pa.FixedSizeListArray.from_arrays(flat, size)
