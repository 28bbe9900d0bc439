from __future__ import annotations

import resource
from pathlib import Path

import pytest

from control.doctor_figures import Finding, Load, State
from control.doctor_findings import examine
from control.doctor_machine import Machine

LOAD = Load(cameras=2, width=640, height=480, fps=30)
NOTHING: dict[str, str] = {}
EVERYTHING = {
    "SCHED_FIFO priority 50": "yes",
    "process locked in memory": "yes",
    "timer slack 1 ns": "yes",
    "processors kept from deep sleep": "yes",
}
# A laptop with a stock kernel: what a first-time user has.
LAPTOP = {
    "proc/self/status": "Name:\tpython\nCapEff:\t0000000000000000\nCpus_allowed_list:\t0-7\n",
    "proc/self/limits": (
        "Limit                     Soft Limit           Hard Limit           Units\n"
        "Max locked memory         8388608              8388608              bytes\n"
        "Max realtime priority     0                    0                    \n"
    ),
    "proc/self/cgroup": "0::/user.slice/user-1000.slice\n",
    "proc/meminfo": "MemTotal: 16000000 kB\nMemAvailable: 8000000 kB\nSwapTotal: 2000000 kB\nSwapFree: 1500000 kB\n",
    "proc/version": "Linux version 6.8.0-45-generic #45 SMP PREEMPT_DYNAMIC\n",
    "proc/cmdline": "quiet splash\n",
    "proc/cpuinfo": "flags\t\t: fpu sse\n",
    "proc/sys/kernel/osrelease": "6.8.0-45-generic\n",
    "proc/sys/kernel/sched_rt_runtime_us": "950000\n",
    "proc/sys/kernel/sched_rt_period_us": "1000000\n",
    "sys/devices/system/cpu/online": "0-7\n",
    "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
    "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "powersave\n",
    "sys/devices/system/clocksource/clocksource0/current_clocksource": "tsc\n",
    "dev/cpu_dma_latency": "",
}


def machine(folder: Path, **changed: str) -> Machine:
    """A laptop but for `changed`, whose names have `__` where the paths have `/`."""
    for path, text in (LAPTOP | {name.replace("__", "/"): text for name, text in changed.items()}).items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return Machine(folder)


def finding(name: str, of: Machine, protections: dict[str, str]) -> Finding:
    found = examine(of, LOAD, protections, ring_s=5, stolen=0.015)
    return next(finding for finding in found if finding.name == name)


def test_a_machine_that_grants_everything_needs_no_advice(tmp_path: Path) -> None:
    capable = machine(
        tmp_path,
        proc__self__status="CapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-7\n",
        proc__version="Linux version 6.8.0-rt8 SMP PREEMPT_RT",
        sys__devices__system__cpu__cpu0__cpufreq__scaling_governor="performance",
        sys__devices__system__cpu__cpu1__cpufreq__scaling_governor="performance",
    )
    found = examine(capable, LOAD, EVERYTHING, ring_s=5)
    assert [finding.name for finding in found if finding.state is State.MISSING] == []
    assert [finding.advice for finding in found if finding.advice] == []


def test_without_privilege_every_missing_protection_says_how_to_get_it(tmp_path: Path) -> None:
    found = examine(machine(tmp_path), LOAD, NOTHING, ring_s=5)
    advice = {finding.name: finding.advice for finding in found if finding.state is State.MISSING}
    assert "- rtprio 60" in advice["SCHED_FIFO"]
    assert "- memlock unlimited" in advice["locked memory"]
    assert "udev" in advice["deep CPU sleep"]
    assert "performance" in advice["CPU governor"]


def test_fifo_refused_in_spite_of_the_limits_is_a_containers_doing(tmp_path: Path) -> None:
    limits = (
        "Max realtime priority     60                   60\nMax locked memory         unlimited  unlimited  bytes\n"
    )
    found = finding("SCHED_FIFO", machine(tmp_path, proc__self__limits=limits), NOTHING)
    assert (found.state, found.found.split()[0]) == (State.MISSING, "refused")
    assert "cap-add" in found.advice


@pytest.mark.parametrize(
    ("limit", "said", "granted"),
    [
        ("8388608", "not permitted", "not granted"),
        ("400000000", "not permitted", "for the log ring alone"),
        ("unlimited", "yes", "granted"),
    ],
)
def test_locked_memory_is_measured_against_the_ring(tmp_path: Path, limit: str, said: str, granted: str) -> None:
    limits = f"Max locked memory         {limit}              {limit}              bytes\n"
    here = machine(tmp_path, proc__self__limits=limits)
    found = finding("locked memory", here, {"process locked in memory": said})
    assert found.found.startswith(granted)


@pytest.mark.parametrize(
    ("files", "words", "state"),
    [
        ({"sys__kernel__debug__sched__preempt": "none voluntary (full)"}, "PREEMPT_DYNAMIC (full)", State.FACT),
        ({"sys__kernel__debug__sched__preempt": "none (voluntary) full"}, "preemption voluntary", State.MISSING),
        ({"proc__cmdline": "quiet preempt=none"}, "preemption none", State.MISSING),
        ({"sys__kernel__realtime": "1"}, "PREEMPT_RT", State.GOOD),
        ({"proc__version": "Linux version 5.4 SMP"}, "not preemptible", State.MISSING),
        ({}, "mode not readable", State.FACT),
    ],
)
def test_the_kernels_preemption_is_named(tmp_path: Path, files: dict[str, str], words: str, state: State) -> None:
    found = finding("kernel", machine(tmp_path, **files), EVERYTHING)
    assert words in found.found
    assert found.state is state


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({"sys__fs__cgroup__cpu.max": "max 100000"}, None),
        ({"sys__fs__cgroup__cpu.max": "150000 100000"}, 1.5),
        # The tightest of this process's groups counts.
        (
            {
                "sys__fs__cgroup__user.slice__cpu.max": "200000 100000",
                "sys__fs__cgroup__user.slice__user-1000.slice__cpu.max": "400000 100000",
            },
            2.0,
        ),
        (
            {
                "proc__self__cgroup": "3:cpu,cpuacct:/docker/1\n",
                "sys__fs__cgroup__cpu__cpu.cfs_quota_us": "50000",
                "sys__fs__cgroup__cpu__cpu.cfs_period_us": "100000",
            },
            0.5,
        ),
        (
            {"proc__self__cgroup": "3:cpu,cpuacct:/\n", "sys__fs__cgroup__cpu__cpu.cfs_quota_us": "-1"},
            None,
        ),
    ],
)
def test_a_containers_limit_on_processors(tmp_path: Path, files: dict[str, str], quota: float | None) -> None:
    here = machine(tmp_path, **files)
    assert here.cpu_quota() == quota
    assert (finding("processors", here, EVERYTHING).state is State.MISSING) == (quota is not None)


@pytest.mark.parametrize(
    ("files", "available"),
    [
        ({}, 8_192_000_000),
        (
            {"sys__fs__cgroup__memory.max": "1000000000", "sys__fs__cgroup__memory.current": "400000000"},
            600_000_000,
        ),
        (
            {
                "proc__self__cgroup": "4:memory:/\n",
                "sys__fs__cgroup__memory__memory.limit_in_bytes": "9223372036854771712",
                "sys__fs__cgroup__memory__memory.usage_in_bytes": "1",
            },
            8_192_000_000,
        ),
    ],
)
def test_memory_that_can_be_had(tmp_path: Path, files: dict[str, str], available: int) -> None:
    assert machine(tmp_path, **files).available_bytes() == available


def test_time_that_a_host_took() -> None:
    before = "cpu  100 0 50 800 0 0 0 50 0 0\ncpu0 1 2"
    after = "cpu  150 0 50 850 0 0 0 100 0 0\ncpu0 1 2"
    assert Machine().stolen_fraction(before, after) == pytest.approx(50 / 150)
    assert Machine().stolen_fraction(before, before) == 0


@pytest.mark.parametrize(("others", "state"), [(0.2, State.GOOD), (3.5, State.MISSING)])
def test_other_programs_are_named_because_every_figure_has_them_in_it(
    tmp_path: Path, others: float, state: State
) -> None:
    found = examine(machine(tmp_path), LOAD, EVERYTHING, ring_s=5, others=others)
    assert next(finding for finding in found if finding.name == "other programs").state is state


def test_processors_at_work() -> None:
    before = "cpu  100 0 50 800 0 0 0 50 0 0\ncpu0 1\ncpu1 1\ncpu2 1\ncpu3 1"
    after = "cpu  200 0 50 1080 20 0 0 50 0 0\ncpu0 1\ncpu1 1\ncpu2 1\ncpu3 1"
    assert Machine().busy_processors(before, after) == pytest.approx(1.0)
    assert Machine().busy_processors(before, before) == 0


def test_a_virtual_machine_says_what_its_host_took(tmp_path: Path) -> None:
    here = machine(tmp_path, proc__cpuinfo="flags : fpu hypervisor\n")
    assert "took 1.5%" in finding("processors", here, EVERYTHING).found


def test_this_machine_is_read_without_gaps() -> None:
    here = Machine()
    assert here.processors()
    assert here.memory_bytes("MemTotal") > here.memory_bytes("MemAvailable") > 0
    assert here.soft_limit("Max open files") == resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert here.soft_limit("Max realtime priority") == resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
