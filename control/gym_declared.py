"""What an environment declares about itself, through any number of wrappers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gymnasium

from control.errors import EnvironmentRefused


def declared(env: Any, name: str) -> Any:
    """What the outermost layer that knows says about `name`, as an attribute or in its metadata; None if none does."""
    for layer in _layers(env):
        value = getattr(layer, name, None)
        if value is None:
            value = (getattr(layer, "metadata", None) or {}).get(name)
        if value is not None:
            return value
    return None


def declared_names(env: Any, name: str) -> tuple[str, ...] | None:
    """Names of elements that an environment declares."""
    value = declared(env, name)
    return None if value is None else tuple(str(item) for item in value)


def refuse_auto_reset(env: Any) -> None:
    """See that the environment is a single one that waits for its `reset`.

    Raises:
        EnvironmentRefused: it is a vector environment, or begins episodes by itself: a row would be paired with the
            next episode's observation.
    """
    advice = "onbeat begins every episode itself; record the single environment without it"
    if isinstance(env, gymnasium.vector.VectorEnv):
        raise EnvironmentRefused(f"a vector environment ({env.num_envs} environments) found; {advice}")
    for layer in _layers(env):
        mode = (getattr(layer, "metadata", None) or {}).get("autoreset_mode")
        resets_itself = mode is not None and mode != gymnasium.vector.AutoresetMode.DISABLED
        if isinstance(layer, gymnasium.wrappers.Autoreset) or resets_itself:
            raise EnvironmentRefused(f"an environment that resets itself ({type(layer).__name__}) found; {advice}")


def _layers(env: Any) -> Iterator[Any]:
    while True:
        yield env
        if not isinstance(env, gymnasium.Wrapper):
            return
        env = env.env
