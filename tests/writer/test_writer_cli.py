"""What `onbeat writer` refuses before it listens: one line, exit code 2, nothing written."""

from __future__ import annotations

from pathlib import Path

import pytest

from transport import keys
from writer import writer_cli


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ["--bind=tcp://0.0.0.0:5757"],
            "0.0.0.0 can be reached from other machines; make keys with `onbeat keys` and set --keys, bind to "
            "127.0.0.1, or say --insecure=true",
        ),
        (
            ["--bind=tcp://[::]:5757"],
            ":: can be reached from other machines; make keys with `onbeat keys` and set --keys, bind to 127.0.0.1, or "
            "say --insecure=true",
        ),
        (
            ["--bind=tcp://writer.example:5757"],
            "writer.example can be reached from other machines; make keys with `onbeat keys` and set --keys, bind to "
            "127.0.0.1, or say --insecure=true",
        ),
        (["--bind=0.0.0.0"], "--bind=0.0.0.0 found, expected tcp://ADDRESS:PORT or ipc://PATH"),
        (["--bind=tcp://0.0.0.0:99999"], "--bind=tcp://0.0.0.0:99999 found, expected tcp://ADDRESS:PORT or ipc://PATH"),
        (
            ["--bind=tcp://0.0.0.0:5757", "--keys=KEYS", "--insecure=true"],
            "--keys and --insecure found together; leave --insecure away",
        ),
        (
            ["--bind=tcp://0.0.0.0:5757", "--keys=NOTHING"],
            "NOTHING/writer.key cannot be read (No such file or directory); make keys with `onbeat keys`",
        ),
        (["--memory_gb=0.1"], "--memory_gb=0.1 found, expected at least 0.5"),
        (["--memory_gb=nan"], "--memory_gb=nan found, expected at least 0.5"),
    ],
)
def test_refused_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], said: str) -> None:
    keys.make_writer(tmp_path / "keys")
    places = {"KEYS": str(tmp_path / "keys"), "NOTHING": str(tmp_path / "nothing")}
    for name, place in places.items():
        flags = [flag.replace(name, place) for flag in flags]
        said = said.replace(name, place)
    assert writer_cli.main([*flags, f"--root={tmp_path / 'out'}"]) == 2
    assert capsys.readouterr().err == f"onbeat: {said}\n"
    assert not (tmp_path / "out").exists()


def test_a_private_key_that_others_can_read_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    keys.make_writer(tmp_path)
    (tmp_path / "writer.key").chmod(0o640)
    assert writer_cli.main(["--bind=tcp://0.0.0.0:5757", f"--keys={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert said == (
        f"onbeat: {tmp_path}/writer.key can be read by others (mode 0640), expected 0600; run chmod 600 "
        f"{tmp_path}/writer.key\n"
    )
