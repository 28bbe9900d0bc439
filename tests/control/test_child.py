"""A process that the supervisor keeps: started again, given up, waited for."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from control.child import Child
from transport.errors import OnbeatError
from transport.link import Link

SAYS_AND_ENDS = (
    "import socket, msgpack; s = socket.socket(fileno={fd}); s.send(msgpack.packb({{'said': {code}}})); exit({code})"
)
SLEEPS = "import time; time.sleep(600)"


def spawner(program: str, **values: int) -> Any:
    def spawn() -> tuple[subprocess.Popen[bytes], Link]:
        ours, theirs = Link.pair()
        text = program.format(fd=theirs.fileno(), **values)
        process = subprocess.Popen([sys.executable, "-c", text], pass_fds=[theirs.fileno()])
        theirs.close()
        return process, ours

    return spawn


@pytest.mark.parametrize(("last_words", "taken"), [(True, [{"said": 0}]), (False, [])])
def test_what_it_says_while_it_ends_is_taken_where_that_counts(last_words: bool, taken: list[Any]) -> None:
    heard: list[Any] = []
    child = Child("child", spawner(SAYS_AND_ENDS, code=0), heard.append, 30, last_words=last_words)
    child.end(ask=False)
    assert heard == taken
    child.link.close()


def test_it_is_started_again_until_it_dies_too_often() -> None:
    child = Child("child", spawner(SAYS_AND_ENDS, code=7), lambda message: None, 30)
    pids = {child.process.pid}
    for _ in range(9):
        child.process.wait()
        assert child.restart() == 7
        pids.add(child.process.pid)
    assert len(pids) == 10
    with pytest.raises(OnbeatError, match=r"child ended 10 times within a minute \(last with code 7\)"):
        child.restart()
    child.end(ask=True)
    child.link.close()


@pytest.mark.parametrize("ask", [True, False])
def test_its_end_is_not_waited_for_without_limit(ask: bool) -> None:
    child = Child("child", spawner(SLEEPS), lambda message: None, 0.2)
    child.end(ask=ask)
    assert child.process.returncode in ((-15, -9) if ask else (-9,))
    child.link.close()
