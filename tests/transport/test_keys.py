"""Keys are made once, kept private, and never shown; `onbeat keys` says where they go."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
import zmq

from transport import keys, keys_cli
from transport.errors import UsageError


def _secrets(folder: Path) -> list[str]:
    found = []
    for path in sorted(folder.glob("*.key")):
        found += [line.split("'")[1] for line in path.read_text().splitlines() if line.startswith("secret")]
    return found


def test_first_call_makes_a_writer_and_a_recorder_that_fit_together(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    assert keys_cli.main([f"--dir={folder}", "--recorder=arm1"]) == 0
    writer, recorder = keys.load_writer(folder), keys.load_recorder(folder / "recorder-arm1.key")
    assert recorder.writer_public == writer.public
    assert keys.load_allowed(folder) == {recorder.pair.public: "arm1"}
    assert zmq.curve_public(recorder.pair.secret.encode()).decode() == recorder.pair.public


def test_private_files_belong_to_their_owner_alone(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    keys_cli.main([f"--dir={folder}"])
    for path in (folder / "writer.key", folder / "recorder-robot.key"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_further_calls_add_recorders_and_leave_the_writer_alone(tmp_path: Path) -> None:
    keys_cli.main([f"--dir={tmp_path}", "--recorder=arm1"])
    before = (tmp_path / "writer.key").read_bytes()
    assert keys_cli.main([f"--dir={tmp_path}", "--recorder=arm2"]) == 0
    assert (tmp_path / "writer.key").read_bytes() == before
    assert sorted(keys.load_allowed(tmp_path).values()) == ["arm1", "arm2"]


def test_what_is_printed_holds_no_secret_and_names_both_commands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys_cli.main([f"--dir={tmp_path}", "--recorder=arm1"])
    said = "".join(capsys.readouterr())
    secrets = _secrets(tmp_path)
    assert len(secrets) == 2
    assert not any(secret in said for secret in secrets)
    assert f"onbeat writer --bind=tcp://0.0.0.0:5757 --keys={tmp_path}" in said
    assert "--writer.keys=~/.config/onbeat/recorder-arm1.key" in said


def test_a_pair_shows_no_secret() -> None:
    pair = keys.make_pair()
    assert pair.secret not in repr(pair)
    assert pair.secret not in repr(keys.RecorderKeys(pair, pair.public))


def test_nothing_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys_cli.main([f"--dir={tmp_path}"])
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    assert keys_cli.main([f"--dir={tmp_path}"]) == 2
    assert capsys.readouterr().err.strip() == (
        f"onbeat: {tmp_path}/recorders.toml has a recorder robot already; choose another --recorder"
    )
    # Taken off the list, its file is still there: a new key under the same name would be mistaken for the old one.
    (tmp_path / "recorders.toml").write_text("[recorders]\n")
    before[tmp_path / "recorders.toml"] = b"[recorders]\n"
    assert keys_cli.main([f"--dir={tmp_path}"]) == 2
    assert "recorder-robot.key exists already and is not overwritten" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["", "a b", "../up", "-dash", "x" * 65, "a'b", "a\nb"])
def test_names_that_could_be_something_else_are_refused(tmp_path: Path, name: str) -> None:
    keys.make_writer(tmp_path)
    with pytest.raises(UsageError, match="expected letters"):
        keys.make_recorder(tmp_path, name)
    assert keys.load_allowed(tmp_path) == {}


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda path: path.chmod(0o644), "can be read by others"),
        (lambda path: path.unlink(), "cannot be read"),
        (lambda path: path.write_text("role = 'recorder'\n"), "public is not a key"),
        (lambda path: path.write_text("role = 'writer'\n"), "not the key file of a recorder"),
        (lambda path: path.write_bytes(b"\xff\xfe"), "not a key file"),
        (lambda path: path.write_text(path.read_text().replace("secret = '", "secret = 'x")), "secret is not a key"),
    ],
    ids=["readable", "missing", "empty", "other role", "not text", "too long"],
)
def test_key_files_that_cannot_be_used_say_why(tmp_path: Path, damage, said: str) -> None:  # type: ignore[no-untyped-def]
    keys.make_writer(tmp_path)
    path = keys.make_recorder(tmp_path, "arm1")
    damage(path)
    with pytest.raises(UsageError, match=said):
        keys.load_recorder(path)


def test_a_pair_of_two_pairs_is_refused(tmp_path: Path) -> None:
    keys.make_writer(tmp_path)
    path = keys.make_recorder(tmp_path, "arm1")
    path.write_text(path.read_text().replace(keys.load_recorder(path).pair.public, keys.make_pair().public))
    with pytest.raises(UsageError, match="does not belong"):
        keys.load_recorder(path)


@pytest.mark.parametrize(
    "text", ["recorders = 3\n", "[recorders]\narm1 = 'short'\n", "[recorders]\narm1 = 7\n", "[rec"]
)
def test_a_list_that_cannot_be_read_lets_nobody_in(tmp_path: Path, text: str) -> None:
    keys.make_writer(tmp_path)
    (tmp_path / "recorders.toml").write_text(text)
    with pytest.raises(UsageError):
        keys.load_allowed(tmp_path)


def test_without_curve_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zmq, "has", lambda name: False)
    with pytest.raises(UsageError, match="without CURVE"):
        keys.make_writer(tmp_path / "keys")
    assert not (tmp_path / "keys").exists()
