"""What the operator hears of an upload, how long it is waited for, and what it does to the exit code."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from control.display import Display
from control.drain_watch import DrainWatch
from control.summary import Summary
from control.upload_news import UploadNews
from transport.errors import OnbeatError

_BUSY = {"connected": True, "head_seq": 9, "durable_seq": 9, "committing": 0}


@pytest.mark.parametrize(
    ("states", "heard", "line", "exit_code"),
    [
        ([("waiting", "")], "", "", 0),
        ([("waiting", "the Hub is away")], "! the Hub is away", "", 0),
        ([("uploading", "me/pick"), ("uploaded", "URL (3 files)")], "uploading me/pick", "hub       URL (3 files)", 0),
        (
            [("uploading", "me/pick"), ("failed", "no entry")],
            "uploading me/pick",
            "problem   not uploaded: no entry; the recording is complete, `onbeat push /ds` on the writer's machine "
            "uploads it",
            1,
        ),
        ([("skipped", "no episode was committed")], "not uploaded: no episode was committed", "", 0),
    ],
)
def test_every_state_is_told_and_counted(states: list[tuple[str, str]], heard: str, line: str, exit_code: int) -> None:
    said = io.StringIO()
    summary = Summary(requested=1, root="/ds")
    summary.episode({"episode": 0, "state": "committed", "frames": 3, "missing": 0})
    news = UploadNews(Display(1, Console(file=said, width=200)), summary)
    for state, detail in states:
        news.take(state, detail)
    assert heard in said.getvalue()
    assert line == "" or line in summary.lines()
    assert summary.exit_code == exit_code
    assert not news.abandon()


def test_only_an_upload_under_way_can_be_abandoned() -> None:
    news = UploadNews(Display(1, Console(file=io.StringIO())), Summary(requested=1))
    assert not news.abandon()
    news.take("uploading", "me/pick")
    assert news.abandon()
    assert news.abandoned


def test_an_upload_is_waited_for_as_long_as_the_writer_is_heard_of() -> None:
    watch = DrainWatch(0, give_up_s=10)
    for now_s in range(0, 100_000, 5):
        watch.look(now_s, _BUSY, 1, uploads=True)
    watch.look(100_004, {**_BUSY, "connected": False}, 1, uploads=True)
    with pytest.raises(OnbeatError, match="whether its upload ended is not known"):
        watch.look(100_016, {**_BUSY, "connected": False}, 1, uploads=True)
