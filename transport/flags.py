"""Command lines from dataclasses: `--section.field=value`, with one-line errors. Parsing is draccus's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import yaml  # type: ignore[import-untyped]
from draccus.argparsing import ArgumentParser
from draccus.utils import DecodingError, ParsingError

from transport.errors import OnbeatError, UsageError


def parse[C](config_class: type[C], argv: Sequence[str], *, prog: str, about: str) -> C:
    """Read flags into a `config_class`; the comment above each field is its `--help`.

    Raises:
        UsageError: an unknown flag, or a value that is not of the field's type.
        SystemExit: after `--help`.
    """
    parser = ArgumentParser(config_class=config_class, prog=prog, description=about)

    def refuse(message: str) -> NoReturn:
        raise UsageError(f"{message}; see {prog} --help")

    parser.parser.error = refuse
    try:
        config: C = parser.parse_args(list(argv))
    except DecodingError as error:
        flag = f"--{'.'.join(error.key_path)}" if error.key_path else "--config_path"
        raise UsageError(f"{flag}: {_one_line(error.message)}; see {prog} --help") from error
    except yaml.YAMLError as error:
        raise UsageError(f"a value is not YAML: {_one_line(error)}; quote it, or see {prog} --help") from error
    except (ParsingError, OSError) as error:
        raise UsageError(f"{_one_line(error)}; see {prog} --help") from error
    except AttributeError as error:
        # What draccus makes of a file that holds anything but a map.
        if not any(argument.startswith("--config_path") for argument in argv):
            raise
        raise UsageError(f"--config_path: a map of flags expected in the file; see {prog} --help") from error
    return config


def report(run: Callable[[], int], *, debug: bool = False) -> int:
    """Run a verb; what it raises on purpose becomes one line on the terminal and an exit code."""
    try:
        return run()
    except OnbeatError as error:
        if debug:
            raise
        return fail(error)


def fail(error: OnbeatError) -> int:
    """Say one line on the terminal; returns the exit code."""
    print(f"onbeat: {_one_line(error)}", file=sys.stderr)
    return error.exit_code


def _one_line(error: BaseException | str) -> str:
    return " ".join(str(error).split())
