"""`onbeat push`: upload a dataset to the Hugging Face Hub, or finish an upload that did not happen."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from transport.dataset_spec import DatasetSpec, UploadSpec
from transport.errors import OnbeatError, UsageError
from writer.push import due_upload, push
from writer.upload_note import UploadNote

_HELP = """Uploads ROOT as lerobot's push_to_hub does: all files, the card, the tag of the format's version. Contents
that the Hub has already are not sent again. Needs `hf auth login` on this machine, or HF_TOKEN. After a recording with
--dataset.push_to_hub=true whose upload did not happen, ROOT is enough."""
_EXIT = "exit status: 0 uploaded, 1 not uploaded, 2 the request cannot be carried out"
_BOOLEANS = {"true": True, "false": False}


def main(argv: list[str]) -> int:
    """Run the verb; `argv` is without the verb itself."""
    parser = argparse.ArgumentParser(prog="onbeat push", description=_HELP, epilog=_EXIT)
    parser.add_argument("root", type=Path, metavar="ROOT", help="the dataset's folder")
    parser.add_argument("--repo_id", help="OWNER/NAME on the Hub (default: as it was recorded to be)")
    parser.add_argument(
        "--private", choices=sorted(_BOOLEANS), help="of a new repository (default: its owner's setting)"
    )
    parser.add_argument("--tags", help="of the card, separated by commas")
    arguments = parser.parse_args(argv)
    try:
        root = arguments.root.absolute()
        done = push(root, _note(arguments, root), lambda text: print(text, flush=True))
    except OnbeatError as error:
        print(f"onbeat push: not uploaded: {error}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"onbeat push: not uploaded: {error}", file=sys.stderr)
        return 1
    print(f"uploaded to {done}")
    return 0


def _note(arguments: argparse.Namespace, root: Path) -> UploadNote:
    """What was asked for when it was recorded, overridden by flags.

    Raises:
        UsageError: neither says where to.
    """
    note = due_upload(root)
    if note is None:
        if arguments.repo_id is None:
            raise UsageError(f"no upload of {root} is due, and no --repo_id given; set it to OWNER/NAME")
        note = UploadNote("", arguments.repo_id, UploadSpec())
    private = note.upload.private if arguments.private is None else _BOOLEANS[arguments.private]
    tags = note.upload.tags if arguments.tags is None else tuple(filter(None, arguments.tags.split(",")))
    upload = UploadSpec(private, tags)
    repo_id = arguments.repo_id or note.repo_id
    DatasetSpec(repo_id, fps=1, upload=upload)  # refuses what is no name
    return replace(note, repo_id=repo_id, upload=upload, detail="")
