from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import av
import pytest

from control.doctor_figures import CodecRate, Disk
from transport.dataset_spec import EncoderSpec
from transport.link import spawn
from writer.codecs import resolve
from writer.errors import UnknownCodecError
from writer.probe import probe_disk
from writer.probe_codecs import frame_bytes, probe_codecs

H264 = EncoderSpec(vcodec="h264", preset="ultrafast")


def measured(messages: list[dict[str, Any]]) -> list[CodecRate]:
    return [CodecRate(**message["codec"]) for message in messages if "codec" in message]


def test_the_wanted_codec_comes_first_then_the_default_each_once() -> None:
    found = measured(list(probe_codecs(H264, None, (1, 96, 64, 30), seconds=0.1)))
    assert [codec.wanted for codec in found] == [True] + [False] * (len(found) - 1)
    names = [codec.label for codec in found]
    assert names[0] == "h264 ultrafast"
    assert "libsvtav1 12" in names
    assert len(set(names)) == len(names)
    assert all(codec.fps > 0 and codec.frame_bytes > 0 for codec in found)


def test_auto_becomes_a_codec_with_a_name() -> None:
    found = measured(list(probe_codecs(EncoderSpec(vcodec="auto"), None, (1, 96, 64, 5), seconds=0.1)))
    assert found[0].wanted
    assert found[0].name != "auto"


def test_an_odd_size_is_measured_with_codecs_that_take_it() -> None:
    found = measured(list(probe_codecs(EncoderSpec(), None, (1, 97, 65, 30), seconds=0.1)))
    assert any("pix_fmt=yuv444p" in codec.flags for codec in found)


@pytest.mark.parametrize(
    ("spec", "size"), [(EncoderSpec(vcodec="nope"), (96, 64)), (EncoderSpec(vcodec="h264"), (97, 65))]
)
def test_a_codec_that_cannot_be_is_refused(spec: EncoderSpec, size: tuple[int, int]) -> None:
    with pytest.raises(UnknownCodecError):
        list(probe_codecs(spec, None, (1, *size, 30), seconds=0.1))


def test_bytes_of_a_frame_are_those_of_the_packets(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    class Counting:
        """An encoder that notes what it gives."""

        def __init__(self, encoder: av.VideoCodecContext) -> None:
            self._encoder = encoder
            self.time_base = encoder.time_base

        def encode(self, frame: av.VideoFrame | None) -> list[av.Packet]:
            packets = self._encoder.encode(frame)
            sizes.extend(packet.size for packet in packets)
            return packets

    from writer import codecs

    opened = codecs.open_encoder
    monkeypatch.setattr(codecs, "open_encoder", lambda *args: Counting(opened(*args)))
    assert frame_bytes(resolve(H264), 96, 64, 30) * len(sizes) == pytest.approx(sum(sizes))
    assert len(sizes) == 48


def test_a_very_slow_encoder_is_not_waited_for() -> None:
    hours = itertools.count(step=3600.0)
    assert frame_bytes(resolve(H264), 96, 64, 30, clock=lambda: next(hours)) > 0
    assert next(hours) == 2 * 3600.0


def test_a_better_quality_makes_larger_frames() -> None:
    fine, coarse = (frame_bytes(resolve(EncoderSpec(vcodec="h264", crf=crf)), 96, 64, 30) for crf in (10, 45))
    assert fine > 2 * coarse


def test_the_disk_is_left_as_it_was(tmp_path: Path) -> None:
    found = Disk(**probe_disk(tmp_path / "not" / "there" / "yet", seconds=0.01, file_bytes=8 << 20))
    assert list(tmp_path.iterdir()) == []
    assert found.folder == str(tmp_path)
    assert found.written_bytes == 8 << 20
    assert found.write_bytes_per_s is not None
    assert found.write_bytes_per_s > 0
    assert 0 < found.sync_ms[0] <= found.sync_ms[1]
    assert found.free_bytes == pytest.approx(os.statvfs(tmp_path).f_bavail * os.statvfs(tmp_path).f_frsize, rel=0.1)


@pytest.mark.parametrize(("folder", "name"), [("/proc", "proc"), ("/dev/shm", "tmpfs")])
def test_a_file_system_is_known_by_its_name(folder: str, name: str) -> None:
    from writer.probe import _file_system

    assert _file_system(Path(folder)) == name


def run_probe(**changed: object) -> list[dict[str, Any]]:
    config = {
        "load": [1, 96, 64, 30],
        "rgb_encoder": EncoderSpec().__dict__,
        "encoder_threads": None,
        "folder": "/dev/shm",
        "codec_s": 0.1,
        "disk_s": 0.01,
    }
    process, link = spawn("writer.probe", config | changed)
    messages = []
    while (answer := link.receive(60)) is not None:
        messages.append(answer[0])
    link.close()
    assert process.wait(30) == 0
    return messages


def test_the_process_reports_codecs_and_disk_and_that_it_is_done() -> None:
    messages = run_probe()
    assert measured(messages)[0].name == "libsvtav1"
    assert [message for message in messages if "failed" in message] == []
    assert Disk(**next(message["disk"] for message in messages if "disk" in message)).file_system == "tmpfs"
    assert messages[-1] == {"done": True}


def test_the_process_says_what_cannot_be_measured_and_measures_the_rest() -> None:
    unknown = {**EncoderSpec().__dict__, "vcodec": "nope"}
    messages = run_probe(rgb_encoder=unknown)
    assert "nope" in next(message["failed"] for message in messages if "failed" in message)
    assert any("disk" in message for message in messages)


def test_a_folder_that_cannot_be_written_is_said() -> None:
    messages = run_probe(folder="/proc/here", load=[0, 1, 1, 30])
    assert "set --root" in next(message["failed"] for message in messages if "failed" in message)
