"""A teleoperator with threads runs in a process of its own, and the loop reads its newest value."""

from __future__ import annotations

import os
import signal
import threading
import time
from enum import Enum
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from control.errors import SourceError
from control.teleop_memory import MAX_BYTES, TeleopMemory
from control.teleop_proxy import TeleopProxy, in_process
from control.teleop_values import decode, encode
from transport.errors import CodecError, UsageError

MAX_BYTES_OF_TEXT = MAX_BYTES - 3  # msgpack's header of a long text
ROBOT = ["--robot.type=so101_follower", "--robot.port=/dev/null"]


@pytest.mark.parametrize(
    ("kind", "proxy", "robot", "own"),
    [
        ("keyboard", "auto", "so101_follower", True),
        ("phone", "auto", "so101_follower", True),
        ("so101_leader", "auto", "so101_follower", False),
        ("so101_leader", "True", "so101_follower", True),
        ("keyboard", "false", "so101_follower", False),
        ("homunculus_arm", "auto", "unitree_g1", False),
        ("unitree_g1", "false", "unitree_g1", False),
    ],
)
def test_who_gets_a_process(kind: str, proxy: str, robot: str, own: bool) -> None:
    assert in_process(kind, proxy, robot) is own


def test_a_teleoperator_that_is_told_what_the_robot_observes_stays_with_it() -> None:
    with pytest.raises(UsageError, match=r"--teleop.proxy=true found with --robot.type=unitree_g1, .*; leave the flag"):
        in_process("unitree_g1", "true", "unitree_g1")


def test_another_word_for_it() -> None:
    with pytest.raises(UsageError, match=r"--teleop.proxy=maybe found, expected auto, true or false"):
        in_process("keyboard", "maybe", "so101_follower")


@pytest.mark.parametrize(
    "value",
    [
        {"joint.pos": 1.5, "enabled": True, "name": "x", "nothing": None},
        {"pose": np.arange(6, dtype=np.float32).reshape(2, 3), "one": np.float64(3), "list": [1, {"a": 2}]},
        {1: {2: 3}},
        {},
    ],
)
def test_values_survive(value: Any) -> None:
    memory = TeleopMemory(fd := TeleopMemory.create())
    memory.write(encode(value), 7)
    found = TeleopMemory(fd).read()
    os.close(fd)
    assert found is not None
    assert found[1] == 7
    np.testing.assert_equal(decode(found[0]), value)


def test_rotations_survive() -> None:
    from lerobot.utils.rotation import Rotation

    turned = decode(encode({"rot": Rotation.from_rotvec(np.array([0.1, 0.2, 0.3]))}))["rot"]
    np.testing.assert_allclose(turned.as_rotvec(), [0.1, 0.2, 0.3])


def test_what_cannot_be_passed_on() -> None:
    with pytest.raises(SourceError, match=r"says a object, which cannot be passed on; .* --teleop.proxy=false"):
        encode({"x": object()})
    memory = TeleopMemory(fd := TeleopMemory.create())
    os.close(fd)
    assert memory.read() is None
    with pytest.raises(CodecError, match=rf"expected at most {MAX_BYTES}"):
        memory.write("x" * (MAX_BYTES + 1), 0)
    with pytest.raises(CodecError, match=r"neither text nor number"):
        memory.write(object(), 0)
    with pytest.raises(CodecError, match=r"one that `encode` made"):
        decode({"a": 1})


def test_a_keyboard_without_a_display_is_refused_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from control.lerobot_teleop import connected

    monkeypatch.delenv("DISPLAY", raising=False)
    with pytest.raises(UsageError, match=r"keyboard_ee cannot be used here: it reads keys from an X11 session") as told:
        connected([*ROBOT, "--teleop.type=keyboard_ee", f"--teleop.calibration_dir={tmp_path}"])
    assert "\n" not in str(told.value)


def test_what_is_taken_is_noted_beside_the_value() -> None:
    memory = TeleopMemory(fd := TeleopMemory.create())
    other = TeleopMemory(fd)
    os.close(fd)
    memory.write("x" * MAX_BYTES_OF_TEXT, 1)
    assert memory.taken_ns == 0
    other.taken_ns = 2**62
    assert memory.taken_ns == 2**62
    assert other.read() == ("x" * MAX_BYTES_OF_TEXT, 1)


class Key(Enum):
    up, down, left, right, shift, shift_r, ctrl_r, ctrl_l = range(8)


@pytest.fixture
def lerobots_keys(monkeypatch: pytest.MonkeyPatch) -> Any:
    """lerobot's module of keyboards, with a listener of which only its life matters."""
    from lerobot.teleoperators.keyboard import teleop_keyboard

    monkeypatch.setattr(teleop_keyboard, "keyboard", SimpleNamespace(Key=Key))
    for kind in (teleop_keyboard.KeyboardEndEffectorTeleop, teleop_keyboard.KeyboardRoverTeleop):
        monkeypatch.setattr(kind, "is_connected", True)
        monkeypatch.setattr(kind, "_drain_pressed_keys", lambda self: None)
    return teleop_keyboard


def test_a_key_that_is_held_stays_held_unless_events_are_used(lerobots_keys: Any) -> None:
    from control.lerobot_teleop import read

    device = object.__new__(lerobots_keys.KeyboardEndEffectorTeleop)
    vars(device).update(
        config=SimpleNamespace(use_gripper=False), current_pressed={Key.right: True}, misc_keys_queue=Queue()
    )
    reads = [read(device, events=False) for _ in range(3)]
    assert [dict(decode(value["action"]))["delta_x"] for value in reads] == [-1, -1, -1]
    assert "events" not in reads[0]
    assert read(device, events=True)["events"]["is_intervention"] is True


@pytest.mark.timeout(180)
@pytest.mark.parametrize("events", [False, True])
def test_a_teleoperator_with_a_thread(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, events: bool) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent))
    flags = ["--teleop.discover_packages_path=threaded_teleop", "--teleop.type=counting", "--teleop.start=100"]
    flags.append(f"--teleop.calibration_dir={tmp_path}")
    ahead_ns = 0
    proxy = TeleopProxy([*ROBOT, *flags], 50, None, decode, lambda: time.monotonic_ns() + ahead_ns, events=events)
    threads = threading.active_count()
    proxy.connect()
    try:
        assert threading.active_count() == threads
        assert "Counting" in str(proxy)
        first = proxy.get_action()
        assert first["joint.pos"] >= 100
        np.testing.assert_array_equal(first["pose"], np.eye(2))
        assert first["pressed"] == {"w": None}
        assert proxy.has_events is events
        assert proxy.get_teleop_events() == ({"is_intervention": True} if events else {})
        before_ns, limit_s = proxy.read_ns, time.monotonic() + 30
        while (newer := proxy.get_action())["reads"] < first["reads"] + 20:
            assert time.monotonic() < limit_s
        assert newer["joint.pos"] > first["joint.pos"]
        # Half a tick at least is between two reads, whenever the loop looks: four reads a tick would be twice as fast.
        assert proxy.read_ns - before_ns > 9 * 20_000_000
        assert (newer["events_asked"] > 0) is events

        assert proxy._process is not None
        os.kill(proxy._process.pid, signal.SIGKILL)
        proxy._process.wait(30)
        assert not proxy.is_connected
        ahead_ns = 600_000_000
        with pytest.raises(TimeoutError, match=r"said nothing for \d+.\d s, its process has ended"):
            proxy.get_action()
    finally:
        proxy.disconnect()
