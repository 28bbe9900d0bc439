"""Command lines from dataclasses: `--section.field=value`, with one-line errors. Parsing is draccus's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

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
        raise UsageError(f"--{'.'.join(error.key_path)}: {error.message}; see {prog} --help") from error
    except (ParsingError, FileNotFoundError) as error:
        raise UsageError(f"{_one_line(error)}; see {prog} --help") from error
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


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
