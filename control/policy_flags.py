"""The command line of `--policy.*`: what is onbeat's own, and what is the policy's.

Imports no lerobot. `--policy.path` and the fields of `PolicyFlags` are read here; every other `--policy.NAME` goes to
the policy's process as `--NAME`, where lerobot's own configuration class parses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from control.config import PolicyFlags
from transport.errors import UsageError

_PREFIX = "--policy."
_PLUGINS = "discover_packages_path"
_OWN = frozenset(field.name for field in fields(PolicyFlags)) - {"overrides", "plugins"}


def split(argv: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """The policy's own flags without `policy.` in front, packages that register policies, and the rest.

    Raises:
        UsageError: flags for a policy without `--policy.path`.
    """
    overrides: list[str] = []
    plugins: list[str] = []
    rest: list[str] = []
    into = rest
    for token in argv:
        if token.startswith("--"):
            name = token.removeprefix(_PREFIX).partition("=")[0] if token.startswith(_PREFIX) else ""
            if not name or name in _OWN:
                into = rest
            elif name == _PLUGINS:
                into = plugins
                token = token.removeprefix(_PREFIX).removeprefix(_PLUGINS).removeprefix("=")
            else:
                into = overrides
                token = "--" + token.removeprefix(_PREFIX)
        # A value that stands apart goes with its flag.
        if token:
            into.append(token)
    if (overrides or plugins) and not any(token.startswith(f"{_PREFIX}path") for token in rest):
        given = overrides[0] if overrides else f"--{_PLUGINS}"
        raise UsageError(f"{_PREFIX}{given.removeprefix('--')} found without --policy.path; say which policy")
    return overrides, plugins, rest
