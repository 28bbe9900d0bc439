"""The policy's process as control sees it: started, loaded, watched and ended."""

from __future__ import annotations

import math
import os
import select
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any

from control.config import PolicyFlags
from control.errors import SourceError
from control.policy_memory import PolicyMemory, create_memory
from transport.errors import OnbeatError, UsageError
from transport.link import spawn
from transport.ring import LogRing
from transport.schema import Schema

_TURN_S = 0.2
_END_LIMIT_S = 5.0


class PolicyClient:
    """One process for the whole session; killed by the kernel when the calling thread ends, so make it in the main one.

    Args:
        flags: which policy; relative paths are of the current folder.
        cpus: processors that it may run on; None for any.
        log: takes lines for the operator; must not wait.
    """

    def __init__(self, flags: PolicyFlags, cpus: Sequence[int] | None, log: Callable[[str], None]) -> None:
        assert flags.path is not None
        if flags.on_late != "hold" or not 0 < flags.max_held_s < math.inf:
            raise UsageError(
                f"--policy.on_late={flags.on_late} and --policy.max_held_s={flags.max_held_s:g} found, expected hold "
                "and a positive number of seconds"
            )
        # A negative one would lead the robot away from the teleoperator.
        if not 0 <= flags.handover_s < math.inf:
            raise UsageError(f"--policy.handover_s={flags.handover_s:g} found, expected a number of seconds, or 0")
        self.flags = flags
        self._log = log
        self._wake_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.memory: PolicyMemory | None = None
        self._said = ""
        self.inference_s = 0.0
        log(f"loading policy {flags.path}")
        # It holds nothing that must be released: the kernel ends it with us, whatever it is doing.
        self._process, self._link = spawn(
            "control.policy_process",
            {
                "path": flags.path,
                "overrides": flags.overrides,
                "plugins": flags.plugins,
                "cpus": None if cpus is None else list(cpus),
            },
            [self._wake_fd],
            die_with_parent=signal.SIGKILL,
        )

    def await_configured(self) -> None:
        """Wait until it has found the policy; it goes on importing meanwhile.

        Raises:
            UsageError: there is no such policy, or it has no such option.
            OnbeatError: the process died.
        """
        self._receive("configured")

    def load(self, schema: Schema, *, fps: int, robot_type: str | None, rename_map: dict[str, str], ahead: int) -> None:
        """Load the weights and warm the policy up for a recording; nothing is left for its first inference.

        Args:
            schema: its streams, as they will be in the log.
            ahead: 0 where the observation of a tick is there before the tick, 1 where it is read inside it.

        Raises:
            UsageError: the policy cannot be loaded, or does not fit the recording.
            OnbeatError: the process died.
        """
        self._link.send(
            {
                "schema": schema.to_wire(),
                "fps": fps,
                "robot_type": robot_type,
                "rename_map": rename_map,
                "ahead": ahead,
            }
        )
        loaded = self._receive("loaded")
        self.inference_s = loaded["inference_s"]
        self._log(loaded["loaded"])

    def join(self, ring: LogRing) -> None:
        """From here on it answers what is in this ring."""
        size = next(stream.nbytes for stream in ring.schema.streams if stream.key == "action")
        size //= next(ring.schema.row_dtype[s.key].base.itemsize for s in ring.schema.streams if s.key == "action")
        fd = create_memory(size)
        self.memory = PolicyMemory(fd, size)
        self._link.send({"schema": ring.schema.to_wire(), "size": size}, [ring.fd, fd])
        os.close(fd)

    def wake(self) -> None:
        """There is something new in the shared memory."""
        os.eventfd_write(self._wake_fd, 1)

    def death(self) -> str:
        """How the process ended, in words; empty while it runs. Costs a system call."""
        code = self._process.poll()
        if code is None:
            return ""
        if not self._said:
            self._said = f"the policy's process ended with code {code}"
            if select.select([self._link.fileno()], [], [], 0)[0] and (received := self._link.receive()) is not None:
                self._said += f": {received[0].get('failed', '')}"
        return self._said

    def close(self) -> None:
        """End the process; may be called twice."""
        if self._process.poll() is None:
            self._process.kill()
        try:
            self._process.wait(_END_LIMIT_S)
        except subprocess.TimeoutExpired:
            # Deep in a driver (a GPU): the kernel ends it when it comes back.
            self._log("the policy's process does not end")
        if self._wake_fd >= 0:
            self._link.close()
            os.close(self._wake_fd)
            self._wake_fd = -1

    def _receive(self, expected: str) -> dict[str, Any]:
        while True:
            if select.select([self._link.fileno()], [], [], _TURN_S)[0]:
                received = self._link.receive()
                if received is not None and expected in received[0]:
                    return received[0]
                if received is not None and "failed" in received[0]:
                    failure = UsageError if received[0]["exit_code"] == 2 else OnbeatError
                    raise failure(received[0]["failed"])
            if self._process.poll() is not None:
                raise OnbeatError(
                    f"the policy's process ended with code {self._process.returncode} while it was loading; see above"
                )


def await_first(client: PolicyClient, episode: int, check: Callable[[], None]) -> None:
    """Wait until the policy has answered the first observation of an episode: nothing moves before.

    Args:
        check: raises when the session is to end.

    Raises:
        SourceError: it has died, or takes too long.
    """
    memory = client.memory
    assert memory is not None
    limit_s = client.flags.max_held_s + 10 * client.inference_s
    deadline_s = time.monotonic() + limit_s
    while (answer := memory.read_newest()) is None or answer.episode != episode:
        check()
        if death := client.death():
            raise SourceError(f"{death}; the session ends")
        if time.monotonic() > deadline_s:
            raise SourceError(
                f"the policy did not answer the first observation within {limit_s:.1f} s; see --policy.max_held_s"
            )
        time.sleep(0.001)
