"""`onbeat recover`: finish what a crash left beside a dataset, and say exactly what is lost."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from transport.errors import OnbeatError, UsageError
from transport.spill_dir import choose
from writer.leftovers import Leftover, State, survey
from writer.push import due_upload, push
from writer.recover import DROP, KEEP, LEAVE, Recovered, describe, recover
from writer.recover_stock import Salvage, examine, salvage
from writer.workdir import work_dir

EXIT_GOOD, EXIT_LOST, EXIT_FAILED = 0, 3, 1

_HELP = """Completes interrupted commits, commits episodes that had ended, and asks about the others: those without a
verdict and those that were aborted are cut after their last durable frame and kept, or dropped. Journals that cannot
be read are deleted only by the decision to drop them. Never touches a dataset that is being recorded. For a dataset
that another recorder left unreadable it says what is lost, and writes what whole files prove into a new dataset beside
it."""
_EXIT = (
    "exit status: 0 nothing is lost, 3 something is (named) or may be, 1 a failure, 2 the request cannot be carried out"
)


def main(argv: list[str]) -> int:
    """Run the verb; `argv` is without the verb itself."""
    parser = argparse.ArgumentParser(prog="onbeat recover", description=_HELP, epilog=_EXIT)
    parser.add_argument("root", type=Path, metavar="ROOT", help="the dataset's folder, as given to --dataset.root")
    parser.add_argument(
        "--dry-run",
        "--dry_run",
        nargs="?",
        const="true",
        default="false",
        choices=["true", "false"],
        help="only say what is there",
    )
    for name, about in (
        ("undecided", "episodes that ended or broke off without the operator's verdict"),
        ("aborted", "episodes that ended abnormally or lack frames"),
    ):
        parser.add_argument(
            f"--{name}", choices=["ask", KEEP, DROP, LEAVE], default="ask", help=f"{about} (default: %(default)s)"
        )
    parser.add_argument(
        "--spill",
        type=Path,
        metavar="FOLDER",
        help="take in what a recorder left below this folder: its --publisher.spill_dir, or where a copy of its "
        "session's folder lies (default: where recorders on this machine put it by default)",
    )
    parser.add_argument(
        "--salvage", type=Path, metavar="FOLDER", help="where a repaired copy goes (default: ROOT.salvaged)"
    )
    arguments = parser.parse_args(argv)
    try:
        return _run(arguments)
    except UsageError as error:
        print(f"onbeat recover: {error}", file=sys.stderr)
        return error.exit_code
    except (OnbeatError, OSError) as error:
        print(f"onbeat recover: {error}", file=sys.stderr)
        return EXIT_FAILED


def _run(arguments: argparse.Namespace) -> int:
    root, dry = arguments.root.absolute(), arguments.dry_run == "true"
    if not root.exists() and not work_dir(root).exists():
        raise UsageError(f"neither {root} nor {work_dir(root)} exists; give the path that --dataset.root had")
    code = EXIT_GOOD
    if work_dir(root).exists():
        if dry:
            for leftover in survey(root):
                print(f"found    {describe(leftover)}")
                code = EXIT_LOST if leftover.lost else code
            if (note := due_upload(root)) is not None:
                print(f"found    the upload to {note.repo_id} is due")
        else:
            spill = arguments.spill or choose(None, os.environ).folder
            result = recover(root, _decider(arguments), print, spill)
            code = _conclude(result)
            code = max(code, _upload(root, settled=not (result.left or result.failed)))
    elif root.exists():
        print(f"nothing was left beside {root}")
    if root.exists():
        code = max(code, _stock(root, arguments.salvage or root.with_name(root.name + ".salvaged"), dry))
    return code


def _conclude(result: Recovered) -> int:
    for line in result.lost:
        print(f"lost     {line}")
    print(
        f"published {result.published}  durable {result.durable}  lost {result.lost_frames}  "
        f"committed {result.done['committed']}  dropped {result.done['dropped']}  left {result.left}"
    )
    if result.failed:
        return EXIT_FAILED
    return EXIT_LOST if result.lost else EXIT_GOOD


def _upload(root: Path, *, settled: bool) -> int:
    """Carry out the upload that a session asked for and that did not happen."""
    note = due_upload(root)
    if note is None:
        return EXIT_GOOD
    if not settled:
        print(f"upload   to {note.repo_id} waits for the episodes above; `onbeat push {root}` does not")
        return EXIT_GOOD
    try:
        print(f"uploaded to {push(root, note, print)}")
    except OnbeatError as error:
        print(f"upload   to {note.repo_id} failed: {error}; `onbeat push {root}` tries again")
        return EXIT_FAILED
    return EXIT_GOOD


def _stock(root: Path, target: Path, dry: bool) -> int:
    found = examine(root)
    for line in found.problems:
        print(f"damaged  {line}")
    if found.good:
        return EXIT_GOOD
    for line in found.lost:
        print(f"lost     {line}")
    _offer(found, target, dry)
    return EXIT_LOST


def _offer(found: Salvage, target: Path, dry: bool) -> None:
    if not found.episodes:
        print("no episode can be proven whole by what is there; the files stay as they are")
    elif dry:
        print(f"episodes {found.episodes} are whole; without --dry-run they are copied to {target}")
    else:
        salvage(found, target)
        print(f"wrote episodes {found.episodes} to {target}; {found.root} stays as it is")


def _decider(arguments: argparse.Namespace) -> Callable[[Leftover], str]:
    def decide(leftover: Leftover) -> str:
        choice = arguments.aborted if leftover.state is State.ABORTED else arguments.undecided
        if choice != "ask":
            return str(choice)
        return _ask(leftover) if sys.stdin.isatty() else LEAVE

    return decide


def _ask(leftover: Leftover) -> str:
    answers = {"k": KEEP, "d": DROP, "l": LEAVE}
    print(describe(leftover))
    while True:
        answer = input(f"keep its {leftover.durable} durable frames, drop it, or leave it as it is? [k/d/l] ")
        if answer[:1].lower() in answers:
            return answers[answer[:1].lower()]
