from __future__ import annotations

import pytest

from control.episode_rules import EpisodeConfig
from control.load_config import LoadConfig, LoadFlags
from control.load_plan import as_recording, plan_load
from control.session_plan import SessionPlan
from transport.errors import UsageError
from transport.replay import ReplayEpisode, ReplayLayout
from transport.schema import Schema, Stream

REPLAY = ReplayLayout(
    Schema((Stream("action", "float32", (2,)),)), 30, None, (ReplayEpisode(90, "lift"), ReplayEpisode(60, "drop"))
)


@pytest.mark.parametrize(
    ("flags", "replay", "fps", "frames"),
    [
        pytest.param({}, None, 60, (1200, 1200, 1200), id="a minute in three episodes"),
        pytest.param({"duration_s": 5}, None, 60, (300,), id="shorter than an episode"),
        pytest.param({"duration_s": 10, "episode_s": 4}, None, 60, (300, 300), id="episodes of equal length"),
        pytest.param({"duration_s": 1, "episode_s": 0.3, "fps": 10}, None, 10, (4, 4, 4), id="never shorter"),
        pytest.param({"duration_s": 0.001}, None, 60, (1,), id="at least one tick"),
        pytest.param({}, REPLAY, 30, (90, 60), id="a dataset once"),
        pytest.param({"fps": 100}, REPLAY, 100, (90, 60), id="at another rate"),
        pytest.param({"speed": 0.5}, REPLAY, 15, (90, 60), id="at half speed"),
        pytest.param({"duration_s": 8}, REPLAY, 30, (90, 60, 90), id="again until the time is over"),
    ],
)
def test_rate_and_episodes(flags, replay, fps, frames):
    plan = plan_load(LoadFlags(**flags), replay)
    assert (plan.fps, plan.episode_frames, plan.ticks) == (fps, frames, sum(frames))


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        ({"sink": "void"}, "expected writer or null"),
        ({"speed": 0.7, "fps": 33}, "expected a whole number"),
        ({"speed": 0}, "expected a whole number"),
        ({"fps": -5}, "expected a whole number"),
        ({"duration_s": 0}, "expected positive seconds"),
        ({"episode_s": -1}, "expected positive seconds"),
        ({"step_ms": -1}, "expected positive seconds"),
        ({"width": 63}, "expected at least 64x48"),
        ({"height": 47}, "expected at least 64x48"),
        ({"cameras": 257}, "expected 0 to 256 cameras"),
        ({"cameras": -1}, "expected 0 to 256 cameras"),
        ({"joints": 0}, "at least 1 joint"),
        ({"max_p999_us": 100}, "--load.duration_s=167"),
        ({"max_lost": 0, "check": False}, "--load.check=false"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(flags, says):
    with pytest.raises(UsageError, match=says) as caught:
        plan_load(LoadFlags(**flags), None)
    assert "\n" not in str(caught.value)


def test_a_limit_on_p999_is_taken_for_ten_thousand_ticks():
    assert plan_load(LoadFlags(max_p999_us=100, duration_s=167), None).ticks >= 10_000


def test_the_recording_takes_the_flags_of_the_load():
    config = LoadConfig()
    config.dataset.rgb_encoder.vcodec = "h264"
    config.publisher.ring_s = 2.5
    recording = as_recording(config, plan_load(config.load, REPLAY), root="/data/x", address=None)
    assert recording.dataset.num_episodes == 2
    # The longest episode must not be cut by the time limit.
    assert round(recording.dataset.episode_time_s * 30) == 90
    assert (recording.dataset.rgb_encoder.vcodec, recording.publisher.ring_s) == ("h264", 2.5)
    assert (recording.dataset.root, recording.writer.address) == ("/data/x", None)


@pytest.mark.parametrize(
    ("tasks", "expected"), [((), ["pick"] * 4), (("lift", "drop", "lift"), ["lift", "drop", "lift", "lift"])]
)
def test_every_replayed_episode_has_its_own_task(tasks, expected):
    plan = SessionPlan("pick", 4, EpisodeConfig(1), tasks=tasks, tasks_by_take=True)
    assert [plan.task_of(episode, 0) for episode in range(4)] == expected
