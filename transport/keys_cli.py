"""`onbeat keys`: make the keys of a writer and its recorders, and say where they go.

Run it on the writer's machine. The first time it makes the writer's own key and one recorder's; every further time one
more recorder's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transport import flags, keys
from transport.errors import UsageError


@dataclass
class KeysConfig:
    # Folder of the writer's keys, on the writer's machine.
    dir: str = "~/.config/onbeat/keys"
    # Name of the recorder (the robot) to make a key for: letters, digits, '-' and '_'.
    recorder: str = "robot"
    # Show tracebacks.
    debug: bool = False


def main(argv: Sequence[str]) -> int:
    """Run the verb; returns the exit code."""
    try:
        config = flags.parse(KeysConfig, argv, prog="onbeat keys", about=__doc__)
    except UsageError as error:
        return flags.fail(error)
    return flags.report(lambda: _run(config), debug=config.debug)


def _run(config: KeysConfig) -> int:
    folder = Path(config.dir).expanduser().absolute()
    try:
        fresh = not (folder / keys.WRITER_FILE).exists()
        if fresh:
            keys.make_writer(folder)
        path = keys.make_recorder(folder, config.recorder)
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error.strerror}); set --dir") from error
    print(_instructions(folder, path, config.recorder, fresh=fresh))
    return 0


def _instructions(folder: Path, path: Path, name: str, *, fresh: bool) -> str:
    made = [f"{folder / keys.WRITER_FILE}   this writer's private key; it stays here"] if fresh else []
    made.append(f"{path}   the private key of recorder {name}; it goes to the robot machine")
    return "\n".join(
        [
            "made:",
            *(f"  {line}" for line in made),
            "",
            "on this machine (the writer):",
            f"  onbeat writer --bind=tcp://0.0.0.0:5757 --keys={folder}",
            "",
            "on the robot machine, as the user who records (WRITER is this machine):",
            "  mkdir -p -m 700 ~/.config/onbeat",
            f"  scp WRITER:{path} ~/.config/onbeat/{path.name}",
            f"  onbeat record --writer.address=tcp://WRITER:5757 --writer.keys=~/.config/onbeat/{path.name}",
            "",
            f"then delete {path} here. To lock this recorder out, delete its line in {folder / keys.ALLOWED_FILE}.",
        ]
    )
