"""`onbeat compact ROOT`: a dataset of few files instead of one MP4 an episode and camera."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from transport.errors import OnbeatError
from writer.compact import compact

_HELP = """Concatenates the files of a LeRobotDataset v3 up to the sizes that its info.json allows (lerobot's defaults:
200 MB for videos, 100 MB for data), with lerobot's own merge; no video is encoded again. The copy is decoded and
compared with the dataset, row by row and picture by picture, before it takes its place in one step. A recording needs
none of this: stock LeRobot reads either form, and later edits of concatenated videos encode them again. It is for file
systems and uploads that dislike many files."""
_EXIT = "exit status: 0 done, 2 the request cannot be carried out, 1 a failure; the dataset is then as it was"


def main(argv: list[str]) -> int:
    """Run the verb; `argv` is without the verb itself."""
    parser = argparse.ArgumentParser(prog="onbeat compact", description=_HELP, epilog=_EXIT)
    parser.add_argument("root", type=Path, metavar="ROOT", help="the dataset's folder, the one with meta/info.json")
    arguments = parser.parse_args(argv)
    try:
        return _run(arguments.root.absolute())
    except OnbeatError as error:
        print(f"onbeat compact: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"onbeat compact: {error}", file=sys.stderr)
        return 1


def _run(root: Path) -> int:
    def concatenate(old: Path, new: Path) -> None:
        # Read when tqdm is imported; a bar for one dataset tells nothing.
        os.environ.setdefault("TQDM_DISABLE", "1")
        from writer.lerobot_private import concatenate_files  # ten seconds, so only when it is needed

        concatenate_files(old, new)

    done = compact(root, concatenate, lambda line: print(line, file=sys.stderr))
    print(f"{root}: {done.files_before} files before, {done.files_after} now")
    return 0
