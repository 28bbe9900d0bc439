"""The process of a policy: reads observations out of the log ring, answers with chunks of actions.

It is told in three messages, with as much time between them as the caller likes: which policy (it imports lerobot and
reads the configuration), which streams (it loads the weights and infers once, so that nothing is left to be done in the
first episode), and where log ring and answers are. From then on it looks only at shared memory, woken by an eventfd.
It runs at normal priority, and is killed by the kernel when control ends.
"""

from __future__ import annotations

import contextlib
import math
import os
import select
import sys
import time
import traceback
from typing import Any, Protocol

from control.policy_memory import MAX_ROWS, Actions, PolicyMemory, Request
from control.policy_observation import Observation, ObservationReader
from control.policy_plan import Cadence
from transport.errors import OnbeatError, UsageError
from transport.link import Link, child_link
from transport.ring import LogRing
from transport.schema import Schema

_TURN_S = 0.5
# A policy that needs every observation and is so far behind begins anew with the newest: what it says is too old.
_MAX_BEHIND_S = 1.0


class LoadedPolicy(Protocol):
    """What is used of a policy.

    Attributes:
        keys: streams that it looks at.
        by_chunks: whether it answers a single observation with a chunk; else it is given every observation in order.
        needs_every: without chunks: whether an observation may not be left out.
        steps: rows of a chunk that it would act on before it looks again.
        inference_s: what the last inference of the warm-up took.
        rows: of that chunk.
    """

    keys: list[str]
    by_chunks: bool
    needs_every: bool
    steps: int
    inference_s: float
    rows: int

    def reset(self, task: str) -> None: ...

    def infer(self, observation: Observation) -> Actions:
        """Actions of shape (rows, elements), the first for the tick of the observation."""


class Answering:
    """Answers what the loop has, newest first, or one after the other where the policy has a memory."""

    def __init__(self, policy: LoadedPolicy, ring: LogRing, memory: PolicyMemory, fps: int, ahead: int) -> None:
        self._policy, self._memory = policy, memory
        self._reader = ObservationReader(ring, policy.keys)
        # The next tick to be acted on is `ahead` after the newest observation's own.
        self._ahead = ahead
        self._cadence = Cadence(policy.steps, max(math.ceil(policy.inference_s * fps) - 1, 0) + ahead)
        self._max_behind = max(round(_MAX_BEHIND_S * fps), 1)
        self._episode = self._answered_before = 0
        self._next = 0
        self._task = ""

    def turn(self) -> bool:
        """Answer once; False when there is nothing to answer."""
        request = self._memory.request()
        if request.episode != self._episode:
            self._begin(request)
        tick = self._choose(request)
        if tick is None:
            return False
        started_s = time.monotonic()
        observation = self._reader.read(request.first_seq + tick)
        if observation is None:  # so far behind that its slot was taken again
            if self._policy.needs_every:
                self._policy.reset(self._task)
            self._next = request.observed
            return True
        actions = self._policy.infer(observation)[:MAX_ROWS]
        inference_us = round((time.monotonic() - started_s) * 1e6)
        now = self._memory.request()
        if now.episode == self._episode:
            self._memory.answer(self._episode, tick, actions, inference_us)
            self._cadence.answered(tick, len(actions), now.observed + self._ahead)
            self._next = tick + 1
        return True

    def _begin(self, request: Request) -> None:
        self._episode = request.episode
        self._next = self._answered_before = 0
        self._cadence.begin()
        if request.episode:
            # Read now, while the loop waits for the first answer: later, frames lie where the episode's beginning was.
            self._task = self._reader.task(request.first_seq)
            self._policy.reset(self._task)

    def _choose(self, request: Request) -> int | None:
        """The tick whose observation is to be answered now."""
        if not request.episode or request.observed < 0:
            return None
        if self._policy.by_chunks:
            return request.observed if self._cadence.wants(request) else None
        too_old = self._policy.needs_every and request.observed - self._next > self._max_behind
        if too_old or self._answered_before < request.not_before <= request.observed:
            # What it planned before a person took over is out of date.
            self._answered_before = request.not_before
            self._policy.reset(self._task)
            self._next = request.observed
        if request.observed < self._next:
            return None
        return self._next if self._policy.needs_every else request.observed


def main() -> int:
    """Entry of the process; its link's first message has `path`, `overrides`, `plugins`, `cpus`; an eventfd."""
    link, first, (wake_fd,) = child_link()
    if first["cpus"] is not None:
        os.sched_setaffinity(0, first["cpus"])  # before torch counts processors
    # torch's threads spin while they wait for each other: on a machine that has other work to do, one that is not
    # scheduled lets all others burn their processors, and an inference take seconds.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        # lerobot prints; the terminal belongs to the supervisor.
        with contextlib.redirect_stdout(sys.stderr):
            loaded = _load(link, first)
    except OnbeatError as error:
        link.send({"failed": str(error), "exit_code": error.exit_code})
        return error.exit_code
    if loaded is None:
        return 0
    policy, streams = loaded
    received = link.receive()
    if received is None:
        return 0
    message, (ring_fd, memory_fd) = received
    ring = LogRing.attach(ring_fd, Schema.from_wire(message["schema"]))
    memory = PolicyMemory(memory_fd, message["size"])
    answering = Answering(policy, ring, memory, streams["fps"], streams["ahead"])
    try:
        while not select.select([link.fileno()], [], [], 0)[0]:
            if not answering.turn():
                select.select([link.fileno(), wake_fd], [], [], _TURN_S)
                with contextlib.suppress(BlockingIOError):
                    os.eventfd_read(wake_fd)
    except Exception as error:  # noqa: BLE001 - whatever a policy raises is said, and the loop holds
        text = " ".join(f"{error}".split()) or type(error).__name__
        link.send({"failed": f"{type(error).__name__}: {text}", "exit_code": 1})
        traceback.print_exc(file=sys.stderr)
        return 1
    return 0


def _load(link: Link, first: dict[str, Any]) -> tuple[LoadedPolicy, dict[str, Any]] | None:
    try:
        from control import lerobot_policy
    except ImportError as error:
        raise UsageError(
            f"--policy.path needs lerobot: {error}; install onbeat with its extras, as in pip install 'onbeat[lerobot]'"
        ) from error
    config = lerobot_policy.configure(first["path"], first["overrides"], first["plugins"])
    link.send({"configured": config.type})
    received = link.receive()
    if received is None:
        return None
    streams, _ = received
    policy = lerobot_policy.load(config, streams)
    link.send({"loaded": policy.description, "inference_s": policy.inference_s})
    return policy, streams


if __name__ == "__main__":
    raise SystemExit(main())
