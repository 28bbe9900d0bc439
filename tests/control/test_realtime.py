"""Protections are reported as they are, reach only the loop's thread, and are undone to the last one."""

from __future__ import annotations

import gc
import os
import re
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import draccus
import pytest

from control import kernel
from control.affinity import Affinity, others_cpus, parse_cpus
from control.config import RecordConfig, TimingFlags
from control.realtime import RealTime, check_flags
from transport import flags
from transport.errors import UsageError
from transport.ring import LogRing
from transport.schema import LoopFlag, Schema, Stream

SCHEMA = Schema((Stream("action", "float32", (2,)),))


def small_ring() -> LogRing:
    return LogRing.create(SCHEMA, seconds=1, fps=10)


def state() -> dict[str, Any]:
    """What a session could leave changed in a process and its calling thread."""
    return {
        "scheduler": os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK,
        "priority": os.sched_getparam(0).sched_priority,
        "affinity": os.sched_getaffinity(0),
        "slack": kernel.timer_slack_ns(),
        "gc": gc.isenabled(),
        "switch interval": sys.getswitchinterval(),
        "locked": kernel.locked_kb(),
        "latency files": [fd for fd in os.listdir("/proc/self/fd") if _target(fd) == "/dev/cpu_dma_latency"],
    }


def _target(fd: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{fd}")
    except FileNotFoundError:  # the descriptor of the listing itself
        return ""


def in_thread(work: Callable[[], None]) -> None:
    """Run in a thread of its own, so that a mistake cannot make the test run real-time."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the caller
            failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]


def test_everything_is_undone_also_after_an_error() -> None:
    def fail(ring: LogRing) -> None:
        with RealTime(TimingFlags(cpu=min(os.sched_getaffinity(0))), ring, paced=True) as protections:
            protections.before_episode()
            protections.episode_begins()
            assert not gc.isenabled()
            raise RuntimeError("the loop failed")

    def work() -> None:
        ring = small_ring()
        before = state()
        with pytest.raises(RuntimeError, match="the loop failed"):
            fail(ring)
        assert state() == before

    in_thread(work)


def test_the_report_and_the_flags_say_what_is() -> None:
    def work() -> None:
        with RealTime(TimingFlags(), small_ring(), paced=True) as protections:
            held, report = protections.flags, protections.report
            assert kernel.timer_slack_ns() == (0 if LoopFlag.FIFO in held else 1)
            assert (os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_FIFO) is (LoopFlag.FIFO in held)
            assert (kernel.locked_kb() > 0) is bool(held & (LoopFlag.RING_LOCKED | LoopFlag.MEMORY_LOCKED))
            assert LoopFlag.PACED in held
            for pattern, flag in (
                ("SCHED_FIFO priority", LoopFlag.FIFO),
                ("log ring locked", LoopFlag.RING_LOCKED),
                ("process locked", LoopFlag.MEMORY_LOCKED),
                ("processors kept", LoopFlag.CPU_AWAKE),
                ("timer slack", LoopFlag.TIMER_SLACK),
            ):
                (found,) = (state for name, state in report.items() if name.startswith(pattern))
                assert (found == "yes") is (flag in held), f"{pattern}: {found}"

    in_thread(work)


def test_threads_and_children_of_the_loop_are_not_real_time() -> None:
    found: dict[str, int] = {}

    def work() -> None:
        with RealTime(TimingFlags(), small_ring(), paced=True):
            other = threading.Thread(target=lambda: found.update(thread=os.sched_getscheduler(0)))
            other.start()
            other.join()
            program = "import os; print(os.sched_getscheduler(0))"
            found["child"] = int(subprocess.check_output([sys.executable, "-c", program]))

    in_thread(work)
    assert found == {"thread": os.SCHED_OTHER, "child": os.SCHED_OTHER}


def test_an_unpaced_loop_gets_no_priority() -> None:
    def work() -> None:
        with RealTime(TimingFlags(realtime="require"), small_ring(), paced=False) as protections:
            assert os.sched_getscheduler(0) == os.SCHED_OTHER
            assert protections.report["SCHED_FIFO priority 50"] == "off: the loop is not paced"
            assert not protections.drop_to_normal()

    in_thread(work)


def test_dropping_to_normal_lasts_and_keeps_the_timer_exact() -> None:
    def work() -> None:
        with RealTime(TimingFlags(), small_ring(), paced=True) as protections:
            if LoopFlag.FIFO not in protections.flags:
                pytest.skip("this user may not use SCHED_FIFO")
            assert protections.drop_to_normal()
            assert os.sched_getscheduler(0) & ~os.SCHED_RESET_ON_FORK == os.SCHED_OTHER
            assert kernel.timer_slack_ns() == 1
            assert LoopFlag.FIFO not in protections.flags
            assert not protections.drop_to_normal()

    in_thread(work)


def test_garbage_is_collected_between_episodes_only() -> None:
    class Cycle:
        def __init__(self) -> None:
            self.me = self

    collected: list[str] = []

    def note(phase: str, info: dict[str, int]) -> None:
        collected.append(phase)

    def work() -> None:
        with RealTime(TimingFlags(), small_ring(), paced=True) as protections:
            gc.callbacks.append(note)
            try:
                protections.before_episode()
                assert "stop" in collected
                collected.clear()
                protections.episode_begins()
                assert LoopFlag.GC_PAUSED in protections.flags
                cycles = [Cycle() for _ in range(10_000)]
                del cycles
                assert not collected
                protections.episode_ended()
                assert LoopFlag.GC_PAUSED not in protections.flags
                assert gc.isenabled()
            finally:
                gc.callbacks.remove(note)

    in_thread(work)


def test_a_caller_without_garbage_collection_keeps_it_off() -> None:
    gc.disable()
    try:
        with RealTime(TimingFlags(), small_ring(), paced=False) as protections:
            protections.before_episode()
            protections.episode_begins()
            protections.episode_ended()
            assert not gc.isenabled()
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_python_threads_beside_the_loop_are_named() -> None:
    leave = threading.Event()
    other = threading.Thread(target=leave.wait, name="keyboard listener")
    other.start()
    try:
        with RealTime(TimingFlags(), small_ring(), paced=False) as protections:
            (line,) = (state for name, state in protections.report.items() if name.startswith("no Python thread"))
            assert "keyboard listener" in line
            assert sys.getswitchinterval() == pytest.approx(1e-4)
    finally:
        leave.set()
        other.join()


UNPRIVILEGED = """
    import codecs, os, resource, threading
    from control.config import TimingFlags
    from control.realtime import RealTime
    from transport.errors import UsageError
    from transport.ring import LogRing
    from transport.schema import Schema, Stream

    resource.setrlimit(resource.RLIMIT_MEMLOCK, (65536, 65536))
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    if os.geteuid() == 0:
        # Nobody may not read Python's library if that lies in root's home.
        codecs.lookup("ascii")
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
    ring = LogRing.create(Schema((Stream("action", "float32", (2,)),)), seconds=10, fps=100)
    with RealTime(TimingFlags(), ring, paced=True) as protections:
        # With a memory limit, a thread needs a stack that can still be mapped.
        thread = threading.Thread(target=lambda: None)
        thread.start()
        thread.join()
        for name, state in protections.report.items():
            print(f"{name}: {state}")
    for flag in ("realtime", "lock_memory", "cpu_awake"):
        try:
            with RealTime(TimingFlags(**{flag: "require"}), ring, paced=True):
                raise SystemExit(f"{flag} was granted")
        except UsageError as error:
            print(f"{flag} refused: {error}")
"""


def test_without_rights_it_works_and_says_what_is_lacking(tmp_path: Path) -> None:
    program = [sys.executable, "-c", textwrap.dedent(UNPRIVILEGED)]
    output = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert output.returncode == 0, output.stderr
    for line in (
        r"log ring locked in memory: not permitted: \d+ MB wanted, RLIMIT_MEMLOCK is 0 MB; raise memlock in",
        r"process locked in memory: not permitted \(.+\): RLIMIT_MEMLOCK",
        r"timer slack 1 ns: yes",
        r"SCHED_FIFO priority 50: not permitted \(RLIMIT_RTPRIO is 0\); see `onbeat doctor`",
        r"processors kept from deep sleep: /dev/cpu_dma_latency: (Permission denied|No such file)",
        r"realtime refused: SCHED_FIFO priority 50: not permitted .* or set --timing.realtime=auto",
        r"lock_memory refused: log ring locked in memory: .* or set --timing.lock_memory=auto",
        r"cpu_awake refused: .* or set --timing.cpu_awake=auto",
    ):
        assert re.search(line, output.stdout), f"{line}\n{output.stdout}"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"realtime": "yes"}, "--timing.realtime=yes found, expected auto, require or off"),
        ({"cpu_awake": "1"}, "--timing.cpu_awake=1 found"),
        ({"on_missed": "drop"}, "--timing.on_missed=drop found, expected mark or reject"),
        ({"priority": 0}, "--timing.priority=0 found, expected 1 to 99"),
        ({"max_missed_fraction": 5.0}, "--timing.max_missed_fraction=5 found, expected 0 to 1"),
        ({"spin_us": -1.0}, "--timing.spin_us=-1"),
        ({"cpu": 4096}, "--timing.cpu=4096 found, expected one of"),
        ({"others_cpus": "0-"}, "--timing.others_cpus=0- found, expected processors as in 0,2-3"),
    ],
)
def test_flags_that_cannot_be(flags: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        check_flags(TimingFlags(**flags))


def test_processor_lists() -> None:
    there = sorted(os.sched_getaffinity(0))
    text = ",".join(map(str, there))
    assert parse_cpus(text, "--x") == frozenset(there)
    assert parse_cpus(f" {there[0]} ", "--x") == {there[0]}
    with pytest.raises(UsageError, match="expected some of the processors"):
        parse_cpus("4000-4001", "--x")
    assert others_cpus(TimingFlags()) is None
    if len(there) > 1:
        assert others_cpus(TimingFlags(cpu=there[0])) == frozenset(there[1:])


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_other_threads_leave_the_loops_processor_and_come_back() -> None:
    before = os.sched_getaffinity(0)
    first, *rest = sorted(before)
    leave = threading.Event()
    other = threading.Thread(target=leave.wait)
    other.start()
    assert other.native_id is not None
    try:
        affinity = Affinity(first, frozenset(rest))
        assert os.sched_getaffinity(0) == {first}
        assert os.sched_getaffinity(other.native_id) == set(rest)
        late = threading.Thread(target=leave.wait)
        late.start()
        assert late.native_id is not None
        assert os.sched_getaffinity(late.native_id) == {first}, "a thread begins where its maker is"
        affinity.move_others()
        assert os.sched_getaffinity(late.native_id) == set(rest)
        affinity.undo()
        assert all(os.sched_getaffinity(thread) == before for thread in (0, other.native_id, late.native_id))
    finally:
        leave.set()
        other.join()
        late.join()


@pytest.mark.parametrize("flag", ["realtime", "lock_memory", "cpu_awake"])
def test_off_can_be_said_on_the_command_line(flag: str) -> None:
    config = flags.parse(RecordConfig, [f"--timing.{flag}=off"], prog="onbeat record", about="")
    assert getattr(config.timing, flag) == "off"
    check_flags(config.timing)
    again = draccus.decode(RecordConfig, draccus.encode(config))
    assert getattr(again.timing, flag) == "off"


def test_what_is_off_is_said_to_be_off() -> None:
    wanted = TimingFlags(realtime="off", lock_memory="off", cpu_awake="off", pause_gc=False, gil_switch_us=0)

    def work() -> None:
        before = state()
        with RealTime(wanted, small_ring(), paced=True) as protections:
            protections.before_episode()
            protections.episode_begins()
            assert protections.flags == LoopFlag.PACED | LoopFlag.TIMER_SLACK
            assert state() == {**before, "slack": 1}
            said = [line for line in protections.report.values() if line.startswith("off (--timing.")]
            assert len(said) == 4
            protections.episode_ended()
        assert state() == before

    in_thread(work)
