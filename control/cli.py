"""`onbeat VERB --flags`: finds the verb among the installed entry points and hands it the rest of the line."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points

_ABOUT = {
    "record": "record episodes into a LeRobotDataset",
    "writer": "encode and write datasets for recorders on other machines",
    "keys": "make the keys of a writer and its recorders",
    "doctor": "what this machine grants and sustains, and whether a load can be recorded on it",
    "report": "how well the loop kept its beat, as a page with pictures",
    "verify": "decode a dataset's videos and compare them with its rows",
    "compact": "turn a dataset of many files into one of few, proved equal",
    "recover": "finish what a crash left beside a dataset, and say what is lost",
    "push": "upload a dataset to the Hugging Face Hub",
    "loadtest": "certify a machine with a load as heavy as the real one, without a robot",
}


def main() -> int:
    """The command `onbeat`; returns the exit code of the verb, or 2."""
    verbs = {point.name: point for point in entry_points(group="onbeat.verbs")}
    arguments = sys.argv[1:]
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print("usage: onbeat VERB --flags\n")
        for name in sorted(verbs, key=lambda name: list(_ABOUT).index(name) if name in _ABOUT else len(_ABOUT)):
            print(f"  {name:10} {_ABOUT.get(name, '')}")
        print("\n`onbeat VERB --help` lists a verb's flags with their units.")
        return 0 if arguments else 2
    verb = verbs.get(arguments[0])
    if verb is None:
        print(f"onbeat: no verb {arguments[0]!r}, expected one of {', '.join(sorted(verbs))}", file=sys.stderr)
        return 2
    try:
        run = verb.load()
    except ModuleNotFoundError as error:
        print(
            f"onbeat: {arguments[0]} needs the package {error.name}, which is not installed; "
            "pip install 'onbeat[writer,lerobot]'",
            file=sys.stderr,
        )
        return 2
    code: int = run(arguments[1:])
    return code
