"""A task typed at the terminal."""

from __future__ import annotations

import pytest

from control.task_prompt import TaskPrompt
from control.terminal import KeyDecoder
from transport.records import MAX_TEXT_BYTES


def typed(prompt: TaskPrompt, data: bytes) -> list[tuple[int, str]]:
    """What comes of bytes that are all the prompt's."""
    keys = KeyDecoder().feed(data, 0.0)
    assert all(prompt.takes(key) for key in keys)
    return [found for key in keys if (found := prompt.feed(key)) is not None]


@pytest.mark.parametrize(
    ("data", "task"),
    [
        (b"pick\n", "pick"),
        (b"  pick it\r", "pick it"),
        ("größer\n".encode(), "größer"),
        ("grö\x7f\x7foß\x7f\n".encode(), "go"),
        (b"nonsense\x15pick\n", "pick"),
        (b"\x7f\x08quick\n", "quick"),
        (b"\n", "before"),
        (b"   \n", "before"),
        (b"x" * (MAX_TEXT_BYTES + 9) + b"\n", "x" * MAX_TEXT_BYTES),
    ],
)
def test_a_line(data: bytes, task: str) -> None:
    prompt = TaskPrompt("before")
    assert prompt.ask(3)
    assert typed(prompt, data) == [(3, task)]
    assert not prompt.is_open
    assert prompt.default == task


def test_an_empty_line_without_a_default_is_no_task() -> None:
    prompt = TaskPrompt()
    prompt.ask(0)
    assert typed(prompt, b"\n\n") == []
    assert prompt.is_open
    assert typed(prompt, b"push\n") == [(0, "push")]


def test_each_take_is_asked_for_once() -> None:
    prompt = TaskPrompt()
    assert [prompt.ask(0), prompt.ask(0)] == [True, False]
    typed(prompt, b"push\n")
    assert [prompt.ask(0), prompt.ask(1)] == [False, True]
    assert typed(prompt, b"\n") == [(1, "push")]


def test_arrows_and_escape_stay_keys_and_a_closed_line_takes_nothing() -> None:
    prompt = TaskPrompt()
    assert not prompt.takes(b"n")
    prompt.ask(0)
    assert prompt.takes(b"n")
    assert not any(prompt.takes(key) for key in (b"\x1b[C", b"\x1b[D", b"\x1b", b"\t"))
    prompt.close()
    assert not prompt.takes(b"n")
