"""`--policy.*` on the command line: what is onbeat's, what is the policy's own."""

from __future__ import annotations

import math
from typing import Any

import pytest

from control.config import PolicyFlags, RecordConfig
from control.policy_client import PolicyClient
from control.policy_flags import complete, split
from transport import flags
from transport.errors import UsageError


@pytest.mark.parametrize(
    ("argv", "overrides", "plugins", "rest"),
    [
        ([], [], [], []),
        (["--dataset.fps=30"], [], [], ["--dataset.fps=30"]),
        (
            ["--policy.path=a/b", "--policy.device=cuda", "--policy.max_held_s=2", "--resume=true"],
            ["--device=cuda"],
            [],
            ["--policy.path=a/b", "--policy.max_held_s=2", "--resume=true"],
        ),
        (
            ["--policy.path", "a/b", "--policy.n_action_steps", "8", "--dataset.fps", "30"],
            ["--n_action_steps", "8"],
            [],
            ["--policy.path", "a/b", "--dataset.fps", "30"],
        ),
        (["--policy.optimizer.lr=1", "--policy.path=a"], ["--optimizer.lr=1"], [], ["--policy.path=a"]),
        (
            ["--policy.discover_packages_path=mine", "--policy.path=a", "--policy.discover_packages_path", "other"],
            [],
            ["mine", "other"],
            ["--policy.path=a"],
        ),
    ],
)
def test_split(argv: list[str], overrides: list[str], plugins: list[str], rest: list[str]) -> None:
    assert split(argv) == (overrides, plugins, rest)


@pytest.mark.parametrize("flag", ["--policy.device=cpu", "--policy.max_held_s=2", "--policy.discover_packages_path=a"])
def test_without_a_path(flag: str) -> None:
    overrides, plugins, _ = split([flag])
    with pytest.raises(UsageError, match=rf"{flag.partition('=')[0]} found without --policy.path; say which policy"):
        complete(RecordConfig(), [flag], overrides, plugins)


def test_with_a_path_from_a_file() -> None:
    config = RecordConfig(policy=PolicyFlags("a/b"))
    complete(config, ["--policy.device=cpu"], ["--device=cpu"], [])
    assert config.policy.overrides == ["--device=cpu"]


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"max_held_s": 0}, r"--policy.max_held_s=0 found, expected .* a positive number of seconds"),
        ({"max_held_s": math.nan}, r"--policy.max_held_s=nan found"),
        ({"max_held_s": math.inf}, r"--policy.max_held_s=inf found"),
        ({"on_late": "wait"}, r"--policy.on_late=wait .* expected hold"),
        ({"handover_s": -1}, r"--policy.handover_s=-1 found, expected a number of seconds, or 0"),
        ({"handover_s": math.nan}, r"--policy.handover_s=nan found"),
        ({"handover_s": math.inf}, r"--policy.handover_s=inf found"),
    ],
)
def test_times_that_cannot_be_are_refused_before_a_process_is_started(given: dict[str, Any], why: str) -> None:
    log: list[str] = []
    with pytest.raises(UsageError, match=why):
        PolicyClient(PolicyFlags("a/b", **given), None, log.append)
    assert log == []


@pytest.mark.parametrize(
    ("argv", "hold"),
    [
        (["--policy.path=a/b", "--policy.hold={lift: last, wheel_*: zero}"], {"lift": "last", "wheel_*": "zero"}),
        (["--policy.path=a/b", "--policy.hold", "{lift: last}"], {"lift": "last"}),
    ],
)
def test_how_a_robot_is_held_is_read_here(argv: list[str], hold: dict[str, str]) -> None:
    overrides, plugins, rest = split(argv)
    assert (overrides, plugins) == ([], [])
    assert flags.parse(RecordConfig, rest, prog="onbeat record", about="").policy.hold == hold
