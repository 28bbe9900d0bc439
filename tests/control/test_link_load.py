"""What a link must carry is computed from the streams, and said before the first episode."""

from __future__ import annotations

import pytest

from control.link_load import LinkLoad
from transport.schema import HWC, Kind, Schema, Stream


def _schema(cameras: int) -> Schema:
    return Schema(
        (
            Stream("observation.state", "float32", (6,)),
            *(Stream(f"observation.images.c{i}", "float32", (480, 640, 3), Kind.VIDEO, HWC) for i in range(cameras)),
            Stream("action", "float32", (6,)),
        )
    )


def test_pictures_count_as_they_cross_the_network_not_as_they_come() -> None:
    load = LinkLoad(_schema(2), 30, 940e6)
    assert load.needed_bytes_per_s == pytest.approx(2 * 640 * 480 * 3 * 30, rel=0.01)
    assert load.text == "the recording needs 55 MB/s, the link to the writer gives 940 MB/s"
    assert not load.too_much
    assert load.warning == ""


@pytest.mark.parametrize(
    ("gives", "too_much", "warning"),
    [(40e6, True, "waits in the spill file"), (60e6, False, "leaves little to spare"), (90e6, False, "")],
)
def test_a_link_that_does_not_fit_is_told_from_one_that_is_tight(gives: float, too_much: bool, warning: str) -> None:
    load = LinkLoad(_schema(2), 30, gives)
    assert load.too_much is too_much
    assert load.warning.endswith(warning)
    assert bool(load.warning) is bool(warning)
    assert "--writer.allow_slow=true" in load.refusal
