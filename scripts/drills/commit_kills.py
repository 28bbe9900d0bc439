"""The committer killed between every pair of its steps."""

from __future__ import annotations

import json

from scripts.drills.registry import Result, drill
from scripts.drills.stage import Stage

# Of a first episode, and of a later one; `tests/writer/test_commit_crash.py` holds the order.
# "drop" is the moment after it, when the episode's journal is deleted.
_FIRST = {"stage", "intent", "verify", "dataset", "record", "clean", "done", "drop"}
_LATER = {"stage", "intent", "videos", "data", "sidecar", "stats", "tasks", "episodes", "verify", "info", "drop"}


@drill("committer-killed-at-every-step")
def committer_killed_at_every_step(stage: Stage) -> Result:
    """Killed once before each step of a first commit and of a later one, and over its journal; another one goes on."""
    marks = stage.folder / "marks"
    marks.mkdir()
    fault = {"ONBEAT_DRILL": json.dumps({"kill_at_steps": str(marks)})}
    with stage.record(episodes=2, fault=fault) as run:
        code = run.process.finish(1200)
        run.process.drain(30)
        stage.expect(code == 0, f"the recorder ended with {code}:\n{run.process.output}")
    # A task that is new to the dataset has a step of its own.
    with stage.record("--resume=true", "--dataset.single_task=Push it", fault=fault) as run:
        code = run.process.finish(200)
        run.process.drain(30)
        stage.expect(code == 0, f"the second recorder ended with {code}:\n{run.process.output}")
    kills = sorted(path.name for path in marks.iterdir())
    first = {name.split()[1] for name in kills if name.startswith("0")}
    later = {name.split()[1] for name in kills if name.startswith("1")}
    stage.expect(first >= _FIRST, f"not killed at {_FIRST - first} of the first commit")
    stage.expect(later >= _LATER, f"not killed at {_LATER - later} of the later commit")
    stage.notes.append(f"{len(kills)} kills: {', '.join(kills)}")
    return stage.judge()
