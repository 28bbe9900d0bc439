"""The operator's hands: keys of the terminal and of other devices, and the line in which a task is typed."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Collection

from control.board import Phase
from control.config import RecordConfig
from control.input_devices import InputDevices
from control.keys import KeyMap
from control.task_prompt import TaskPrompt
from control.terminal import KeyDecoder, read_keys, terminal_keys
from transport.errors import UsageError

# Where the task of the next take may be typed; how far that is from the take on the board.
_ASKS = {Phase.RESET_PHASE: 1, Phase.WAITING_FOR_WRITER: 0, Phase.START_GATE: 0}
_CLOSES = (Phase.RECORDING, Phase.REVIEW, Phase.ENDED)
_BETWEEN = (Phase.RESET_PHASE, Phase.WAITING_FOR_WRITER, Phase.START_GATE, Phase.REVIEW)


class Operator:
    """Holds terminal and devices until `close`.

    Args:
        keys: what each key means.
        devices: made by the caller, closed here; None for the terminal alone.
        prompt: None where no task is asked for.
        note: one line for the operator.
    """

    def __init__(
        self, keys: KeyMap, devices: InputDevices | None, prompt: TaskPrompt | None, note: Callable[[str], None]
    ) -> None:
        self.help = keys.help
        self._keys, self._devices, self._prompt, self._note = keys, devices, prompt, note
        self._exits = contextlib.ExitStack()
        self._key_fd = self._exits.enter_context(terminal_keys())
        self._decoder = KeyDecoder()
        self._phase = Phase.STARTING

    def fds(self) -> list[int]:
        """To be waited on."""
        terminal = [] if self._key_fd is None else [self._key_fd]
        return terminal + (self._devices.fds() if self._devices is not None else [])

    def turn(self, ready: Collection[int]) -> tuple[list[str], list[tuple[int, str]]]:
        """What was pressed, and which takes' tasks were typed, since the last call; `ready` can be read.

        Call it in every turn, because a lone Esc shows only by silence.
        """
        now_s = time.monotonic()
        events: list[str] = []
        tasks: list[tuple[int, str]] = []
        if self._key_fd is not None:
            found = self._key_fd in ready
            keys = read_keys(self._key_fd, self._decoder, now_s) if found else self._decoder.feed(b"", now_s)
            for key in keys:
                if self._prompt is None or not self._prompt.takes(key):
                    events += self._keys.of_terminal(key)
                elif (task := self._prompt.feed(key)) is not None:
                    tasks.append(task)
                    self._note(f"take {task[0]}: {task[1]}")
        if self._devices is not None:
            events += self._devices.pressed(ready, now_s)
        if "undo" in events and self._phase not in _BETWEEN:
            self._note("undo is for the time between two episodes; re-record discards this one")
        return events, tasks

    def look(self, phase: Phase, take: int) -> None:
        """Where the loop is: opens and closes the line for the next task."""
        self._phase = phase
        if self._prompt is None:
            return
        if phase in _CLOSES:
            self._prompt.close()
        elif phase in _ASKS and self._prompt.ask(take + _ASKS[phase]):
            default = f" (Enter: {self._prompt.default})" if self._prompt.default else ""
            self._note(f"type the task of take {take + _ASKS[phase]}{default}")

    @property
    def typing(self) -> str | None:
        """What has been typed of a task; None while none is asked for."""
        return self._prompt.text if self._prompt is not None and self._prompt.is_open else None

    def close(self) -> None:
        """Give terminal and devices back; may be called twice."""
        self._exits.close()
        self._key_fd = None
        if self._devices is not None:
            self._devices.close()


def make_operator(config: RecordConfig, note: Callable[[str], None], warn: Callable[[str], None]) -> Operator:
    """The operator of `onbeat record`.

    Raises:
        UsageError: keys or devices that cannot be, or nobody there to do what is waited for.
    """
    keys, session = KeyMap.of(config.keys), config.session
    has_terminal = sys.stdin.isatty()
    if session.ask_task and not has_terminal:
        raise UsageError("--session.ask_task=true found without a terminal; give --dataset.tasks_file instead")
    if session.ask_task and config.dataset.tasks_file is not None:
        raise UsageError("--session.ask_task=true and --dataset.tasks_file found together; leave one of them away")
    waits = "--session.start=key" if session.start == "key" else "--session.review_last=true"
    if (session.start == "key" or session.review_last) and not has_terminal and not config.keys.devices:
        raise UsageError(f"{waits} found without a terminal and without --keys.devices: nobody could press a key")
    devices = None
    if config.keys.devices:
        devices = InputDevices(config.keys.devices, keys.devices, grab=config.keys.grab, warn=warn)
    prompt = TaskPrompt(config.dataset.single_task) if session.ask_task else None
    return Operator(keys, devices, prompt, note)
