"""`onbeat verify ROOT`: decode every video of a dataset and compare it with the rows."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from transport.errors import OnbeatError
from writer.verify import Verification, verify

EXIT_GOOD, EXIT_WRONG = 0, 3
_HELP = """Decode every video of every episode and compare it with the rows: as many frames as rows, each at
frame_index / fps (within 0.0001 s); row indices and times contiguous; totals, statistics, tasks and episode files
consistent. Works on any LeRobotDataset v3. Needs no GPU; reads only."""
_EXIT = "exit status: 0 all good, 3 something is missing or wrong (named), 2 not a dataset, 1 failure"


def main(argv: list[str]) -> int:
    """Run the verb; `argv` is without the verb itself."""
    parser = argparse.ArgumentParser(prog="onbeat verify", description=_HELP, epilog=_EXIT)
    parser.add_argument(
        "root", type=Path, metavar="ROOT", help="the dataset's folder, the one that holds meta/info.json"
    )
    parser.add_argument("--quiet", action="store_true", help="print only what is wrong")
    arguments = parser.parse_args(argv)
    console = Console()
    try:
        result = _verify_with_progress(arguments.root)
    except OnbeatError as error:
        print(f"onbeat verify: {error}", file=sys.stderr)
        return error.exit_code
    _print(console, result, arguments.quiet)
    return EXIT_GOOD if result.good else EXIT_WRONG


def _verify_with_progress(root: Path) -> Verification:
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        task = progress.add_task("decoding frames", total=None)
        return verify(root, on_progress=lambda done, total: progress.update(task, completed=done, total=total))


def _print(console: Console, result: Verification, quiet: bool) -> None:
    cameras = list(dict.fromkeys(camera for episode in result.episodes for camera in episode.decoded))
    table = Table("episode", "rows", *(f"{camera} decoded" for camera in cameras), "")
    for episode in result.episodes:
        if episode.problems or not quiet:
            table.add_row(
                str(episode.episode_index),
                str(episode.rows),
                *(str(episode.decoded.get(camera, 0)) for camera in cameras),
                "wrong" if episode.problems else "ok",
            )
    if table.row_count:
        console.print(table)
    lines = [f"episode {episode.episode_index}: {line}" for episode in result.episodes for line in episode.problems]
    # Plain lines, unwrapped: they are searched for and pasted.
    for line in (*lines, *result.problems):
        print(line)
    wrong = sum(1 for episode in result.episodes if episode.problems)
    frames = sum(episode.rows for episode in result.episodes)
    if result.good:
        console.print(f"{len(result.episodes)} episodes, {frames} frames, all good")
    else:
        console.print(f"{len(result.episodes)} episodes, {wrong} with something missing or wrong")
