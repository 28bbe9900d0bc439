"""Real-time set-up of the loop's thread: best effort, every protection reported as obtained or not and why.

Only the calling thread gets a priority, and with SCHED_RESET_ON_FORK: without it every thread and child made later
would be real-time too and starve the machine. Everything is undone on exit, because `record_dataset` runs in the
caller's own process.
"""

from __future__ import annotations

import os
import resource
import struct
import sys
from contextlib import ExitStack
from types import TracebackType

from control import kernel
from control.affinity import Affinity, others_cpus
from control.config import TimingFlags
from control.garbage import Garbage
from transport.errors import UsageError
from transport.ring import LogRing
from transport.schema import LoopFlag

_DMA_LATENCY = "/dev/cpu_dma_latency"
_DOCTOR = "see `onbeat doctor` and docs/timing.md"
_SLACK_NS = 1


class RealTime:
    """Protections of one session, for the thread that enters it; leave it in the same thread.

    Args:
        timing: what is wanted.
        ring: locked into memory.
        paced: an unpaced loop never sleeps, so it gets no priority.

    Attributes:
        report: "yes" or why not, by protection.
        flags: what holds now, for the frames' telemetry.
    """

    def __init__(self, timing: TimingFlags, ring: LogRing, *, paced: bool) -> None:
        self._timing, self._ring, self._paced = timing, ring, paced
        self._undo = ExitStack()
        self._garbage = Garbage()
        self._affinity: Affinity | None = None
        self.report: dict[str, str] = {}
        self.flags = LoopFlag.PACED if paced else LoopFlag(0)

    def __enter__(self) -> RealTime:
        """Raises UsageError if something is required and not permitted."""
        try:
            self._lock_memory()
            self._pin()
            self._set_timer_slack()
            self._set_priority()
            self._keep_cpu_awake()
            self._set_switch_interval()
            self._list_threads()
            if self._timing.pause_gc:
                self._garbage.open()
                self._undo.callback(self._garbage.close)
        except BaseException:
            self._undo.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.close()

    # -- during the session --------------------------------------------------------------------------------------

    def before_episode(self) -> None:
        """With time to spare: collect garbage, and move threads that came since off the loop's processor."""
        if self._timing.pause_gc:
            self._garbage.collect()
        if self._affinity is not None:
            self._affinity.move_others()

    def episode_begins(self) -> None:
        if self._timing.pause_gc:
            self._garbage.pause()
            self.flags |= LoopFlag.GC_PAUSED

    def episode_ended(self) -> None:
        if self._timing.pause_gc:
            self._garbage.resume()
            self.flags &= ~LoopFlag.GC_PAUSED

    def drop_to_normal(self) -> bool:
        """Give the priority up for the rest of the session; False if there was none."""
        if LoopFlag.FIFO not in self.flags:
            return False
        os.sched_setscheduler(0, os.SCHED_OTHER | os.SCHED_RESET_ON_FORK, os.sched_param(0))
        self.flags &= ~LoopFlag.FIFO
        # The kernel gives a thread that was real-time its default slack back.
        kernel.set_timer_slack_ns(_SLACK_NS)
        return True

    # -- the protections -----------------------------------------------------------------------------------------

    def _lock_memory(self) -> None:
        wanted, ring_name, all_name = self._timing.lock_memory, "log ring locked in memory", "process locked in memory"
        if wanted == "off":
            self.report[ring_name] = self.report[all_name] = "off (--timing.lock_memory)"
            return
        callers_kb = kernel.locked_kb()
        short = f"RLIMIT_MEMLOCK is {kernel.memlock_limit()}; raise memlock in /etc/security/limits.conf"
        if self._ring.lock():
            self._obtained(ring_name, LoopFlag.RING_LOCKED)
        else:
            why = f"not permitted: {self._ring.nbytes >> 20} MB wanted, {short}"
            self._missing(ring_name, wanted, why, "--timing.lock_memory")
        if callers_kb:
            self.report[all_name] = f"left as it was found: {callers_kb} kB were locked already"
            return
        try:
            # Future mappings only without a limit: with one, the next thread's stack may be the mapping that fails.
            kernel.lock_all_memory(future=False)
            self._undo.callback(kernel.unlock_all_memory)
            if kernel.may_lock_without_limit():
                kernel.lock_all_memory(future=True)
            self._obtained(all_name, LoopFlag.MEMORY_LOCKED)
        except OSError as error:
            self.report[all_name] = f"not permitted ({error.strerror}): {short}"

    def _pin(self) -> None:
        cpu = self._timing.cpu
        if cpu is None:
            return
        self._affinity = Affinity(cpu, others_cpus(self._timing) or frozenset([cpu]))
        self._undo.callback(self._affinity.undo)
        self._obtained(f"loop pinned to processor {cpu}", LoopFlag.PINNED)

    def _set_timer_slack(self) -> None:
        before = kernel.timer_slack_ns()
        kernel.set_timer_slack_ns(_SLACK_NS)
        self._undo.callback(kernel.set_timer_slack_ns, before)
        self._obtained("timer slack 1 ns", LoopFlag.TIMER_SLACK)

    def _set_priority(self) -> None:
        wanted = self._timing.realtime
        name = f"SCHED_FIFO priority {self._timing.priority}"
        if wanted == "off" or not self._paced:
            self.report[name] = "off (--timing.realtime)" if wanted == "off" else "off: the loop is not paced"
            return
        policy, param = os.sched_getscheduler(0), os.sched_getparam(0)
        limit, _ = resource.getrlimit(resource.RLIMIT_RTPRIO)
        for priority in (self._timing.priority, min(limit, self._timing.priority)):
            if priority < 1:
                continue
            try:
                os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(priority))
            except PermissionError:
                continue
            self._undo.callback(_restore_scheduler, policy, param)
            self._obtained(f"SCHED_FIFO priority {priority}", LoopFlag.FIFO)
            return
        self._missing(name, wanted, f"not permitted (RLIMIT_RTPRIO is {limit}); {_DOCTOR}", "--timing.realtime")

    def _keep_cpu_awake(self) -> None:
        wanted, name = self._timing.cpu_awake, "processors kept from deep sleep"
        if wanted == "off":
            self.report[name] = "off (--timing.cpu_awake)"
            return
        try:
            fd = os.open(_DMA_LATENCY, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            self._missing(name, wanted, f"{_DMA_LATENCY}: {error.strerror}; {_DOCTOR}", "--timing.cpu_awake")
            return
        # The wish holds for as long as the file is open.
        self._undo.callback(os.close, fd)
        os.write(fd, struct.pack("=i", 0))
        self._obtained(name, LoopFlag.CPU_AWAKE)

    def _set_switch_interval(self) -> None:
        if not self._timing.gil_switch_us:
            return
        before = sys.getswitchinterval()
        sys.setswitchinterval(min(before, self._timing.gil_switch_us / 1e6))
        self._undo.callback(sys.setswitchinterval, before)
        self.report[f"interpreter lock handed over within {self._timing.gil_switch_us:g} µs"] = "yes"

    def _list_threads(self) -> None:
        python = kernel.other_python_threads()
        libraries = len(kernel.other_threads()) - len(python)
        name = f"no Python thread beside the loop (libraries have {libraries} threads)"
        self.report[name] = f"no: {', '.join(python)}; they take turns with the loop" if python else "yes"

    # ------------------------------------------------------------------------------------------------------------

    def _obtained(self, name: str, flag: LoopFlag) -> None:
        self.report[name] = "yes"
        self.flags |= flag

    def _missing(self, name: str, wanted: str, why: str, flag: str) -> None:
        if wanted == "require":
            raise UsageError(f"{name}: {why}; or set {flag}=auto")
        self.report[name] = why


def check_flags(timing: TimingFlags) -> None:
    """Refuse values that cannot be.

    Raises:
        UsageError: says which, and what would do.
    """
    choices = ("auto", "require", "off")
    for name in ("realtime", "lock_memory", "cpu_awake"):
        if getattr(timing, name) not in choices:
            raise UsageError(f"--timing.{name}={getattr(timing, name)} found, expected auto, require or off")
    if timing.on_missed not in ("mark", "reject"):
        raise UsageError(f"--timing.on_missed={timing.on_missed} found, expected mark or reject")
    for name in ("max_tick_s", "max_reset_s"):
        if getattr(timing, name) < 0:
            raise UsageError(f"--timing.{name}={getattr(timing, name):g} found, expected a number of seconds from 0")
    if not 1 <= timing.priority <= 99:
        raise UsageError(f"--timing.priority={timing.priority} found, expected 1 to 99")
    limit = timing.max_missed_fraction
    if limit is not None and not 0 <= limit <= 1:
        raise UsageError(f"--timing.max_missed_fraction={limit:g} found, expected 0 to 1")
    if timing.spin_us < 0 or timing.gil_switch_us < 0:
        raise UsageError(
            f"--timing.spin_us={timing.spin_us:g} and --timing.gil_switch_us={timing.gil_switch_us:g} found, expected "
            "microseconds from 0"
        )
    others_cpus(timing)


def _restore_scheduler(policy: int, param: os.sched_param) -> None:
    try:
        os.sched_setscheduler(0, policy, param)
    except PermissionError:
        # Without privilege, that flag alone cannot be taken back; it changes nothing for a normal thread.
        os.sched_setscheduler(0, policy | os.SCHED_RESET_ON_FORK, param)
