"""Key pairs of writers and recorders: how they are made, kept in files, and read back.

A writer's folder holds `writer.key` (its pair) and `recorders.toml` (the public keys that it lets in). Each recorder
has one file, `recorder-NAME.key`: its own pair and the public key of its writer. Files with a private key are readable
by their owner alone, and refused where they are not. Keys are CURVE's (Curve25519), in ZeroMQ's Z85 text of 40
characters.
"""

from __future__ import annotations

import os
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.utils import z85

from transport.errors import UsageError

WRITER_FILE = "writer.key"
ALLOWED_FILE = "recorders.toml"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class KeyPair:
    """One side's keys, Z85 text. The secret shows in no repr, so that no log can hold it."""

    public: str
    secret: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class RecorderKeys:
    """What a recorder needs: its own pair, and whom it talks to."""

    pair: KeyPair
    writer_public: str


def make_pair() -> KeyPair:
    """A fresh pair.

    Raises:
        UsageError: libzmq was built without CURVE.
    """
    require_curve()
    public, secret = zmq.curve_keypair()
    return KeyPair(public.decode(), secret.decode())


def require_curve() -> None:
    """Raise UsageError if this libzmq cannot encrypt."""
    if not zmq.has("curve"):
        raise UsageError(
            f"libzmq {zmq.zmq_version()} was built without CURVE, which keys need; reinstall pyzmq from its wheel"
        )


def recorder_file(folder: Path, name: str) -> Path:
    return folder / f"recorder-{name}.key"


def make_writer(folder: Path) -> None:
    """Make `writer.key` and an empty list of recorders in `folder`.

    Raises:
        UsageError: they exist, or the folder cannot be written.
    """
    pair = make_pair()
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write_new(
        folder / WRITER_FILE,
        "# onbeat: the private key of a writer. It never leaves this machine.\n"
        f"role = 'writer'\npublic = '{pair.public}'\nsecret = '{pair.secret}'\n",
    )
    _write_new(
        folder / ALLOWED_FILE,
        "# onbeat: the recorders that this writer lets in, by their public keys.\n"
        "# Delete a line to lock that recorder out; the writer reads this file at every connection.\n[recorders]\n",
    )


def make_recorder(folder: Path, name: str) -> Path:
    """Make `recorder-NAME.key` for the writer whose keys are in `folder`, and put it on the writer's list.

    Raises:
        UsageError: the name is of a bad form or taken, or there is no writer's key.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"recorder name {name!r} found, expected letters, digits, '-' and '_'; set --recorder")
    writer, allowed = load_writer(folder), load_allowed(folder)
    path = recorder_file(folder, name)
    if name in allowed.values():
        raise UsageError(f"{folder / ALLOWED_FILE} has a recorder {name} already; choose another --recorder")
    pair = make_pair()
    _write_new(
        path,
        "# onbeat: the private key of a recorder. Only its robot machine and its owner may have this file.\n"
        f"role = 'recorder'\npublic = '{pair.public}'\nsecret = '{pair.secret}'\nwriter = '{writer.public}'\n",
    )
    with (folder / ALLOWED_FILE).open("a", encoding="utf-8") as file:
        file.write(f"{name} = '{pair.public}'\n")
    return path


def load_writer(folder: Path) -> KeyPair:
    """The writer's pair.

    Raises:
        UsageError: missing, readable by others, or not such a file.
    """
    return _pair(_read_private(folder / WRITER_FILE, "writer"), folder / WRITER_FILE)


def load_allowed(folder: Path) -> dict[str, str]:
    """Names of the recorders that may connect, by public key.

    Raises:
        UsageError: the list cannot be read.
    """
    path = folder / ALLOWED_FILE
    listed = _read(path).get("recorders", {})
    if not isinstance(listed, dict):
        raise UsageError(f"{path} has no section [recorders]; add one line NAME = 'PUBLIC KEY' a recorder below it")
    return {_key(value, f"{path}: {name}"): name for name, value in listed.items()}


def load_recorder(path: Path) -> RecorderKeys:
    """A recorder's keys.

    Raises:
        UsageError: missing, readable by others, or not such a file.
    """
    values = _read_private(path, "recorder")
    return RecorderKeys(_pair(values, path), _key(values.get("writer"), f"{path}: writer"))


def _pair(values: dict[str, object], path: Path) -> KeyPair:
    pair = KeyPair(_key(values.get("public"), f"{path}: public"), _key(values.get("secret"), f"{path}: secret"))
    require_curve()
    if zmq.curve_public(pair.secret.encode()).decode() != pair.public:
        raise UsageError(f"{path}: its public key does not belong to its private one; make new ones with `onbeat keys`")
    return pair


def _key(value: object, where: str) -> str:
    try:
        if isinstance(value, str) and len(z85.decode(value)) == _KEY_BYTES:
            return value
    except (ValueError, KeyError):
        pass
    raise UsageError(f"{where} is not a key, expected 40 characters as `onbeat keys` writes them")


def _read_private(path: Path, role: str) -> dict[str, object]:
    values = _read(path)
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise UsageError(f"{path} can be read by others (mode {mode:04o}), expected 0600; run chmod 600 {path}")
    if values.get("role") != role:
        raise UsageError(f"{path} is not the key file of a {role}; see `onbeat keys --help`")
    return values


def _read(path: Path) -> dict[str, object]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); make keys with `onbeat keys`") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not a key file; make keys with `onbeat keys`") from error


def _write_new(path: Path, text: str) -> None:
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise UsageError(
            f"{path} exists already and is not overwritten; move it away, or choose another name"
        ) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be written ({error.strerror}); set --dir") from error
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
