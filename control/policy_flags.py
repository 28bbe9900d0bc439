"""The command line of `--policy.*`: what is onbeat's own, and what is the policy's.

Imports no lerobot. `--policy.path` and the fields of `PolicyFlags` are read here; every other `--policy.NAME` goes to
the policy's process as `--NAME`, where lerobot's own configuration class parses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

from control.config import PolicyFlags, RecordConfig
from transport.errors import UsageError

_PREFIX = "--policy."
_PLUGINS = "discover_packages_path"
_OWN = frozenset(field.name for field in fields(PolicyFlags)) - {"overrides", "plugins"}


def split(argv: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """The policy's own flags without `policy.` in front, packages that register policies, and the rest."""
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
    return overrides, plugins, rest


def complete(config: RecordConfig, argv: Sequence[str], overrides: list[str], plugins: list[str]) -> None:
    """Put what `split` took out of `argv` into the configuration that was read from the rest.

    Raises:
        UsageError: flags for a policy without `--policy.path`.
    """
    given = [token.partition("=")[0] for token in argv if token.startswith(_PREFIX)]
    if given and config.policy.path is None:
        raise UsageError(f"{given[0]} found without --policy.path; say which policy")
    if overrides or plugins:
        config.policy.overrides, config.policy.plugins = overrides, plugins
