"""`onbeat record --config_path=FILE` with a file that lerobot-record takes: robot, teleop, dataset and the rest.

Imports no lerobot. Robot and teleoperator stay in the file, which lerobot's own classes read in the control process;
everything else becomes flags, in front of those of the command line, which therefore win.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]

from transport.errors import UsageError

_GIVEN = "--config_path"
# Where the file's devices are, for lerobot's classes; no robot has a field of this name.
_DEVICES = "--robot.config_path"
_SECTIONS = ("robot", "teleop")
# Maps that are values, not groups of flags.
_MAPS = frozenset(["extra_options", "hold", "rename_map"])


def expanded(argv: Sequence[str]) -> list[str]:
    """The command line with the file's flags; as it is without such a file.

    Raises:
        UsageError: `--config_path` names no file with a map in it.
    """
    path = _given(argv)
    content = {} if path is None else _read(path)
    if path is None or not isinstance(content.get("robot"), Mapping):
        return list(argv)
    others = {name: value for name, value in content.items() if name not in _SECTIONS}
    return [f"{_DEVICES}={path.absolute()}", *_flags(others, "--"), *_without(argv, _GIVEN)]


def devices(argv: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """The file's robot and teleop, if the flags of robot and teleoperator lead to one, and the other flags.

    Raises:
        UsageError: the file is gone, or holds no map.
    """
    path = next((token.partition("=")[2] for token in argv if token.startswith(f"{_DEVICES}=")), None)
    if path is None:
        return {}, list(argv)
    content = _read(Path(path))
    return {name: content[name] for name in _SECTIONS if content.get(name)}, _without(argv, _DEVICES)


def _given(argv: Sequence[str]) -> Path | None:
    for index, token in enumerate(argv):
        name, equals, value = token.partition("=")
        if name == _GIVEN:
            return Path(value if equals else "".join(argv[index + 1 : index + 2]))
    return None


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        found = error.strerror
    except (ValueError, yaml.YAMLError) as error:
        found = " ".join(str(error).split())
    else:
        if isinstance(content, Mapping):
            return content
        found = f"{type(content).__name__} found in it"
    raise UsageError(
        f"{_GIVEN}={path} cannot be used ({found}); expected a YAML or JSON file of lerobot-record's, of "
        "gym_manipulator's, or with flags of onbeat's"
    )


def _without(argv: Sequence[str], flag: str) -> list[str]:
    kept, into = list[str](), True
    for token in argv:
        if token.startswith("--"):
            into = token.partition("=")[0] != flag
        if into:
            kept.append(token)
    return kept


def _flags(values: Mapping[str, Any], prefix: str) -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, Mapping) and name not in _MAPS:
            yield from _flags(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}={json.dumps(value)}"
