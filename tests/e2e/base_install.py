"""The robot's side as it is installed on a machine of its own: the wheel and its base dependencies, nothing else."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_REPOSITORY = Path(__file__).parents[2]
_UV = str(Path(sys.executable).with_name("uv"))


def install(folder: Path) -> Path:
    """Build the wheel, make a clean environment and install into it; returns the environment's folder of programs.

    The versions and their hashes are those of requirements.lock. What uv has in its cache is not downloaded.
    """
    lock, venv, source = folder / "base.lock", folder / "venv", folder / "source"
    # A build in the repository would take in what an earlier one left there.
    for package in ("control", "transport", "writer"):
        shutil.copytree(_REPOSITORY / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(_REPOSITORY / name, source)
    lock.write_text("".join(_lines_of(_base_dependencies())))
    interpreter = f"--python={venv / 'bin/python'}"
    isolated = ("--no-build-isolation", f"--python={sys.executable}", "--out-dir", folder)
    _uv("build", "--wheel", *isolated, source)
    _uv("venv", f"--python={sys.executable}", venv)
    locked = ("pip", "install", interpreter, "--require-hashes", "-r", lock)
    try:
        _uv("--offline", *locked)
    except subprocess.CalledProcessError:
        _uv("--system-certs", *locked)
    (wheel,) = folder.glob("*.whl")
    _uv("--offline", "pip", "install", interpreter, "--no-deps", wheel)
    return venv / "bin"


def _uv(*arguments: str | Path) -> None:
    subprocess.run([_UV, "--quiet", *arguments], check=True, timeout=100)


def _base_dependencies() -> set[str]:
    """Names of all that onbeat without extras needs, directly or not."""
    found: set[tuple[str, frozenset[str]]] = set()
    waiting: list[tuple[str, frozenset[str]]] = [("onbeat", frozenset())]
    while waiting:
        each = waiting.pop()
        if each in found:
            continue
        found.add(each)
        name, extras = each
        for line in distribution(name).requires or ():
            needed = Requirement(line)
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras or {""}):
                waiting.append((canonicalize_name(needed.name), frozenset(needed.extras)))
    return {name for name, _ in found} - {"onbeat"}


def _lines_of(names: set[str]) -> Iterator[str]:
    wanted = False
    for line in (_REPOSITORY / "requirements.lock").read_text().splitlines(keepends=True):
        if begins := re.match(r"[\w.-]+", line):
            wanted = canonicalize_name(begins[0]) in names
        if wanted:
            yield line
