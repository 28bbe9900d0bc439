"""One run of the floor: `python -m scripts.bench_kit.run_floor CONFIG.json`.

onbeat's own pacer and protections with nothing in the tick: what this machine gives at best, at this moment.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from control.clock import SystemClock
from control.config import TimingFlags
from control.load_trace import TICK_DTYPE
from control.pacer import Pacer
from control.realtime import RealTime
from transport.ring import LogRing
from transport.schema import Schema, Stream


def main() -> int:
    config = json.loads(Path(sys.argv[1]).read_text())
    fps, timing = config["load"]["fps"], TimingFlags()
    ticks = np.zeros(config["ticks"], TICK_DTYPE)
    ring = LogRing.create(Schema((Stream("action", "float32", (1,)),)), seconds=1, fps=fps)
    pacer = Pacer(fps, SystemClock(int(timing.spin_us * 1000)))
    with RealTime(timing, ring, paced=True) as protections:
        protections.before_episode()
        protections.episode_begins()
        pacer.start()
        for number in range(len(ticks)):
            tick = pacer.wait()
            ticks[number] = (0, tick.scheduled_ns, tick.started_ns, tick.started_ns, tick.missed_slots)
        protections.episode_ended()
    np.save(config["ticks_file"], ticks)
    return 0


if __name__ == "__main__":
    sys.exit(main())
