"""What a HELLO may ask for: every specification comes back, and anything else is refused in one line."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_strategies import SPECS, VALUES

from transport.dataset_spec import DatasetSpec, EncoderSpec, UploadSpec
from transport.errors import UsageError

GOOD: dict[str, Any] = DatasetSpec("me/data", 30).to_wire()
ENCODER: dict[str, Any] = GOOD["rgb_encoder"]


@given(SPECS)
def test_every_specification_comes_back_through_msgpack(spec: DatasetSpec) -> None:
    packed = msgpack.packb(spec.to_wire())
    assert DatasetSpec.from_wire(msgpack.unpackb(packed)) == spec
    assert DatasetSpec.from_wire(msgpack.unpackb(packed, use_list=False)) == spec


def test_without_an_upload_it_is_as_before_there_were_uploads() -> None:
    assert "upload" not in GOOD
    assert DatasetSpec.from_wire(GOOD).upload is None
    asked = DatasetSpec("me/data", 30, upload=UploadSpec(True, ("a",))).to_wire()
    assert asked == {**GOOD, "upload": {"private": True, "tags": ("a",)}}


def read(value: object) -> DatasetSpec | None:
    try:
        return DatasetSpec.from_wire(value)
    except UsageError as error:
        found = str(error)
    assert "\n" not in found
    assert len(found) < 600
    return None


@given(VALUES)
def test_any_value_is_a_specification_or_a_usage_error(value: object) -> None:
    read(value)


@given(st.sampled_from(sorted(GOOD)), VALUES)
def test_any_value_in_any_field(name: str, value: object) -> None:
    read({**GOOD, name: value})


@given(st.sampled_from(sorted(ENCODER)), VALUES)
def test_any_value_in_any_field_of_the_encoder(name: str, value: object) -> None:
    spec = read({**GOOD, "rgb_encoder": {**ENCODER, name: value}})
    # What is accepted is remembered as JSON and given to the codec as text.
    assert spec is None or isinstance(spec.rgb_encoder, EncoderSpec)


@pytest.mark.parametrize(
    "repo_id",
    [
        "",
        "data",
        "me/",
        "/data",
        "me/data/more",
        "../data",
        "me/..",
        "me/../data",
        "me/a..b",
        "me/.hidden",
        "./data",
        "-rf/data",
        "me/data-",
        "me/data.",
        "me/a--b",
        "me/data\n",
        "me/da ta",
        "me/da\x00ta",
        "mé/data",
        "ｍe/data",
        "me\\data/x",
        "m" * 97 + "/data",
        "me/" + "d" * 97,
    ],
    ids=ascii,
)
def test_a_dataset_name_is_no_path(repo_id: str) -> None:
    assert read({**GOOD, "repo_id": repo_id}) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fps", True),
        ("fps", 30.0),
        ("fps", "30"),
        ("fps", 0),
        ("fps", -30),
        ("fps", 1001),
        ("fps", 1 << 62),
        ("root", 7),
        ("root", ""),
        ("root", "/data\x00/etc"),
        ("root", "/data\n/x"),
        ("root", "/d" * 2049),
        ("root", "/data\udcff"),
        ("resume", 1),
        ("resume", None),
        ("robot_type", "r" * 5000),
        ("encoder_threads", -1),
        ("encoder_threads", 100_000),
        ("encoder_threads", True),
        ("allow_slow_encoder", "yes"),
        ("rgb_encoder", None),
        ("rgb_encoder", {}),
        ("upload", True),
        ("upload", {}),
        ("upload", {"private": None, "tags": [], "token": "hf_x"}),
        ("upload", {"private": "yes", "tags": []}),
        ("upload", {"private": None, "tags": "so101"}),
        ("upload", {"private": None, "tags": [1]}),
        ("upload", {"private": None, "tags": ["a\nb"]}),
        ("upload", {"private": None, "tags": ["t" * 257]}),
        ("upload", {"private": None, "tags": ["t"] * 65}),
    ],
    ids=lambda value: ascii(value)[:60],
)
def test_fields_are_of_their_type_and_range(name: str, value: object) -> None:
    assert read({**GOOD, name: value}) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("vcodec", None),
        ("vcodec", "v" * 5000),
        ("g", True),
        ("g", 2.0),
        ("crf", "30"),
        ("crf", float("nan")),
        ("crf", float("inf")),
        ("preset", True),
        ("fast_decode", None),
        ("extra_options", []),
        ("extra_options", {1: 2}),
        ("extra_options", {b"a": 2}),
        ("extra_options", {"a": None}),
        ("extra_options", {"a": True}),
        ("extra_options", {"a": [1]}),
        ("extra_options", {"a": float("nan")}),
        ("extra_options", {"a": "v" * 5000}),
        ("extra_options", {"n" * 5000: 1}),
        ("extra_options", {"a\x00b": 1}),
        ("extra_options", {str(i): 1 for i in range(65)}),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_fields_of_the_encoder_are_of_their_type_and_range(name: str, value: object) -> None:
    assert read({**GOOD, "rgb_encoder": {**ENCODER, name: value}}) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x264-params", "dump-yuv=/etc/cron.d/x"),
        ("x264-params", "keyint=2:dump-yuv=here"),
        ("x264opts", "stats=x.log"),
        ("x265-params", "csv=out.csv"),
        ("x265-params", "analysis-save=x"),
        ("svtav1-params", "stats=x"),
        ("svtav1-params", "recon=x"),
        ("passlogfile", "x"),
        ("stats", "x"),
        ("anything", "../x"),
        ("anything", "C:\\x"),
    ],
)
def test_no_encoder_option_names_a_file(name: str, value: str) -> None:
    """Encoders write and read files where options tell them to; a peer must not choose where."""
    assert read({**GOOD, "rgb_encoder": {**ENCODER, "extra_options": {name: value}}}) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("tune", "film"), ("x264-params", "keyint=2:scenecut=0:ref=1"), ("svtav1-params", "film-grain=8"), ("bf", 0)],
)
def test_ordinary_options_are_taken(name: str, value: object) -> None:
    spec = read({**GOOD, "rgb_encoder": {**ENCODER, "extra_options": {name: value}}})
    assert spec is not None
    assert spec.rgb_encoder.extra_options == {name: value}
