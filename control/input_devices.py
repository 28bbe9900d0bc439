"""Keys of input devices beside the terminal, such as foot pedals and presenters, from the kernel's event files.

Each file delivers `struct input_event` (linux/input.h): a time, a type, a code and a value; for a key the value is 1
when it is pressed, 2 while it repeats and 0 when it is released. A device that is unplugged is opened again when it is
back.
"""

from __future__ import annotations

import errno
import fcntl
import grp
import os
import pwd
import stat
import struct
from collections.abc import Callable, Collection, Mapping, Sequence

from transport.errors import UsageError

EVENT = struct.Struct("@llHHi")
EV_KEY = 1
PRESSED = 1
_READ_EVENTS = 64
_RETRY_S = 1.0
_EVIOCGRAB = 0x40044590


class _Device:
    """One event file; closed while `fd` is -1."""

    def __init__(self, path: str, *, grab: bool) -> None:
        self.path, self._grab = path, grab
        self.fd = -1
        self.retry_s = 0.0
        self._rest = b""

    def open(self) -> None:
        """Raises OSError."""
        fd = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
        try:
            if self._grab:
                fcntl.ioctl(fd, _EVIOCGRAB, 1)
        except OSError:
            os.close(fd)
            raise
        self.fd, self._rest = fd, b""

    def close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def pressed(self) -> list[int]:
        """Codes of the keys pressed since the last call. Raises OSError when the device is gone."""
        codes: list[int] = []
        while True:
            try:
                data = os.read(self.fd, EVENT.size * _READ_EVENTS)
            except BlockingIOError:
                return codes
            if not data:
                raise OSError(errno.ENODEV, os.strerror(errno.ENODEV))
            data = self._rest + data
            whole = len(data) - len(data) % EVENT.size
            self._rest = data[whole:]
            codes += [
                code
                for _, _, kind, code, value in EVENT.iter_unpack(data[:whole])
                if kind == EV_KEY and value == PRESSED
            ]


class InputDevices:
    """All devices of a session.

    Args:
        paths: event files, for example of /dev/input/by-id, whose names stay the same.
        meanings: events by key code, as `KeyMap.devices`.
        grab: keep the keys from everybody else.
        warn: one line for the operator.

    Raises:
        UsageError: a file that cannot be opened, or is none of a device's.
    """

    def __init__(
        self,
        paths: Sequence[str],
        meanings: Mapping[int, tuple[str, ...]],
        *,
        grab: bool,
        warn: Callable[[str], None],
    ) -> None:
        self._meanings, self._warn = meanings, warn
        self._devices = [_Device(path, grab=grab) for path in paths]
        try:
            for device in self._devices:
                _open_first(device)
        except BaseException:
            self.close()
            raise

    def fds(self) -> list[int]:
        """To be waited on."""
        return [device.fd for device in self._devices if device.fd >= 0]

    def pressed(self, ready: Collection[int], now_s: float) -> list[str]:
        """Operator events since the last call; call it in every turn, because lost devices are looked for here."""
        events: list[str] = []
        for device in self._devices:
            if device.fd < 0:
                self._look_for(device, now_s)
            elif device.fd in ready:
                try:
                    codes = device.pressed()
                except OSError as error:
                    device.close()
                    device.retry_s = now_s + _RETRY_S
                    self._warn(f"{device.path} is gone ({error.strerror}); its keys work again when it is back")
                    continue
                events += [event for code in codes for event in self._meanings.get(code, ())]
        return events

    def close(self) -> None:
        """Let the devices go; may be called twice."""
        for device in self._devices:
            device.close()
        self._devices = []

    def _look_for(self, device: _Device, now_s: float) -> None:
        if now_s < device.retry_s:
            return
        device.retry_s = now_s + _RETRY_S
        try:
            device.open()
        except OSError:
            return
        self._warn(f"{device.path} is back")


def _open_first(device: _Device) -> None:
    path = device.path
    try:
        mode = os.stat(path).st_mode
        if not (stat.S_ISCHR(mode) or stat.S_ISFIFO(mode)):
            raise UsageError(f"--keys.devices: {path} is no device; expected one of /dev/input/by-id or /dev/input")
        device.open()
    except PermissionError as error:
        raise UsageError(f"--keys.devices: {_not_permitted(path)}") from error
    except OSError as error:
        hint = "; another program has grabbed it" if error.errno == errno.EBUSY else ""
        if error.errno in (errno.ENOTTY, errno.EINVAL):
            hint = "; it is no input device"
        if error.errno in (errno.ENOENT, errno.ENODEV):
            hint = "; plug it in, or choose one of /dev/input/by-id"
        raise UsageError(f"--keys.devices: {path} cannot be opened: {error.strerror}{hint}") from error


def _not_permitted(path: str) -> str:
    found = os.stat(path)
    user = _name(lambda: pwd.getpwuid(os.geteuid()).pw_name, "$USER")
    if found.st_mode & stat.S_IRGRP:
        group = _name(lambda: grp.getgrgid(found.st_gid).gr_name, str(found.st_gid))
        return (
            f"{path} may be read by the group {group} only; sudo usermod -aG {group} {user}, then log in again "
            '(or a udev rule with TAG+="uaccess")'
        )
    return (
        f'{path} may not be read by {user}; add a udev rule, KERNEL=="event*", SUBSYSTEM=="input", '
        'TAG+="uaccess", and plug the device in again'
    )


def _name(look_up: Callable[[], str], otherwise: str) -> str:
    try:
        return look_up()
    except KeyError:
        return otherwise
