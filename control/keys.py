"""Which key means what: `--keys.*` for the terminal's keys and for those of devices such as foot pedals.

The defaults for the terminal are lerobot-record's keys and a few more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from control.key_codes import DEVICE_KEYS, MAX_DEVICE_CODE, TERMINAL_KEYS
from transport.errors import UsageError

# What a key is called by `--keys.*`, and what it is to `Board.press`.
_EVENTS = {
    "end_episode": "next",
    "rerecord": "rerecord",
    "stop": "stop",
    "success": "success",
    "failure": "failure",
    "start": "start",
    "undo": "undo",
    "intervene": "takeover",
}
# Pairs that never mean something in the same phase, so that one pedal can start and end episodes.
_MAY_SHARE = {
    *(frozenset({"start", other}) for other in ("end_episode", "success", "failure")),
    *(frozenset({"undo", other}) for other in ("success", "failure")),
}
_SYMBOLS = {"right": "→", "left": "←", "up": "↑", "down": "↓"}
_WORDS = {"end_episode": "next", "rerecord": "re-record", "intervene": "take over"}


@dataclass
class KeysFlags:
    # End the episode; in the reset phase, end that. Terminal keys have small names (right, n, space, f5), keys of
    # devices the kernel's (KEY_PAGEDOWN, BTN_0, or a number).
    end_episode: list[str] = field(default_factory=lambda: ["right", "n", "KEY_PAGEDOWN", "KEY_B"])
    # Record this episode again; in the reset phase, discard the last one and end that.
    rerecord: list[str] = field(default_factory=lambda: ["left", "r", "KEY_PAGEUP", "KEY_A"])
    # End the session; the episode so far is kept.
    stop: list[str] = field(default_factory=lambda: ["esc", "q", "KEY_ESC"])
    # The episode succeeded.
    success: list[str] = field(default_factory=lambda: ["s", "KEY_C"])
    # The episode failed.
    failure: list[str] = field(default_factory=lambda: ["f"])
    # Begin the episode that waits at the start gate; in the reset phase, end that and begin.
    start: list[str] = field(default_factory=lambda: ["space", "enter", "KEY_PAGEDOWN", "KEY_B"])
    # Between two episodes: discard the last one.
    undo: list[str] = field(default_factory=lambda: ["u", "backspace", "KEY_DOT"])
    # Take over from a policy, and give back.
    intervene: list[str] = field(default_factory=lambda: ["i"])
    # Devices beside the terminal, for example '[/dev/input/by-id/usb-PCsensor_FootSwitch-event-kbd]'.
    devices: list[str] = field(default_factory=list)
    # Keep these devices' keys from everybody else, such as the desktop.
    grab: bool = False


@dataclass(frozen=True)
class KeyMap:
    """Events, as `Board.press` takes them, by what a terminal sends and by the codes of devices."""

    terminal: Mapping[bytes, tuple[str, ...]]
    devices: Mapping[int, tuple[str, ...]]
    help: str

    @classmethod
    def of(cls, keys: KeysFlags) -> KeyMap:
        """Read the names.

        Raises:
            UsageError: a name that is no key, or a key with two meanings.
        """
        terminal: dict[bytes, list[str]] = {}
        devices: dict[int, list[str]] = {}
        for action in _EVENTS:
            for name in getattr(keys, action):
                number = _device_code(name)
                if number is not None:
                    devices.setdefault(number, []).append(action)
                    continue
                for sequence in _sequences(name, action):
                    terminal.setdefault(sequence, []).append(action)
        for sequence, actions in terminal.items():
            _check_shared(keys, sequence, actions)
        for code, actions in devices.items():
            _check_shared(keys, code, actions)
        return cls(
            {key: tuple(_EVENTS[action] for action in actions) for key, actions in terminal.items()},
            {key: tuple(_EVENTS[action] for action in actions) for key, actions in devices.items()},
            "   ".join(line for action in _EVENTS if (line := _help(action, getattr(keys, action)))),
        )

    def of_terminal(self, key: bytes) -> tuple[str, ...]:
        """The events of a key as `KeyDecoder` gives it."""
        return self.terminal.get(key.lower() if len(key) == 1 else key, ())


def _device_code(name: str) -> int | None:
    if name in DEVICE_KEYS:
        return DEVICE_KEYS[name]
    # A single digit is the terminal's key.
    if name.isdecimal() and len(name) > 1 and int(name) <= MAX_DEVICE_CODE:
        return int(name)
    return None


def _sequences(name: str, action: str) -> Sequence[bytes]:
    if len(name) == 1 and "!" <= name <= "~":
        return (name.lower().encode(),)
    if name.lower() in TERMINAL_KEYS:
        return TERMINAL_KEYS[name.lower()]
    raise UsageError(
        f"--keys.{action}: {name!r} is no key; expected a letter, one of {', '.join(TERMINAL_KEYS)}, "
        "or for a device KEY_PAGEDOWN, BTN_0 and the like (or its number from 10)"
    )


def _check_shared(keys: KeysFlags, key: bytes | int, actions: Sequence[str]) -> None:
    for first in range(len(actions)):
        for second in range(first + 1, len(actions)):
            if frozenset({actions[first], actions[second]}) not in _MAY_SHARE:
                meant = [each for action in actions for each in getattr(keys, action) if _is(each, key)]
                raise UsageError(
                    f"{meant[0]} means both --keys.{actions[first]} and --keys.{actions[second]}; give one of them "
                    "another key"
                )


def _is(name: str, key: bytes | int) -> bool:
    code = _device_code(name)
    return code == key if code is not None else key in _sequences(name, "")


def _help(action: str, names: Sequence[str]) -> str:
    shown = [_SYMBOLS.get(name, name) for name in names if _device_code(name) is None]
    return f"{' '.join(shown)} {_WORDS.get(action, action)}" if shown else ""


assert {*_EVENTS, "devices", "grab"} == {each.name for each in fields(KeysFlags)}
