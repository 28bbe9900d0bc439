from __future__ import annotations

import sys
import types
import warnings
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from control.errors import EnvironmentRefused
from control.gym_make import env_fps, make_env


class Plain(gymnasium.Env[Any, Any]):
    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self, size: int = 3, noisy: bool = False) -> None:
        if size < 0:
            raise ValueError("size is\nnegative")
        if noisy:
            warnings.warn("this environment is noisy", UserWarning, stacklevel=1)
        self.size = size


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Plain` as `onbeat_test/Plain-v0` for one test."""
    for env_id in ("onbeat_test/Plain-v0", "onbeat_test/Plain-v1"):
        spec = gymnasium.envs.registration.EnvSpec(id=env_id, entry_point=Plain, max_episode_steps=7)
        monkeypatch.setitem(gymnasium.registry, env_id, spec)


@pytest.mark.usefixtures("registered")
def test_arguments_reach_the_environment_and_its_warnings_are_no_failures() -> None:
    with warnings.catch_warnings(record=True) as caught:
        env = make_env("onbeat_test/Plain-v0", {"size": 5, "noisy": True})
    assert env.unwrapped.size == 5  # type: ignore[attr-defined]
    assert env.spec is not None
    assert env.spec.max_episode_steps == 7
    assert [str(warning.message) for warning in caught] == ["this environment is noisy"]


@pytest.mark.usefixtures("registered")
@pytest.mark.parametrize(
    ("env_id", "kwargs", "message"),
    [
        ("onbeat_test/Plane-v0", {}, r"unknown; did you mean onbeat_test/Plain-v0 or onbeat_test/Plain-v1"),
        ("CartPoel-v1", {}, r"environment 'CartPoel-v1' is unknown; did you mean CartPole-v1"),
        ("CartPole-v77", {}, r"'CartPole-v77' is unknown; did you mean CartPole-v"),
        ("Zzyzx-v0", {}, r"'Zzyzx-v0' is unknown; python -c .* lists"),
        ("Zzyzx", {}, r"'Zzyzx' is unknown: NameNotFound"),
        ("no_such_module_here:Foo-v0", {}, r"comes from 'no_such_module_here', which is missing; install"),
        ("no_such_module_here/Foo-v0", {}, r"comes from 'no_such_module_here', which is missing; install"),
        ("", {}, r"environment id '' found, expected \[module:\]"),
        ("what is this", {}, r"environment id 'what is this' found, expected"),
        ("../x-v0", {}, r"\.\./x-v0"),
        ("onbeat_test/Plain-v0", {"colour": 1}, r"cannot be made with the arguments {'colour': 1}: TypeError.*colour"),
        ("onbeat_test/Plain-v0", {"size": -1}, r"'size': -1}: ValueError: size is negative; see --env.kwargs"),
    ],
)
def test_refusals_are_one_line_with_exit_code_2(env_id: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(EnvironmentRefused, match=message) as refused:
        make_env(env_id, kwargs)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


def test_a_missing_package_of_ours_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for env_id in [env_id for env_id in gymnasium.registry if env_id.startswith("gym_pusht/")]:
        monkeypatch.delitem(gymnasium.registry, env_id)
    monkeypatch.setitem(sys.modules, "gym_pusht", None)  # type: ignore[arg-type]
    with pytest.raises(EnvironmentRefused, match=r"'gym_pusht', which is missing; run: pip install 'onbeat\[pusht\]'"):
        make_env("gym_pusht/PushT-v0", {})


def test_a_missing_dependency_of_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onbeat_needs_more.py").write_text("import onbeat_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EnvironmentRefused, match=r"needs a package: .*onbeat_not_there.*install it"):
        make_env("onbeat_needs_more:Foo-v0", {})


def test_a_package_that_fails_to_import_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "onbeat_broken.py").write_text("raise OSError('no libGL')\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(EnvironmentRefused, match=r"importing 'onbeat_broken' failed: OSError: no libGL"):
        make_env("onbeat_broken:Foo-v0", {})


def test_module_and_namespace_are_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = gymnasium.envs.registration.EnvSpec(id="onbeat_mod/Plain-v0", entry_point=Plain)
    monkeypatch.setitem(gymnasium.registry, "onbeat_mod/Plain-v0", spec)
    monkeypatch.setitem(sys.modules, "onbeat_mod", types.ModuleType("onbeat_mod"))
    assert isinstance(make_env("onbeat_mod:onbeat_mod/Plain-v0", {}).unwrapped, Plain)
    assert isinstance(make_env("onbeat_mod/Plain-v0", {}).unwrapped, Plain)


def test_push_t_is_found_without_an_import_by_the_user() -> None:
    env = make_env("gym_pusht/PushT-v0", {"obs_type": "pixels_agent_pos"})
    assert env_fps(env) == 10
    env.close()  # type: ignore[no-untyped-call]


def test_the_built_in_environment_is_found() -> None:
    env = make_env("onbeat/Tabletop-v0", {"cameras": 0, "fps": 25})
    assert env_fps(env) == 25
    with pytest.raises(EnvironmentRefused, match="did you mean onbeat/Tabletop-v0"):
        make_env("onbeat/Tabeltop-v0", {})


@pytest.mark.parametrize(
    ("declared", "fps"), [(30, 30), (29.97, 30), (0, None), (-5, None), (None, None), ("fast", None), (True, None)]
)
def test_env_fps(declared: Any, fps: int | None) -> None:
    env = make_env("CartPole-v1", {})
    env.unwrapped.metadata = {"render_fps": declared}
    assert env_fps(env) == fps


def test_env_fps_undeclared() -> None:
    env = make_env("CartPole-v1", {})
    env.unwrapped.metadata = {}
    assert env_fps(env) is None
