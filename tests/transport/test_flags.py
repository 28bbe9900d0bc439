"""Command lines: what is given arrives typed, and what is wrong is one line that names the flag."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from transport.dataset_spec import EncoderSpec
from transport.errors import OnbeatError, SchemaError, UsageError
from transport.flags import parse, report


@dataclass
class Section:
    # Frames per second.
    fps: int | None = None
    # How pictures are encoded.
    encoder: EncoderSpec = field(default_factory=EncoderSpec)


@dataclass
class Config:
    # The section.
    section: Section = field(default_factory=Section)
    # Anything.
    kwargs: dict[str, Any] = field(default_factory=dict)
    # Whether.
    resume: bool = False


def read(*argv: str) -> Config:
    return parse(Config, argv, prog="onbeat test", about="Tests.")


def test_values_arrive_in_their_types() -> None:
    found = read("--section.fps=50", "--kwargs={cameras: 4, name: x}", "--resume=true", "--section.encoder.crf=23.5")
    assert found == Config(Section(50, EncoderSpec(crf=23.5)), {"cameras": 4, "name": "x"}, resume=True)
    assert read() == Config()


def test_a_file_gives_defaults_that_flags_override(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("section: {fps: 20}\nresume: true\n")
    assert read(f"--config_path={path}", "--section.fps=25") == Config(Section(25), resume=True)


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("--nope=1", "--nope"),
        ("stray", "stray"),
        ("--section.fps=fast", "--section.fps"),
        ("--section.fps=1.5", "--section.fps"),
        ("--section.fps", "--section.fps"),
        ("--resume=maybe", "--resume"),
        ("--section=5", "--section"),
        ("--kwargs={a: [1", "YAML"),
        ("--sect", "--sect"),
        ("--config_path=", "--config_path|No such file"),
        ("--config_path=/nowhere.yaml", "/nowhere.yaml"),
        ("--config_path=/", "/"),
    ],
)
def test_what_is_wrong_is_one_line(argument: str, named: str, capsys: pytest.CaptureFixture[str]) -> None:
    def verb() -> int:
        read(argument)
        return 0

    assert report(verb) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert printed.err.startswith("onbeat: ")
    assert "see onbeat test --help" in printed.err
    assert any(name in printed.err for name in named.split("|"))


@pytest.mark.parametrize("text", ["- 1\n", "a: [1\n b: }", "nope: 1\n", "section: {fps: fast}\n", "\x00", "5", "text"])
def test_a_file_that_says_something_else_is_one_line(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(text)

    def verb() -> int:
        read(f"--config_path={path}")
        return 0

    assert report(verb) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1


def test_help_comes_from_the_comments(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        read("--help")
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert "Frames per second." in printed
    assert "--section.encoder.vcodec" in printed


@pytest.mark.parametrize(
    ("error", "code"), [(OnbeatError("a\n  b"), 1), (UsageError("a b"), 2), (SchemaError("a b"), 2)]
)
def test_errors_are_a_line_and_a_code(error: OnbeatError, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    def verb() -> int:
        raise error

    assert report(verb) == code
    assert capsys.readouterr().err == "onbeat: a b\n"
    with pytest.raises(type(error)):
        report(verb, debug=True)


def test_other_errors_are_not_hidden() -> None:
    def verb() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        report(verb)
