from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from transport.dataset_spec import EncoderSpec
from writer import codec_check
from writer.codec_check import check_sustainable, choose_auto, measure, moving_pictures
from writer.codecs import ResolvedCodec, check_size, lerobot_options, open_encoder, openable_codecs, resolve
from writer.convert import Converter
from writer.errors import EncoderTooSlowError, UnknownCodecError

CONFIGS: list[tuple[dict[str, Any], int | None]] = [
    ({"vcodec": codec, **fields}, threads)
    for codec in ("libsvtav1", "h264", "hevc", "libaom-av1")
    for fields, threads in [
        ({}, None),
        ({}, 3),
        ({"crf": 23, "g": 10}, None),
        ({"crf": None, "g": None}, None),
        ({"fast_decode": 2}, 2),
        ({"extra_options": {"g": 7, "threads": 2, "keyint_min": 1}}, None),
    ]
] + [
    ({"vcodec": "libsvtav1", "preset": 8, "fast_decode": 9}, None),
    ({"vcodec": "av1"}, 1),
    ({"vcodec": "h264", "crf": 23.5}, None),
    ({"vcodec": "h264", "preset": "slow", "extra_options": {"tune": "film"}}, None),
    ({"vcodec": "hevc", "preset": "ultrafast", "extra_options": {"x265-params": "lossless=1"}}, None),
]
# lerobot knows these names and refuses them where the hardware's encoder is not built in, so only the table of
# options is compared.
HARDWARE: list[tuple[dict[str, Any], int | None]] = [
    ({"vcodec": codec, **fields}, 2)
    for codec in ("h264_videotoolbox", "hevc_videotoolbox", "h264_nvenc", "hevc_nvenc", "h264_vaapi", "h264_qsv")
    for fields in ({}, {"crf": 60, "preset": "p4"}, {"crf": None})
]


@pytest.mark.parametrize(("fields", "threads"), CONFIGS)
def test_options_are_lerobots_own(fields: dict[str, Any], threads: int | None) -> None:
    import stock  # noqa: F401 - sets lerobot's environment before it is imported
    from lerobot.configs import RGBEncoderConfig

    config = RGBEncoderConfig(**fields)
    codec = resolve(EncoderSpec(**fields), threads)
    expected = config.get_codec_options(threads, as_strings=True)
    assert lerobot_options(codec.spec, threads) == expected
    assert (codec.name, codec.spec.preset) == (config.vcodec, config.preset)
    joined = {"svtav1-params", "x265-params"}
    assert {k: v for k, v in codec.options.items() if k not in codec.low_latency} == {
        k: v for k, v in expected.items() if k not in codec.low_latency
    }
    for key in set(expected) & joined:
        assert set(expected[key].split(":")) <= set(codec.options[key].split(":"))


@pytest.mark.parametrize(("fields", "threads"), HARDWARE)
def test_hardware_options_are_lerobots_own(fields: dict[str, Any], threads: int | None) -> None:
    import stock  # noqa: F401 - sets lerobot's environment before it is imported
    from lerobot.configs import RGBEncoderConfig

    config = object.__new__(RGBEncoderConfig)
    spec = EncoderSpec(**fields)
    for name in ("vcodec", "pix_fmt", "g", "crf", "preset", "fast_decode", "video_backend", "extra_options"):
        setattr(config, name, getattr(spec, name))
    assert lerobot_options(spec, threads) == config.get_codec_options(threads, as_strings=True)


@pytest.mark.parametrize(
    ("fields", "added"),
    [
        ({}, {"svtav1-params": "lookahead=0:hierarchical-levels=2"}),
        ({"extra_options": {"svtav1-params": "lookahead=9"}}, {"svtav1-params": "hierarchical-levels=2"}),
        ({"vcodec": "h264"}, {"tune": "zerolatency", "bf": "0"}),
        ({"vcodec": "h264", "fast_decode": 1}, {"bf": "0", "rc-lookahead": "0"}),
        ({"vcodec": "h264", "extra_options": {"tune": "film", "bf": 3}}, {"rc-lookahead": "0"}),
        ({"vcodec": "hevc"}, {"tune": "zerolatency", "bf": "0", "x265-params": "log-level=error"}),
        ({"vcodec": "libaom-av1", "extra_options": {"lag-in-frames": 5}}, {}),
    ],
)
def test_a_users_options_win_over_ours(fields: dict[str, Any], added: dict[str, str]) -> None:
    codec = resolve(EncoderSpec(**fields))
    assert codec.low_latency == added
    for key, value in codec.spec.extra_options.items():
        assert str(value) in codec.options[key]


BIDIRECTIONAL = EncoderSpec(vcodec="hevc", g=8, extra_options={"bf": 2, "tune": "fastdecode"})
HELD_BACK = {"libsvtav1": 16, "h264": 0, "hevc": 3, "libaom-av1": 0}


@pytest.mark.parametrize("vcodec", HELD_BACK)
def test_few_frames_are_held_back(vcodec: str) -> None:
    fast = {"libaom-av1": {"cpu-used": 8}}.get(vcodec, {})
    codec = resolve(EncoderSpec(vcodec=vcodec, extra_options=dict(fast)))
    encoder, convert = open_encoder(codec, 128, 96, 30), Converter(128, 96, "yuv420p")
    pictures = moving_pictures(128, 96, 40)
    given = held = 0
    for index, picture in enumerate(pictures):
        frame = convert(picture)
        frame.pts = index
        given += len(encoder.encode(frame))
        held = max(held, index + 1 - given)
    assert held <= HELD_BACK[vcodec]
    assert given + len(encoder.encode(None)) == len(pictures)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"vcodec": "nope"}, ["'nope'", "h264", "libsvtav1", "--dataset.rgb_encoder.vcodec"]),
        ({"vcodec": "auto"}, ["'auto'", "--dataset.rgb_encoder.vcodec"]),
        ({"vcodec": "h264_videotoolbox"}, ["h264_videotoolbox", "libsvtav1", "--dataset.rgb_encoder.vcodec"]),
        ({"pix_fmt": "yuv444p"}, ["yuv444p", "yuv420p10le", "--dataset.rgb_encoder.pix_fmt"]),
        ({"vcodec": "h264", "pix_fmt": "gray"}, ["gray", "--dataset.rgb_encoder.pix_fmt"]),
        ({"vcodec": "h264", "preset": "warp"}, ["preset=warp", "--dataset.rgb_encoder"]),
        ({"crf": 99}, ["crf=99", "--dataset.rgb_encoder"]),
        ({"g": 0}, ["--dataset.rgb_encoder.g=0"]),
        ({"extra_options": {"no-such": 1}}, ["no-such", "--dataset.rgb_encoder"]),
        ({"vcodec": "libaom-av1", "preset": "8"}, ["preset", "--dataset.rgb_encoder"]),
        ({"video_backend": "ffmpeg"}, ["ffmpeg", "pyav"]),
    ],
)
def test_what_cannot_be_opened_is_refused_in_one_line(fields: dict[str, Any], words: list[str]) -> None:
    with pytest.raises(UnknownCodecError) as raised:
        resolve(EncoderSpec(**fields))
    message = str(raised.value)
    assert "\n" not in message
    assert all(word in message for word in words), message
    assert raised.value.exit_code == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"crf": 23.5},
        {"crf": 64},
        {"crf": -1},
        {"preset": "fast"},
        {"preset": 14},
        {"vcodec": "h264", "crf": -2},
        {"vcodec": "h264", "extra_options": {"aq-mode": "many"}},
        {"vcodec": "h264", "extra_options": {"aq-mode": 1.5}},
        {"vcodec": "h264", "extra_options": {"rc-lookahead": True}},
        {"vcodec": "libaom-av1", "extra_options": {"cpu-used": 99}},
        {"vcodec": "libaom-av1", "crf": 12.5},
        {"g": 0},
        {"pix_fmt": "yuv444p"},
        {"vcodec": "hevc", "pix_fmt": "gray"},
    ],
    ids=str,
)
def test_what_lerobot_refuses_is_refused_before_anything_is_recorded(fields: dict[str, Any]) -> None:
    import stock  # noqa: F401 - sets lerobot's environment before it is imported
    from lerobot.configs import RGBEncoderConfig

    with pytest.raises(ValueError, match=r"."):
        RGBEncoderConfig(**fields)
    with pytest.raises(UnknownCodecError):
        resolve(EncoderSpec(**fields))


@pytest.mark.parametrize(
    ("spec", "size", "flag"),
    [
        (EncoderSpec(vcodec="h264"), (641, 480), "--dataset.rgb_encoder.pix_fmt=yuv444p"),
        (EncoderSpec(vcodec="hevc"), (640, 481), "--dataset.rgb_encoder.vcodec=libsvtav1"),
        (
            BIDIRECTIONAL,
            (64, 64),
            "--dataset.rgb_encoder.extra_options='{bf: 0}'",
        ),
        (EncoderSpec(vcodec="h264", pix_fmt="yuv422p"), (641, 480), "--dataset.rgb_encoder.pix_fmt=yuv444p"),
        (EncoderSpec(), (16, 64), "--dataset.rgb_encoder.vcodec=h264"),
    ],
)
def test_sizes_that_a_codec_cannot_hold_are_refused_with_the_flag_that_can(
    spec: EncoderSpec, size: tuple[int, int], flag: str
) -> None:
    codec = resolve(spec)
    for refuse in (lambda: check_size(codec, *size), lambda: open_encoder(codec, *size, 30)):
        with pytest.raises(UnknownCodecError, match=f"{size[0]}x{size[1]}") as raised:
            refuse()
        assert flag in str(raised.value)


@pytest.mark.parametrize(
    ("spec", "size"),
    [
        (EncoderSpec(), (641, 481)),
        (EncoderSpec(vcodec="h264", pix_fmt="yuv444p"), (641, 481)),
        (EncoderSpec(vcodec="h264", pix_fmt="yuv422p"), (640, 481)),
    ],
)
def test_odd_sizes_that_a_codec_holds_are_taken(spec: EncoderSpec, size: tuple[int, int]) -> None:
    encoder = open_encoder(resolve(spec), *size, 30)
    assert (encoder.width, encoder.height) == size


def test_the_software_codecs_of_lerobot_open_here() -> None:
    assert set(openable_codecs()) >= {"h264", "hevc", "libsvtav1", "libaom-av1"}


def test_a_rate_is_measured_and_each_of_several_cameras_counts() -> None:
    codec = resolve(EncoderSpec(vcodec="h264", preset="ultrafast"))
    assert 0 < measure(codec, 64, 48, 30, cameras=3, seconds=0.1) < math.inf


def test_a_rate_counts_packets_against_the_clock() -> None:
    """Every look at the clock is a tenth of a second later, one look a frame, so it must come out as ten."""
    now = iter(range(1000))
    codec = resolve(EncoderSpec(vcodec="h264", preset="ultrafast"))
    rate = measure(codec, 64, 48, 30, cameras=1, seconds=3, clock=lambda: next(now) / 10)
    assert rate == pytest.approx(10)


def test_an_encoder_that_does_not_open_is_reported_and_nobody_waits_for_it() -> None:
    codec = resolve(EncoderSpec())
    with pytest.raises(UnknownCodecError, match="1000 fps"):
        measure(codec, 64, 48, 1000, cameras=3, seconds=0.1)


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[float]]:
    """Measured rates by codec, in the order of the measurements; the last one stays."""
    given: dict[str, list[float]] = {}

    def measured(codec: ResolvedCodec, *args: object) -> float:
        left = given[codec.name]
        return left.pop(0) if len(left) > 1 else left[0]

    monkeypatch.setattr(codec_check, "measure", measured)
    return given


def test_a_load_that_fits_is_accepted(rates: dict[str, list[float]]) -> None:
    rates["libsvtav1"] = [30.0]
    check_sustainable(resolve(EncoderSpec()), 640, 480, 30, 2)


def test_a_machine_that_was_busy_for_a_moment_is_measured_again(rates: dict[str, list[float]]) -> None:
    rates["libsvtav1"] = [12.0, 41.0]
    check_sustainable(resolve(EncoderSpec()), 640, 480, 30, 2)


def test_a_load_that_does_not_fit_is_refused_with_the_flags_that_help(rates: dict[str, list[float]]) -> None:
    rates.update(libsvtav1=[24.0], h264=[200.0])
    with pytest.raises(EncoderTooSlowError) as raised:
        check_sustainable(resolve(EncoderSpec()), 640, 480, 60, 4)
    message = str(raised.value)
    for part in (
        "24 frames/s",
        "4 cameras of 640x480",
        "expected 60",
        "--dataset.rgb_encoder.vcodec=h264 --dataset.rgb_encoder.preset=ultrafast",
        "--writer.allow_slow=true",
    ):
        assert part in message
    assert "\n" not in message


def test_odd_sizes_are_advised_a_format_that_holds_them(rates: dict[str, list[float]]) -> None:
    rates.update(libsvtav1=[24.0], h264=[200.0])
    with pytest.raises(EncoderTooSlowError, match=r"--dataset\.rgb_encoder\.pix_fmt=yuv444p"):
        check_sustainable(resolve(EncoderSpec()), 641, 481, 60, 4)


def test_a_load_that_no_codec_carries_is_refused_without_a_false_promise(rates: dict[str, list[float]]) -> None:
    rates.update(libsvtav1=[5.0], h264=[20.0])
    with pytest.raises(EncoderTooSlowError, match=r"h264, the fastest, 20.*--dataset\.fps") as raised:
        check_sustainable(resolve(EncoderSpec()), 640, 480, 60, 4)
    assert "vcodec=" not in str(raised.value)


@pytest.mark.parametrize(
    ("svtav1", "h264", "chosen"),
    [(36.0, 500.0, "libsvtav1"), (35.0, 500.0, "h264"), (20.0, 25.0, "h264"), (25.0, 20.0, "libsvtav1")],
)
def test_auto_takes_the_first_with_a_fifth_to_spare_else_the_fastest(
    rates: dict[str, list[float]], svtav1: float, h264: float, chosen: str
) -> None:
    rates.update(libsvtav1=[svtav1], h264=[h264])
    spec = choose_auto(640, 480, 30, 2)
    assert spec.vcodec == chosen
    assert spec.preset == {"libsvtav1": 12, "h264": "ultrafast"}[chosen]


def test_auto_measures_what_it_chooses() -> None:
    assert choose_auto(96, 64, 1, 1).vcodec in openable_codecs()


def test_pictures_to_measure_with_move_and_are_always_the_same() -> None:
    first, second, *_ = moving_pictures(96, 64, 4)
    assert np.array_equal(first, moving_pictures(96, 64, 4)[0])
    assert np.abs(first.astype(int) - second).mean() > 2
    assert len(np.unique(first)) > 60
