"""`onbeat report ROOT`: how well the loop kept its beat, as a page with pictures."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from transport.errors import OnbeatError, UsageError
from writer.report_data import read_timing
from writer.report_figures import figures, verdict
from writer.report_page import page
from writer.report_pictures import pictures

_HELP = """Writes index.html (self-contained), the same pictures as PNG files and the numbers as figures.json, from the
timing that onbeat keeps in ROOT/meta/onbeat. Reads only; needs no GPU and no display."""
_EXIT = "exit status: 0 written, 2 not a dataset with timing, 1 failure"


def main(argv: list[str]) -> int:
    """Run the verb; `argv` is without the verb itself."""
    parser = argparse.ArgumentParser(prog="onbeat report", description=_HELP, epilog=_EXIT)
    parser.add_argument("root", type=Path, metavar="ROOT", help="the dataset's folder, the one that holds meta/onbeat")
    parser.add_argument("--out", type=Path, help="folder for the page and the pictures; default: ROOT.report")
    arguments = parser.parse_args(argv)
    try:
        lines = write_report(arguments.root, arguments.out)
    except OnbeatError as error:
        print(f"onbeat report: {error}", file=sys.stderr)
        return error.exit_code
    print("\n".join(lines))
    return 0


def write_report(root: Path, out: Path | None = None) -> list[str]:
    """Write the report; returns the verdict for the terminal, and where the page is.

    Raises:
        UsageError: no timing there, or the report's folder cannot be written.
    """
    episodes = read_timing(root)
    found = figures(episodes)
    judged = verdict(episodes, found)
    drawn = pictures(episodes)
    name = root.resolve().name
    folder = out or root.resolve().with_name(f"{name}.report")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for picture in drawn:
            (folder / f"{picture.name}.png").write_bytes(picture.png)
        (folder / "figures.json").write_text(json.dumps({"verdict": judged[0], **found}, indent=1), encoding="utf-8")
        (folder / "index.html").write_text(page(name, found, judged, drawn), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{folder} cannot be written ({error.strerror}); choose another --out") from error
    return [f"{judged[0]}: {judged[1][0]}", *judged[1][1:], f"page      {folder / 'index.html'}"]
