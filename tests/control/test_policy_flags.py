"""`--policy.*` on the command line: what is onbeat's, what is the policy's own."""

from __future__ import annotations

import pytest

from control.config import PolicyFlags, RecordConfig
from control.policy_flags import complete, split
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
