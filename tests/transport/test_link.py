"""Starting processes and talking to them: real ones, in folders and scripts that are made to confuse them."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

import control
from transport.errors import CodecError
from transport.link import Link, spawn

LIMIT_S = 30
HERE = Path(__file__).parent


@contextmanager
def child(
    monkeypatch: pytest.MonkeyPatch, do: str, fds: Sequence[int] = (), **options: Any
) -> Iterator[tuple[subprocess.Popen[bytes], Link]]:
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    more = options.pop("more", {})
    process, link = spawn("link_child", {"do": do, **more}, fds, **options)
    try:
        yield process, link
    finally:
        process.kill()
        process.wait()
        link.close()


def first(link: Link) -> dict[str, Any]:
    received = link.receive(timeout_s=LIMIT_S)
    assert received is not None
    return received[0]


def ended(pidfd: int) -> bool:
    return bool(select.select([pidfd], [], [], LIMIT_S)[0])


def test_a_child_knows_what_it_was_told_and_nothing_else(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A folder named like one of ours, in the folder that the user happens to be in, is not ours."""
    (tmp_path / "control").mkdir()
    (tmp_path / "control" / "__init__.py").write_text("raise SystemExit('the wrong control')")
    (tmp_path / "msgpack.py").write_text("raise SystemExit('the wrong msgpack')")
    monkeypatch.chdir(tmp_path)
    with tempfile.TemporaryFile() as one, tempfile.TemporaryFile() as two:
        for file, text in ((one, b"one"), (two, b"two")):
            file.write(text)
            file.flush()
            file.seek(0)
        more = {"number": 5, "text": "ä\udcff", "list": [1, None, {"a": 1.5}]}
        with child(monkeypatch, "tell", [one.fileno(), two.fileno()], niceness=3, more=more) as (process, link):
            told = first(link)
            assert process.wait(LIMIT_S) == 7
    assert told["config"] == more
    assert told["files"] == ["one", "two"]
    assert told["inheritable"] == [False, False]  # else every program that a source starts would hold the log
    assert told["parent"] == os.getpid()
    assert told["group"]
    assert told["sigint"]
    assert told["stdin"] == ""
    assert told["control"] == control.__file__
    assert told["nice"] == os.nice(0) + 3
    assert len(told["link_fds"]) == 1


def test_a_child_dies_with_its_parent_where_it_was_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    with child(monkeypatch, "start a child and die") as (process, link):
        grandchild = first(link)["ready"]
        pidfd = os.pidfd_open(grandchild)
        link.send({"die": True})
        assert process.wait(LIMIT_S) == -signal.SIGKILL
        assert ended(pidfd)
        os.close(pidfd)


def test_a_child_outlives_its_parent_where_it_was_not(monkeypatch: pytest.MonkeyPatch) -> None:
    """The publisher goes on when the supervisor was killed."""
    with child(monkeypatch, "wait") as (process, link):
        first(link)
        link.close()  # all that a dead parent changes for it
        assert process.poll() is None


_SCRIPT = """
import pathlib, sys
from transport.link import spawn
print("the script runs", flush=True)
process, link = spawn("link_child", {{"do": "tell"}})
print(link.receive(timeout_s=30)[0]["config"], process.wait(), flush=True)
"""


def test_a_script_without_a_main_guard_is_not_run_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Unlike multiprocessing's spawn; `record_dataset` is called from such scripts."""
    script = tmp_path / "record.py"
    script.write_text(_SCRIPT.format())
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    assert done.stdout == "the script runs\n{} 7\n"


def test_the_end_of_the_other_side_is_none_not_an_exception() -> None:
    ours, theirs = Link.pair()
    assert ours.send({"a": 1})
    theirs.close()
    assert ours.receive(LIMIT_S) is None
    assert not ours.send({"a": 1})
    assert not ours.offer({"a": 1})
    ours.close()


def test_an_offer_never_waits() -> None:
    """The publisher's beats must not stop because the supervisor is busy."""
    ours, theirs = Link.pair()
    offered = 0
    while ours.offer({"beat": offered}):
        offered += 1
        assert offered < 1_000_000
    assert offered > 50
    for number in range(offered):
        assert theirs.receive(LIMIT_S) == ({"beat": number}, [])
    assert ours.offer({"beat": 0})
    ours.close()
    theirs.close()


def test_nothing_within_the_limit_is_a_timeout() -> None:
    ours, theirs = Link.pair()
    with pytest.raises(TimeoutError):
        ours.receive(timeout_s=0.01)
    theirs.send({"late": True})
    assert ours.receive(timeout_s=LIMIT_S) == ({"late": True}, [])
    ours.close()
    theirs.close()


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.text() | st.binary(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=9,
)


@given(st.dictionaries(st.text(), _VALUES, max_size=5))
def test_any_map_arrives_as_it_was(message: dict[str, Any]) -> None:
    """File names need not be UTF-8, so text need not be either."""
    ours, theirs = Link.pair()
    assert ours.send(message)
    assert theirs.receive(LIMIT_S) == (message, [])
    ours.close()
    theirs.close()


@pytest.mark.parametrize("data", [b"\xc1", b"\x81", b"\x01", msgpack.packb([1, 2]), msgpack.packb({"a": 1})[:-1]])
def test_what_is_no_map_is_a_codec_error_and_leaks_nothing(data: bytes) -> None:
    ours, theirs = Link.pair()
    before = len(os.listdir("/proc/self/fd"))
    with tempfile.TemporaryFile() as file:
        socket.send_fds(theirs._socket, [data], [file.fileno()])
    with pytest.raises(CodecError):
        ours.receive(LIMIT_S)
    assert len(os.listdir("/proc/self/fd")) == before
    theirs.send({"next": 1})
    assert ours.receive(LIMIT_S) == ({"next": 1}, [])
    ours.close()
    theirs.close()


def test_the_largest_hello_fits_and_more_is_refused_in_words() -> None:
    """A schema is bounded so that it fits (transport/schema.py); what does not fit must not be half a message."""
    ours, theirs = Link.pair()
    assert ours.send({"schema": "x" * 180_000})
    received = theirs.receive(LIMIT_S)
    assert received is not None
    assert len(received[0]["schema"]) == 180_000
    for send in (ours.send, ours.offer):
        with pytest.raises(CodecError, match=r"a message of 2\d+ bytes found, expected at most \d+"):
            send({"schema": "x" * 2_000_000})
    ours.close()
    theirs.close()
