"""What a caller of `record_dataset` is told when the session ends before its time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gymnasium
import pytest

from control import api
from control.envs import register
from control.errors import SessionAborted
from transport.errors import OnbeatError, RefusedError
from transport.link import Link

ABORTED = SessionAborted("ended by SIGTERM")


@pytest.mark.parametrize(
    ("ended_by", "words", "raised"),
    [
        (ABORTED, [{"failed": "publisher ended 10 times", "exit_code": 1}], OnbeatError("publisher ended 10 times")),
        (ABORTED, [{"summary": {"problems": []}}], ABORTED),
        (ABORTED, [], ABORTED),
        (
            RefusedError("the log does not fit"),
            [{"refused": "the log does not fit"}, {"failed": "the log does not fit", "exit_code": 2}],
            RefusedError("the log does not fit"),
        ),
    ],
    ids=["by the supervisor's failure", "by the user", "with the supervisor dead", "refused"],
)
def test_the_cause_is_raised(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ended_by: OnbeatError,
    words: list[Mapping[str, Any]],
    raised: OnbeatError,
) -> None:
    ours, theirs = Link.pair()

    def end(*args: Any) -> None:
        for message in words:
            theirs.send(message)
        theirs.close()
        raise ended_by

    monkeypatch.setattr(api, "run_session", end)
    monkeypatch.setattr(api, "spawn", lambda *args: (SimpleNamespace(wait=lambda: 1), ours))
    register()
    cfg: Any = SimpleNamespace(
        repo_id="me/x", dataset_root=tmp_path / "ds", num_episodes=1, fps=30, push_to_hub=False, task="t",
        number_of_steps_after_success=0, wrapper=SimpleNamespace(use_gripper=True, control_time_s=1.0),
        pretrained_policy_name_or_path=None,
    )  # fmt: skip
    env = gymnasium.make("onbeat/Tabletop-v0", width=64, height=48)
    try:
        with pytest.raises(OnbeatError) as caught:
            api.record_dataset(env, None, cfg)
    finally:
        env.close()
        ours.close()
    assert type(caught.value) is type(raised)
    assert str(caught.value) == str(raised)
