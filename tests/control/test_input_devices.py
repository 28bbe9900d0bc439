"""Foot pedals and presenters. A named pipe stands in for the event file: it carries the kernel's own structures."""

from __future__ import annotations

import grp
import os
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control.input_devices import EVENT, InputDevices
from control.key_codes import DEVICE_KEYS
from control.keys import KeyMap, KeysFlags
from transport.errors import UsageError

MEANINGS = KeyMap.of(KeysFlags()).devices
DOWN, UP, REPEAT = 1, 0, 2


def event(kind: int, code: int, value: int) -> bytes:
    """`struct input_event` as the kernel of a 64-bit machine lays it out: two words of time, then the event."""
    return struct.pack("=qqHHi", 1_700_000_000, 123_456, kind, code, value)


def stroke(name: str, *values: int) -> bytes:
    """What a pedal sends for a key: scan code, key, and the end of the report, for each value."""
    return b"".join(
        event(4, 4, 458_757) + event(1, DEVICE_KEYS[name], value) + event(0, 0, 0) for value in values or (DOWN, UP)
    )


class Pedal:
    """A device file, held open so that a reader does not see its end."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.plug_in()

    def plug_in(self) -> None:
        os.mkfifo(self.path)
        self._fd = os.open(self.path, os.O_RDWR)

    def send(self, data: bytes) -> None:
        os.write(self._fd, data)

    def unplug(self) -> None:
        self.path.unlink()
        os.close(self._fd)


def devices(*paths: Path, warnings: list[str] | None = None) -> InputDevices:
    said = [] if warnings is None else warnings
    return InputDevices([str(path) for path in paths], MEANINGS, grab=False, warn=said.append)


def read(found: InputDevices, now_s: float = 0.0) -> list[str]:
    return found.pressed(found.fds(), now_s)


def test_presses_count_releases_and_repeats_do_not(tmp_path: Path) -> None:
    assert EVENT.size == 24
    pedal = Pedal(tmp_path / "event0")
    found = devices(pedal.path)
    assert read(found) == []
    pedal.send(stroke("KEY_PAGEUP", DOWN, REPEAT, REPEAT, UP) + stroke("KEY_Z") + stroke("KEY_C") + stroke("KEY_B"))
    assert read(found) == ["rerecord", "success", "next", "start"]
    assert read(found) == []
    found.close()
    pedal.unplug()


@settings(deadline=None)
@given(cuts=st.lists(st.integers(1, 200), max_size=8))
def test_events_cut_anywhere_are_put_together(tmp_path_factory: pytest.TempPathFactory, cuts: list[int]) -> None:
    pedal = Pedal(tmp_path_factory.mktemp("cut") / "event0")
    found = devices(pedal.path)
    data, events = stroke("KEY_ESC") + stroke("KEY_C"), []
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(data)], strict=True):
        pedal.send(data[start:end])
        events += read(found)
    assert events == ["stop", "success"]
    found.close()
    pedal.unplug()


def test_a_device_that_vanishes_is_reported_once_and_reopened(tmp_path: Path) -> None:
    said: list[str] = []
    pedal, other = Pedal(tmp_path / "pedal"), Pedal(tmp_path / "presenter")
    found = devices(pedal.path, other.path, warnings=said)
    pedal.send(stroke("KEY_C"))
    pedal.unplug()
    other.send(stroke("KEY_ESC"))
    # What it sent before it went is gone with it, as with a real one; the other one works on.
    assert read(found, 10.0) == ["stop"]
    assert said == [f"{pedal.path} is gone (No such device); its keys work again when it is back"]
    for now_s in (10.1, 11.5, 13.0):
        assert read(found, now_s) == []
    pedal.plug_in()
    assert read(found, 13.5) == [], "it is looked for once a second"
    assert read(found, 14.5) == []
    assert said[1:] == [f"{pedal.path} is back"]
    pedal.send(stroke("KEY_C"))
    assert read(found, 14.6) == ["success"]
    found.close()
    for each in (pedal, other):
        each.unplug()


def test_no_device_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for path, says in [
        (file, "is no device; expected one of /dev/input/by-id"),
        (tmp_path, "is no device"),
        (tmp_path / "none", "cannot be opened: No such file or directory; plug it in, or choose one of"),
    ]:
        with pytest.raises(UsageError, match=re.escape(f"--keys.devices: {path} {says}")):
            devices(path)
    with pytest.raises(UsageError, match=r"/dev/null cannot be opened: .*; it is no input device"):
        InputDevices(["/dev/null"], MEANINGS, grab=True, warn=lambda text: None)


@pytest.mark.parametrize(
    ("mode", "says"),
    [
        (0o660, "may be read by the group {group} only; sudo usermod -aG {group} "),
        (0o600, 'add a udev rule, KERNEL=="event*", SUBSYSTEM=="input", TAG+="uaccess"'),
    ],
)
def test_without_permission_one_line_says_what_to_do(
    tmp_path: Path, mode: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pedal = Pedal(tmp_path / "event0")
    pedal.path.chmod(mode)

    def refused(*arguments: object) -> int:
        raise PermissionError(13, "Permission denied")

    # Root, as which tests may run, is never refused.
    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refused)
        with pytest.raises(UsageError) as caught:
            devices(pedal.path)
    assert says.format(group=grp.getgrgid(pedal.path.stat().st_gid).gr_name) in str(caught.value)
    assert "\n" not in str(caught.value)
    pedal.unplug()
