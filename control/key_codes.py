"""Names of keys: what a terminal sends for them, and the codes that the kernel's input devices give them.

The codes are those of linux/input-event-codes.h. A key without a name there, or here, can be given by its number.
"""

from __future__ import annotations

_FROM_1 = (
    "ESC 1 2 3 4 5 6 7 8 9 0 MINUS EQUAL BACKSPACE TAB Q W E R T Y U I O P LEFTBRACE RIGHTBRACE ENTER LEFTCTRL "
    "A S D F G H J K L SEMICOLON APOSTROPHE GRAVE LEFTSHIFT BACKSLASH Z X C V B N M COMMA DOT SLASH RIGHTSHIFT "
    "KPASTERISK LEFTALT SPACE CAPSLOCK F1 F2 F3 F4 F5 F6 F7 F8 F9 F10 NUMLOCK SCROLLLOCK KP7 KP8 KP9 KPMINUS KP4 KP5 "
    "KP6 KPPLUS KP1 KP2 KP3 KP0 KPDOT"
)
_OTHERS = {
    "F11": 87, "F12": 88, "KPENTER": 96, "RIGHTCTRL": 97, "KPSLASH": 98, "RIGHTALT": 100, "HOME": 102, "UP": 103,
    "PAGEUP": 104, "LEFT": 105, "RIGHT": 106, "END": 107, "DOWN": 108, "PAGEDOWN": 109, "INSERT": 110, "DELETE": 111,
    "MUTE": 113, "VOLUMEDOWN": 114, "VOLUMEUP": 115, "POWER": 116, "PAUSE": 119, "LEFTMETA": 125, "RIGHTMETA": 126,
    "STOP": 128, "MENU": 139, "BACK": 158, "FORWARD": 159, "NEXTSONG": 163, "PLAYPAUSE": 164, "PREVIOUSSONG": 165,
    "STOPCD": 166, "PLAYCD": 200, "PAUSECD": 201, "PLAY": 207, "CAMERA": 212, "NEXT": 407, "PREVIOUS": 412,
}  # fmt: skip
_BUTTONS = {
    "LEFT": 0x110, "RIGHT": 0x111, "MIDDLE": 0x112, "SIDE": 0x113, "EXTRA": 0x114, "FORWARD": 0x115, "BACK": 0x116,
    "TRIGGER": 0x120, "THUMB": 0x121, "THUMB2": 0x122, "TOP": 0x123, "TOP2": 0x124, "PINKIE": 0x125, "BASE": 0x126,
    "SOUTH": 0x130, "EAST": 0x131, "NORTH": 0x133, "WEST": 0x134, "TL": 0x136, "TR": 0x137, "TL2": 0x138,
    "TR2": 0x139, "SELECT": 0x13A, "START": 0x13B, "MODE": 0x13C, "THUMBL": 0x13D, "THUMBR": 0x13E,
}  # fmt: skip

# As `--keys.*` takes them for devices.
DEVICE_KEYS: dict[str, int] = {
    **{f"KEY_{name}": code for code, name in enumerate(_FROM_1.split(), 1)},
    **{f"KEY_{name}": code for name, code in _OTHERS.items()},
    **{f"KEY_F{number}": 170 + number for number in range(13, 25)},
    **{f"BTN_{number}": 0x100 + number for number in range(10)},
    **{f"BTN_{name}": code for name, code in _BUTTONS.items()},
}
MAX_DEVICE_CODE = 0x2FF

# As `--keys.*` takes them for the terminal, with every sequence that terminals in use send; letters stand for
# themselves.
TERMINAL_KEYS: dict[str, tuple[bytes, ...]] = {
    "right": (b"\x1b[C", b"\x1bOC"),
    "left": (b"\x1b[D", b"\x1bOD"),
    "up": (b"\x1b[A", b"\x1bOA"),
    "down": (b"\x1b[B", b"\x1bOB"),
    "esc": (b"\x1b",),
    "space": (b" ",),
    "enter": (b"\r", b"\n"),
    "tab": (b"\t",),
    "backspace": (b"\x7f", b"\x08"),
    "home": (b"\x1b[H", b"\x1bOH", b"\x1b[1~"),
    "end": (b"\x1b[F", b"\x1bOF", b"\x1b[4~"),
    "insert": (b"\x1b[2~",),
    "delete": (b"\x1b[3~",),
    "pageup": (b"\x1b[5~",),
    "pagedown": (b"\x1b[6~",),
    **{f"f{n}": (b"\x1bO" + b"PQRS"[n - 1 : n], b"\x1b[%d~" % (10 + n)) for n in range(1, 5)},
    **{f"f{n}": (b"\x1b[%d~" % code,) for n, code in zip(range(5, 13), (15, 17, 18, 19, 20, 21, 23, 24), strict=True)},
}
