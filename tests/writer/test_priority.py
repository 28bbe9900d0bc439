"""Encoders must not run before the loop. Shows something as root, where SVT-AV1 would take priority 99."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

OPEN_ENCODER = """
import os
{first}
from transport.dataset_spec import EncoderSpec
from writer.codecs import open_encoder, resolve
encoder = open_encoder(resolve(EncoderSpec(vcodec="{codec}")), 320, 240, 30)
policies = [os.sched_getscheduler(int(task)) for task in os.listdir("/proc/self/task")]
print(len(policies), sum(policy != os.SCHED_OTHER for policy in policies))
"""
GIVE_UP = "from writer.priority import give_up_realtime; give_up_realtime()"


def threads(codec: str, first: str) -> tuple[int, int]:
    """(all, real-time) threads of a process with an open encoder."""
    code = OPEN_ENCODER.format(codec=codec, first=first)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    total, realtime = done.stdout.split()[-2:]
    return int(total), int(realtime)


@pytest.mark.parametrize("codec", ["libsvtav1", "h264"])
def test_no_encoder_thread_is_real_time(codec: str) -> None:
    total, realtime = threads(codec, GIVE_UP)
    assert total > 1
    assert realtime == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run real-time threads everywhere")
def test_svt_av1_still_needs_to_be_kept_from_it() -> None:
    # If this fails, SVT-AV1 behaves by itself and writer/priority.py can go.
    assert threads("libsvtav1", "")[1] > 0
