"""Making a gymnasium environment from its id, with errors that say what to do."""

from __future__ import annotations

import difflib
import importlib
import warnings
from collections.abc import Mapping
from typing import Any

import gymnasium

from control.errors import EnvironmentRefused

# Packages that register environments and that an extra of onbeat installs.
_EXTRAS = {"gym_hil": "hil", "gym_pusht": "pusht"}
# Namespaces whose package has another name.
_PACKAGES = {"onbeat": "control.envs"}


def make_env(env_id: str, kwargs: Mapping[str, Any]) -> gymnasium.Env[Any, Any]:
    """Make the environment `env_id` with `kwargs`.

    An id with a namespace, such as `gym_pusht/PushT-v0`, is looked for in the package of that name; in the form
    `module:Name-v0`, in that module. gymnasium's environment checker is left out unless `kwargs` asks for it with
    `disable_env_checker=False`: the source checks every observation itself.

    Raises:
        EnvironmentRefused: there is no such environment, it does not take these arguments, or a package is missing.
    """
    with warnings.catch_warnings():
        # Environment packages and gymnasium warn while they are imported and made (deprecated versions, precision of
        # spaces). These are for the reader, not failures, even where warnings are errors.
        warnings.simplefilter("default", UserWarning)
        for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
            warnings.simplefilter("ignore", category)
        warnings.filterwarnings("ignore", message="pkg_resources is deprecated")
        registered_id = _register(env_id)
        try:
            return gymnasium.make(registered_id, **{"disable_env_checker": True, **kwargs})
        except gymnasium.error.DependencyNotInstalled as error:
            raise EnvironmentRefused(f"environment {env_id} needs a package: {one_line(error)}") from error
        except (gymnasium.error.UnregisteredEnv, gymnasium.error.DeprecatedEnv) as error:
            raise EnvironmentRefused(f"environment {env_id!r} is unknown: {one_line(error)}") from error
        except Exception as error:
            arguments = f"with the arguments {dict(kwargs)}" if kwargs else "without arguments"
            raise EnvironmentRefused(
                f"environment {env_id} cannot be made {arguments}: {one_line(error)}; see --env.kwargs"
            ) from error


def env_fps(env: gymnasium.Env[Any, Any]) -> int | None:
    """The environment's own rate in frames per second, from its metadata; None where it declares no usable one."""
    fps = env.metadata.get("render_fps")
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0.5 <= fps < 1e6:
        return None
    return round(fps)


def one_line(error: BaseException) -> str:
    """The error's type and text on one line."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _register(env_id: str) -> str:
    """Import the package that registers `env_id`, if it names one, and return the id as gymnasium's registry has it."""
    module, _, registered_id = env_id.rpartition(":")
    if not module and "/" in registered_id:
        namespace = registered_id.partition("/")[0]
        if not any(known.startswith(f"{namespace}/") for known in gymnasium.registry):
            module = _PACKAGES.get(namespace, namespace)
    if module:
        _import(module, env_id)
    try:
        _, _, version = gymnasium.envs.registration.parse_env_id(registered_id)
    except gymnasium.error.Error as error:
        raise EnvironmentRefused(
            f"environment id {env_id!r} found, expected [module:][namespace/]Name-v0; {_suggestion(registered_id)}"
        ) from error
    # gymnasium takes an id without a version for the newest one.
    if version is not None and registered_id not in gymnasium.registry:
        raise EnvironmentRefused(f"environment {env_id!r} is unknown; {_suggestion(registered_id)}")
    return registered_id


def _import(module: str, env_id: str) -> None:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and error.name != module.partition(".")[0] and error.name != module:
            raise EnvironmentRefused(f"environment {env_id} needs a package: {one_line(error)}; install it") from error
        if module in _EXTRAS:
            advice = f"run: pip install 'onbeat[{_EXTRAS[module]}]'"
        else:
            advice = f"install the package that registers it; {_suggestion(env_id.rpartition(':')[2])}"
        raise EnvironmentRefused(f"environment {env_id} comes from {module!r}, which is missing; {advice}") from error
    except Exception as error:
        raise EnvironmentRefused(f"environment {env_id}: importing {module!r} failed: {one_line(error)}") from error


def _suggestion(registered_id: str) -> str:
    known = list(gymnasium.registry)
    close = difflib.get_close_matches(registered_id, known, n=3, cutoff=0.6)
    if close:
        return f"did you mean {' or '.join(close)}?"
    return 'python -c "import gymnasium; gymnasium.pprint_registry()" lists those that are installed'
