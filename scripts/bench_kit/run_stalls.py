"""When one processor did not run the most urgent thread there is: `python -m scripts.bench_kit.run_stalls CPU FILE`.

Sleeps half a millisecond at a time at the highest real-time priority, until SIGTERM, or until whoever started it is
gone: a watch that stays behind would disturb everything after it. Whenever it is woken late by more than `LATE_NS`,
neither a program nor its priority can be the reason: the hypervisor had taken the processor away, or the kernel did not
let anything run. FILE (.npy, int64, shape (n, 2)) gets from when to when, CLOCK_MONOTONIC in
nanoseconds: from the last time that it ran to the time when it ran again.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import time

import numpy as np

PERIOD_NS = 500_000
LATE_NS = 100_000
_PRIORITY = 99


def main() -> int:
    cpu, path = int(sys.argv[1]), sys.argv[2]
    parent = os.getppid()
    os.sched_setaffinity(0, {cpu})
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
    over = False

    def end(number: int, frame: object) -> None:
        nonlocal over
        over = True

    signal.signal(signal.SIGTERM, end)
    gc.disable()
    found = []
    now_ns, sleep, limit_ns, period_s = time.monotonic_ns, time.sleep, PERIOD_NS + LATE_NS, PERIOD_NS / 1e9
    print("watching", flush=True)
    last_ns = now_ns()
    while not over and os.getppid() == parent:
        sleep(period_s)
        woken_ns = now_ns()
        if woken_ns - last_ns > limit_ns:
            found.append((last_ns, woken_ns))
        last_ns = now_ns()
    if os.getppid() != parent:
        return 1  # nobody reads what was found, and its folder may be gone
    np.save(path, np.array(found, np.int64).reshape(-1, 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
