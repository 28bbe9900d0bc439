"""The report's HTML page: one file with everything in it, for a person who has read nothing else."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from writer.report_pictures import Picture

_HEADLINES = {
    "good": "The loop kept its beat.",
    "fair": "The loop kept its beat, with something to look at.",
    "bad": "The loop lost its beat.",
}
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a; background: #fff; max-width: 1100px; margin: 2em auto;
  padding: 0 1em }
h1 { font-size: 1.4em } h2 { font-size: 1.1em; margin-top: 2em }
.verdict { border-left: 10px solid; padding: .6em 1em; background: #f6f6f6 }
.good { border-color: #009E73 } .fair { border-color: #E69F00 } .bad { border-color: #D55E00 }
.verdict b { font-size: 1.2em }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .25em .8em; text-align: right; border-bottom: 1px solid #ddd } th:first-child, td:first-child,
  td.text { text-align: left }
th { font-weight: 600 } img { max-width: 100%; height: auto } .scroll { overflow-x: auto }
.note { color: #555; font-size: .9em }
"""
_NAMES = {
    "lateness_us": "lateness: tick start after its slot",
    "period_error_us": "period error: interval against 1/fps",
    "action_delay_us": "action delay: action sent after the slot",
}


def page(name: str, found: Mapping[str, Any], verdict: tuple[str, Sequence[str]], pictures: Sequence[Picture]) -> str:
    """The whole page as text."""
    level, lines = verdict
    parts = [
        f"<!doctype html><html lang=en><meta charset=utf-8><title>Timing of {escape(name)}</title>",
        f"<meta name=viewport content='width=device-width'><style>{_STYLE}</style>",
        f"<h1>Timing of {escape(name)}</h1>",
        f"<div class='verdict {level}'><b>{_HEADLINES[level]}</b>",
        *(f"<br>{escape(line)}" for line in lines),
        "</div>",
        "<h2>In microseconds</h2>",
        _figures_table(found),
        "<h2>How the loop was protected</h2>",
        _protections(found["protections"]),
    ]
    for picture in pictures:
        data = b64encode(picture.png).decode("ascii")
        parts.append(
            f"<p><img alt='{escape(picture.title)}. {escape(picture.good)}' src='data:image/png;base64,{data}'></p>"
        )
    parts += ["<h2>Episodes</h2>", _episodes_table(found["episodes"])]
    return "\n".join(parts) + "\n"


def _figures_table(found: Mapping[str, Any]) -> str:
    rows = []
    for key, name in _NAMES.items():
        figures = found[key]
        if figures is not None:
            rows.append([name, *(_number(figures[column]) for column in ("p50", "p99", "p999", "max"))])
    note = (
        "<p class=note>A slot in which no tick started counts in lateness with the next tick's start minus its own "
        "time. 99.9 % is given from 10 000 ticks on: fewer say nothing about it.</p>"
    )
    return _table(["", "half below", "99 % below", "99.9 % below", "worst"], rows) + note


def _protections(parts: Mapping[str, float]) -> str:
    words = {0.0: "no", 1.0: "yes"}
    rows = [[escape(name), words.get(part, f"for {part:.0%} of the frames")] for name, part in parts.items()]
    return _table(["protection", "held"], rows)


def _episodes_table(episodes: Sequence[Mapping[str, Any]]) -> str:
    rows = []
    for episode in episodes:
        late, error = episode["lateness_us"] or {}, episode["period_error_us"] or {}
        rows.append(
            [
                str(episode["episode"]),
                str(episode["frames"]),
                _number(episode["achieved_fps"], 2),
                str(episode["missed_slots"]),
                *(_number(figures.get(column)) for figures in (late, error) for column in ("p99", "max")),
                str(episode["ring_fill_max"]),
                _number(episode["gap_before_s"], 3),
                escape(f"{episode['reason']} {episode['detail']}".strip()),
            ]
        )
    head = ["episode", "frames", "fps", "missed", "lateness p99 µs", "worst", "period error p99 µs", "worst",
            "most in ring", "gap before, s", "ended by"]  # fmt: skip
    return f"<div class=scroll>{_table(head, rows)}</div>"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><tr>{titles}</tr>{body}</table>"


def _number(value: float | None, digits: int = 1) -> str:
    return "too few ticks" if value is None and digits == 1 else "–" if value is None else f"{value:,.{digits}f}"
