"""Recorder and writer as two commands, with keys, with faults and garbage between them; judged by what decodes."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import onbeat_process as run
import outcome
import pytest

from scripts.fuzz_socket import Fuzz
from transport.keys import load_recorder

_NAMED = ("--dataset.repo_id=me/pick", "--dataset.no_stamp=true")


@pytest.fixture
def key_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "keys"
    assert run.onbeat(tmp_path, "keys", f"--dir={folder}", "--recorder=arm1")[0] == 0
    return folder


@contextmanager
def _writer(home: Path, *flags: str, port: int = 0) -> Iterator[tuple[run.OnbeatProcess, str]]:
    arguments = [run.ONBEAT, "writer", f"--bind=tcp://127.0.0.1:{port}", f"--root={home / 'far'}", *flags]
    with run.OnbeatProcess(arguments, home) as writer:
        port = int(writer.wait_for(r"listening at tcp://\S+:(\d+)").group(1))
        yield writer, f"tcp://127.0.0.1:{port}"


def _record(home: Path, address: str, *flags: str) -> run.OnbeatProcess:
    return run.OnbeatProcess([run.ONBEAT, "record", *run.QUICK, *_NAMED, f"--writer.address={address}", *flags], home)


def _reason(recorder: run.OnbeatProcess, address: str) -> str:
    """What the one line says after where it could not enter."""
    (line,) = [line for line in recorder.output.splitlines() if line.startswith("onbeat:")]
    assert line.startswith(f"onbeat: no entry at {address}: ")
    return line.removeprefix(f"onbeat: no entry at {address}: ")


def _secrets(folder: Path) -> list[str]:
    return [
        line.split("'")[1]
        for path in folder.glob("*.key")
        for line in path.read_text().splitlines()
        if "secret" in line
    ]


def _assert_none_in_any_argument(secrets: list[str], process: run.OnbeatProcess) -> None:
    pids = process.members()
    assert len(pids) > 2
    for pid in pids:
        for name in ("cmdline", "environ"):
            text = Path(f"/proc/{pid}/{name}").read_bytes().decode(errors="replace")
            assert not any(secret in text for secret in secrets)


def test_encrypted_session_is_whole_and_no_key_is_seen_anywhere(tmp_path: Path, key_folder: Path) -> None:
    secrets = _secrets(key_folder)
    assert len(secrets) == 2
    with _writer(tmp_path, f"--keys={key_folder}", "--once=true") as (writer, address):
        keys_flag = f"--writer.keys={key_folder / 'recorder-arm1.key'}"
        with _record(tmp_path, address, keys_flag, "--dataset.num_episodes=1") as recorder:
            recorder.wait_for("state: recording")
            _assert_none_in_any_argument(secrets, recorder)
            _assert_none_in_any_argument(secrets, writer)
            assert recorder.finish() == 0, recorder.output
        assert writer.finish() == 0, writer.output
    recorder.wait_for(r"the recording needs 3\.\d+ MB/s, the link to the writer gives \d+ MB/s", 0)
    writer.wait_for("recorders that may connect: arm1", 0)
    assert not any(secret in recorder.output + writer.output for secret in secrets)
    outcome.assert_whole(tmp_path / "far/me/pick", episodes=1)
    outcome.assert_no_slot_lost(tmp_path / "far/me/pick", 0, fps=30)


def test_who_has_no_right_key_gets_nowhere_and_is_told_why(tmp_path: Path, key_folder: Path) -> None:
    stranger = tmp_path / "other"
    assert run.onbeat(tmp_path, "keys", f"--dir={stranger}")[0] == 0
    own_writer = re.search("^writer = .*$", (key_folder / "recorder-arm1.key").read_text(), re.M)
    assert own_writer is not None
    unlisted = stranger / "unlisted.key"
    text = (stranger / "recorder-robot.key").read_text()
    unlisted.write_text(re.sub("^writer = .*$", lambda _: own_writer.group(0), text, flags=re.M))
    unlisted.chmod(0o600)
    cases = [
        (
            [],
            # Whichever side notices first hangs up.
            "the writer lets in only recorders with a key; set --writer.keys (`onbeat keys` makes them)|"
            "whoever listens there hung up; a writer that wants a key needs --writer.keys",
            "(no key|handshake not finished)",
        ),
        (
            [f"--writer.keys={unlisted}"],
            "the writer does not know this recorder's key; add it to recorders.toml in the writer's folder of keys",
            "key not on the list",
        ),
        (
            [f"--writer.keys={stranger / 'recorder-robot.key'}"],
            "the writer hung up; the file of --writer.keys was made for another writer, or this one has no keys",
            "wrong writer key",
        ),
    ]
    with _writer(tmp_path, f"--keys={key_folder}") as (writer, address):
        for flags, why, counted in cases:
            with _record(tmp_path, address, *flags) as recorder:
                assert recorder.finish() == 2, recorder.output
                assert _reason(recorder, address) in why.split("|")
            writer.wait_for(rf"refused so far: .*{counted}")
    assert not (tmp_path / "far").exists()


def test_a_writer_without_keys_says_so_to_a_recorder_with_one(tmp_path: Path, key_folder: Path) -> None:
    with (
        _writer(tmp_path) as (_, address),
        _record(tmp_path, address, f"--writer.keys={key_folder / 'recorder-arm1.key'}") as recorder,
    ):
        assert recorder.finish() == 2
        assert _reason(recorder, address) in (
            "the writer runs without keys; leave --writer.keys away, or start the writer with --keys",
            "the writer hung up; the file of --writer.keys was made for another writer, or this one has no keys",
        )


def test_a_second_recorder_is_refused_naming_the_owner_and_the_first_goes_on(tmp_path: Path) -> None:
    with _writer(tmp_path) as (_, address), _record(tmp_path, address, "--dataset.num_episodes=2") as first:
        first.wait_for("state: recording")
        with _record(tmp_path, address) as second:
            assert second.finish() == 2
            assert re.search(
                r"^onbeat: this writer is recording for \S+ \(process \d+\); wait, or start another writer$",
                second.output,
                re.M,
            ), second.output
        assert first.finish() == 0, first.output
    outcome.assert_whole(tmp_path / "far/me/pick", episodes=2)


def test_a_writer_killed_and_started_again_by_hand_goes_on_with_the_session(tmp_path: Path, key_folder: Path) -> None:
    flags = (f"--keys={key_folder}",)
    with _writer(tmp_path, *flags) as (writer, address):
        keys_flag = f"--writer.keys={key_folder / 'recorder-arm1.key'}"
        with _record(tmp_path, address, keys_flag, "--dataset.num_episodes=2", "--publisher.ring_s=20") as recorder:
            recorder.wait_for("state: recording")
            os.kill(writer.pid, signal.SIGKILL)
            writer.drain()
            recorder.wait_for("writer lost")
            with _writer(tmp_path, *flags, port=int(address.rpartition(":")[2])):
                recorder.wait_for("writer back")
                assert recorder.finish() == 0, recorder.output
    outcome.assert_whole(tmp_path / "far/me/pick", episodes=2)
    for episode in range(2):
        outcome.assert_no_slot_lost(tmp_path / "far/me/pick", episode, fps=30)


@pytest.mark.parametrize("with_keys", [False, True], ids=["open", "keys"])
def test_a_good_session_beside_garbage_loses_nothing(tmp_path: Path, key_folder: Path, with_keys: bool) -> None:
    assert run.onbeat(tmp_path, "keys", f"--dir={key_folder}", "--recorder=evil")[0] == 0
    flags = (f"--keys={key_folder}",) if with_keys else ()
    keys_flags = (f"--writer.keys={key_folder / 'recorder-arm1.key'}",) if with_keys else ()
    with _writer(tmp_path, *flags) as (writer, address):
        ingest = writer.pid_of("writer.ingest")
        with _record(tmp_path, address, *keys_flags, "--dataset.num_episodes=2") as recorder:
            recorder.wait_for("state: recording")
            before = _resident_bytes(ingest)
            # An authenticated recorder that means harm, where keys are used; else anybody.
            evil = load_recorder(key_folder / "recorder-evil.key") if with_keys else None
            done = Fuzz(address, 5, idle=2000, keys=evil).run()
            after = _resident_bytes(ingest)
            assert recorder.finish() == 0, recorder.output
            recorder.wait_for(r"refused so far: \d+ connections", 0)
        assert writer.pid_of("writer.ingest") == ingest
    assert min(done[load] for load in ("random streams", "greetings", "huge claims", "changed messages")) > 0
    assert done["endless bytes"] > 1 << 20
    # What strangers may leave behind at once is bounded (writer/doorkeeper.py); without that it is gigabytes.
    assert after - before < 400 << 20
    outcome.assert_whole(tmp_path / "far/me/pick", episodes=2)
    for episode in range(2):
        outcome.assert_no_slot_lost(tmp_path / "far/me/pick", episode, fps=30)
    assert not list((tmp_path / "far").rglob("*fuzz*"))


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
