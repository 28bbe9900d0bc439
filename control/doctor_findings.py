"""What the machine's facts mean for a real-time loop, and what would change them. Pure but for who the user is."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Mapping

from control.doctor_figures import Finding, Load, State
from control.doctor_machine import CAP_IPC_LOCK, CAP_SYS_NICE, Machine

_LIMITS = "/etc/security/limits.d/onbeat.conf"
# Processors; what a desktop needs for itself is less.
_BUSY = 0.5
_GOVERNOR = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor"
_UDEV = "/etc/udev/rules.d/99-onbeat.rules"


def limits_command() -> str:
    """Grants priority and locked memory to this user, from the next login on."""
    uid = os.getuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = f"{uid}:{uid}"  # a range of user ids, as limits.conf writes it
    return f"printf '{user} - rtprio 60\\n{user} - memlock unlimited\\n' | sudo tee {_LIMITS}   # then log in again"


def examine(
    machine: Machine,
    load: Load,
    protections: Mapping[str, str],
    *,
    ring_s: float,
    stolen: float = 0.0,
    others: float = 0.0,
) -> tuple[Finding, ...]:
    """Everything that bears on timing and room.

    Args:
        protections: what a loop obtained here a moment ago ("yes" or why not), which is more than limits can tell.
        ring_s: seconds of ring that are wanted.
        stolen: the fraction of its processors' time that a virtual machine was denied by its host.
        others: how many processors other programs kept busy before we began.
    """
    return (
        _fifo(machine, _said(protections, "SCHED_FIFO")),
        _locked_memory(machine, load.ring_bytes(ring_s), _said(protections, "process locked")),
        _awake(machine, _said(protections, "processors kept")),
        _timer_slack(_said(protections, "timer slack")),
        _preemption(machine),
        _processors(machine, stolen),
        _other_work(others),
        _governor(machine),
        _clock(machine),
        _memory(machine),
    )


def _fifo(machine: Machine, said: str) -> Finding:
    limit = machine.soft_limit("Max realtime priority")
    capable = machine.capable(CAP_SYS_NICE)
    why = f"rtprio limit {'none' if limit is None else limit}, CAP_SYS_NICE {'yes' if capable else 'no'}"
    runtime, period = (machine.read(f"/proc/sys/kernel/sched_rt_{name}_us") for name in ("runtime", "period"))
    if runtime.isdecimal() and period.isdecimal():
        why += f", up to {int(runtime) / int(period):.0%} of a processor"
    if said == "yes":
        return Finding("SCHED_FIFO", f"granted ({why})", State.GOOD)
    if capable or limit != 0:
        return Finding(
            "SCHED_FIFO",
            f"refused ({why})",
            State.MISSING,
            "a container or a real-time group refuses it: start the container with --cap-add=SYS_NICE, or set "
            "cpu.rt_runtime_us of the group",
        )
    return Finding("SCHED_FIFO", f"not granted ({why})", State.MISSING, limits_command())


def _locked_memory(machine: Machine, ring_bytes: int, said: str) -> Finding:
    limit = machine.soft_limit("Max locked memory")
    text = f"limit {'none' if limit is None else f'{limit / 1e6:.0f} MB'}"
    if machine.capable(CAP_IPC_LOCK):
        text += ", lifted by CAP_IPC_LOCK"
    if not machine.may_lock(ring_bytes):
        found = f"not granted ({text}; the log ring needs {ring_bytes / 1e6:.0f} MB)"
        return Finding("locked memory", found, State.MISSING, limits_command())
    if said != "yes":
        return Finding("locked memory", f"for the log ring alone ({text})", State.MISSING, limits_command())
    return Finding("locked memory", f"granted ({text})", State.GOOD)


def _awake(machine: Machine, said: str) -> Finding:
    if said == "yes":
        return Finding("deep CPU sleep", "can be held off (/dev/cpu_dma_latency)", State.GOOD)
    if not machine.exists("/dev/cpu_dma_latency"):
        return Finding("deep CPU sleep", "cannot be held off: no /dev/cpu_dma_latency here")
    rule = 'KERNEL=="cpu_dma_latency", GROUP="onbeat", MODE="0660"'
    advice = f"echo '{rule}' | sudo tee {_UDEV}   # for members of a group onbeat, after a restart"
    return Finding("deep CPU sleep", "not held off (/dev/cpu_dma_latency is not writable)", State.MISSING, advice)


def _timer_slack(said: str) -> Finding:
    good = said == "yes"
    return Finding("timer slack", "1 ns in the loop" if good else said, State.GOOD if good else State.MISSING)


def _preemption(machine: Machine) -> Finding:
    version = machine.read("/proc/version")
    release = machine.read("/proc/sys/kernel/osrelease") or "?"
    if machine.read("/sys/kernel/realtime") == "1" or "PREEMPT_RT" in version:
        return Finding("kernel", f"{release}, PREEMPT_RT", State.GOOD)
    # debugfs shows the mode in force between brackets; only root may look.
    mode = re.search(r"\((\w+)\)", machine.read("/sys/kernel/debug/sched/preempt"))
    mode = mode or re.search(r"\bpreempt=(\w+)", machine.read("/proc/cmdline"))
    if mode and mode[1] in ("none", "voluntary"):
        advice = "add preempt=full to the kernel's command line"
        return Finding("kernel", f"{release}, preemption {mode[1]}", State.MISSING, advice)
    if "PREEMPT_DYNAMIC" in version:
        return Finding("kernel", f"{release}, PREEMPT_DYNAMIC ({mode[1] if mode else 'mode not readable here'})")
    if "PREEMPT" in version:
        return Finding("kernel", f"{release}, PREEMPT", State.GOOD)
    return Finding("kernel", f"{release}, not preemptible", State.MISSING, "install a PREEMPT or PREEMPT_RT kernel")


def _processors(machine: Machine, stolen: float) -> Finding:
    allowed, online = machine.processors(), machine.read("/sys/devices/system/cpu/online")
    parts = [allowed if allowed == online else f"{allowed} of {online}"]
    for name in ("isolated", "nohz_full"):
        cpus = machine.read(f"/sys/devices/system/cpu/{name}")
        if cpus and cpus != "(null)":
            parts.append(f"{name} {cpus}")
    if "hypervisor" in machine.read("/proc/cpuinfo"):
        parts.append(f"a virtual machine's, whose host took {stolen:.1%} of their time just now")
    quota = machine.cpu_quota()
    if quota is not None:
        parts.append(f"limited to the time of {quota:g}")
        return Finding(
            "processors", ", ".join(parts), State.MISSING, "start without --cpus (Docker), CPUQuota= (systemd)"
        )
    if allowed.isdecimal():
        advice = "give it a second processor: loop and encoders share this one"
        return Finding("processors", ", ".join(parts), State.MISSING, advice)
    return Finding("processors", ", ".join(parts), State.GOOD)


def _other_work(others: float) -> Finding:
    if others < _BUSY:
        return Finding("other programs", f"quiet ({others:.1f} processors busy)", State.GOOD)
    found = f"{others:.1f} processors busy: they are in all figures below"
    return Finding("other programs", found, State.MISSING, "end other programs, then run this again")


def _governor(machine: Machine) -> Finding:
    found = sorted(set(machine.read_all("/sys/devices/system/cpu", "cpu[0-9]*/cpufreq/scaling_governor")))
    if not found:
        return Finding("CPU governor", "none here: the clock rate is the firmware's or the host's choice")
    if found == ["performance"]:
        return Finding("CPU governor", "performance", State.GOOD)
    return Finding("CPU governor", ", ".join(found), State.MISSING, f"echo performance | sudo tee {_GOVERNOR}")


def _clock(machine: Machine) -> Finding:
    source = machine.read("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    if source in ("hpet", "acpi_pm", "jiffies"):
        found = f"{source}: every look at it is a slow call"
        return Finding(
            "clock", found, State.MISSING, "dmesg | grep -i clocksource   # says why the fast one was given up"
        )
    return Finding("clock", source or "unknown", State.GOOD if source else State.FACT)


def _memory(machine: Machine) -> Finding:
    parts = [
        f"{machine.memory_bytes('MemAvailable') / 1e9:.1f} of {machine.memory_bytes('MemTotal') / 1e9:.1f} GB free"
    ]
    left = machine.memory_left_bytes()
    if left is not None:
        parts.append(f"{left / 1e9:.1f} GB left of the container's limit")
    if os.path.ismount("/dev/shm"):
        shm = os.statvfs("/dev/shm")
        parts.append(f"/dev/shm {shm.f_bavail * shm.f_frsize / 1e9:.1f} GB")
    swap = machine.memory_bytes("SwapTotal")
    if not swap:
        return Finding("memory", ", ".join([*parts, "no swap"]), State.GOOD)
    used = swap - machine.memory_bytes("SwapFree")
    return Finding("memory", ", ".join([*parts, f"swap {used / 1e9:.1f} of {swap / 1e9:.1f} GB used"]))


def _said(protections: Mapping[str, str], name: str) -> str:
    return next((said for protection, said in protections.items() if protection.startswith(name)), "not tried")
