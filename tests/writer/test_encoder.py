from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numbered_pictures import assert_video, numbered

from transport.dataset_spec import EncoderSpec
from writer import encoder as encoder_module
from writer.codecs import ResolvedCodec, resolve
from writer.encoder import CameraEncoder
from writer.episode import Packet, VideoTrack
from writer.errors import EncoderError
from writer.mux import write_mp4

KEY = "observation.images.front"
LIMIT_S = 30


class Caller:
    """What the owner of an encoder is told, and by whom."""

    def __init__(self, after: Callable[[Sequence[Packet]], None] = lambda packets: None) -> None:
        self.extradata: list[bytes] = []
        self.packets: list[Packet] = []
        self.errors: list[EncoderError] = []
        self.consumed = 0
        self.told = threading.Event()
        self.failed = threading.Event()
        self._after = after
        self.encoder = CameraEncoder(KEY, self._on_packets, self._on_error, self._on_consumed)

    def _on_packets(self, key: str, extradata: bytes | None, packets: Sequence[Packet]) -> None:
        assert key == KEY
        if extradata is not None:
            self.extradata.append(extradata)
        self.packets += packets
        self.told.set()
        self._after(packets)

    def _on_error(self, key: str, error: EncoderError) -> None:
        assert key == KEY
        self.errors.append(error)
        self.failed.set()

    def _on_consumed(self, nbytes: int) -> None:
        self.consumed += nbytes

    def run(self, codec: ResolvedCodec, first: int, end: int, size: tuple[int, int] = (96, 64)) -> None:
        self.encoder.start(*size, 30, codec, first)
        for index in range(first, end):
            self.encoder.put(index, numbered(index, *size))
        self.encoder.flush(LIMIT_S)


@pytest.fixture
def callers() -> Any:
    made: list[Caller] = []

    def make(*args: Any) -> Caller:
        made.append(Caller(*args))
        return made[-1]

    yield make
    for caller in made:
        caller.encoder.close(LIMIT_S)


@pytest.mark.parametrize("vcodec", ["h264", "libsvtav1"])
def test_episodes_follow_each_other_in_one_thread(callers: Any, tmp_path: Path, vcodec: str) -> None:
    codec = resolve(EncoderSpec(vcodec=vcodec))
    caller = callers()
    for frames in (5, 1, 30):
        caller.packets.clear()
        caller.extradata.clear()
        caller.run(codec, 0, frames)
        assert not caller.errors
        # The global header comes once, with the first packets.
        assert len(caller.extradata) == 1
        assert [packet.pts for packet in caller.packets] == list(range(frames))
        track = VideoTrack(codec.name, codec.pix_fmt, 96, 64, caller.extradata[0], caller.packets)
        write_mp4(track, 30, tmp_path / "video.mp4")
        assert_video(tmp_path / "video.mp4", frames, 30, 96, 64)
    assert caller.consumed == 36 * 96 * 64 * 3


def test_a_segment_begins_with_a_key_frame_of_its_own_index(callers: Any) -> None:
    caller = callers()
    caller.run(resolve(EncoderSpec(g=30)), 17, 25)
    assert [packet.pts for packet in caller.packets] == list(range(17, 25))
    assert [packet.is_key for packet in caller.packets] == [True, *[False] * 7]


def test_every_run_has_the_same_global_header(callers: Any) -> None:
    for vcodec in ("h264", "hevc", "libsvtav1"):
        caller = callers()
        codec = resolve(EncoderSpec(vcodec=vcodec))
        for first in (0, 7):
            caller.run(codec, first, first + 2)
        assert len(caller.extradata) == 2
        assert caller.extradata[0] == caller.extradata[1] != b""


def test_packets_come_while_pictures_still_arrive(callers: Any) -> None:
    caller = callers()
    caller.encoder.start(96, 64, 30, resolve(EncoderSpec(vcodec="h264")))
    caller.encoder.put(0, numbered(0, 96, 64))
    assert caller.told.wait(LIMIT_S)
    assert [packet.pts for packet in caller.packets] == [0]


def test_a_flush_without_frames_gives_nothing(callers: Any) -> None:
    caller = callers()
    caller.encoder.flush(LIMIT_S)
    caller.run(resolve(EncoderSpec()), 0, 0)
    assert not caller.packets
    assert not caller.errors


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda caller: caller.encoder.put(2, numbered(2, 96, 64)), "frame 2 found, expected 1"),
        (lambda caller: caller.encoder.put(1, numbered(1, 64, 64)), "expected (64, 96, 3)"),
        (lambda caller: caller.encoder.start(97, 64, 30, resolve(EncoderSpec(vcodec="h264"))), "even sizes"),
    ],
    ids=["a hole", "another size", "cannot open"],
)
def test_a_failure_reaches_the_caller_once_and_the_next_episode_goes_on(
    callers: Any, spoil: Callable[[Caller], None], words: str
) -> None:
    codec = resolve(EncoderSpec(vcodec="h264"))
    caller = callers()
    caller.encoder.start(96, 64, 30, codec)
    caller.encoder.put(0, numbered(0, 96, 64))
    spoil(caller)
    for index in range(3, 6):
        caller.encoder.put(index, numbered(index, 96, 64))
    caller.encoder.flush(LIMIT_S)
    assert len(caller.errors) == 1
    assert words in str(caller.errors[0])
    assert KEY in str(caller.errors[0])
    assert [packet.pts for packet in caller.packets] == [0]
    # Memory is given back for pictures that were not encoded, too: else the fetch window closes for ever.
    assert caller.consumed >= 4 * 96 * 64 * 3
    caller.packets.clear()
    caller.run(codec, 0, 4)
    assert [packet.pts for packet in caller.packets] == [0, 1, 2, 3]
    assert len(caller.errors) == 1


def test_what_the_caller_raises_comes_back_as_an_error(callers: Any) -> None:
    def refuse(packets: Sequence[Packet]) -> None:
        raise OSError("the disk is full")

    caller = callers(refuse)
    caller.run(resolve(EncoderSpec(vcodec="h264")), 0, 3)
    assert [str(error) for error in caller.errors] == [f"the encoder of {KEY} failed: the disk is full"]


def test_close_drops_what_waits(callers: Any) -> None:
    hold, running = threading.Event(), threading.Event()

    def wait(packets: Sequence[Packet]) -> None:
        running.set()
        hold.wait(LIMIT_S)

    caller = callers(wait)
    caller.encoder.start(96, 64, 30, resolve(EncoderSpec(vcodec="h264")))
    for index in range(50):
        caller.encoder.put(index, numbered(index, 96, 64))
    assert running.wait(LIMIT_S)
    closer = threading.Thread(target=caller.encoder.close, args=(LIMIT_S,))
    closer.start()
    with pytest.raises(EncoderError, match="did not end within"):
        caller.encoder.close(0.01)
    hold.set()
    closer.join(LIMIT_S)
    assert len(caller.packets) == 1
    assert caller.consumed == 50 * 96 * 64 * 3


def test_an_encoder_that_hangs_is_reported_in_time(callers: Any) -> None:
    hold = threading.Event()
    caller = callers(lambda packets: hold.wait(LIMIT_S))
    caller.encoder.start(96, 64, 30, resolve(EncoderSpec(vcodec="h264")))
    caller.encoder.put(0, numbered(0, 96, 64))
    caller.encoder.flush(limit_s=0.01)
    assert "did not finish within 0.01 s" in str(caller.errors[0])
    hold.set()


def test_the_encoder_is_freed_when_its_episode_ends(callers: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each holds tens of megabytes and several threads."""
    alive: list[weakref.ref[Any]] = []

    class Watched(encoder_module._Run):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args)
            alive.append(weakref.ref(self))

    monkeypatch.setattr(encoder_module, "_Run", Watched)
    caller = callers()
    for _ in range(3):
        caller.run(resolve(EncoderSpec()), 0, 3)
    caller.encoder.close(LIMIT_S)
    assert len(alive) == 3
    assert [ref() for ref in alive] == [None] * 3


def test_pictures_may_change_once_they_are_consumed(tmp_path: Path) -> None:
    """Encoders that hold frames back keep a copy, so the memory of a picture can be used again at once."""
    codec = resolve(EncoderSpec())
    packets: list[Packet] = []
    extradata: list[bytes] = []
    free = threading.Semaphore(1)

    def on_packets(key: str, header: bytes | None, given: Sequence[Packet]) -> None:
        extradata.extend([header] if header is not None else [])
        packets.extend(given)

    encoder = CameraEncoder(KEY, on_packets, lambda key, error: pytest.fail(str(error)), lambda nbytes: free.release())
    encoder.start(96, 64, 30, codec)
    memory = np.empty((64, 96, 3), np.uint8)
    for index in range(40):
        assert free.acquire(timeout=LIMIT_S)
        memory[:] = numbered(index, 96, 64)
        encoder.put(index, memory)
    encoder.flush(LIMIT_S)
    encoder.close(LIMIT_S)
    write_mp4(VideoTrack(codec.name, codec.pix_fmt, 96, 64, extradata[0], packets), 30, tmp_path / "video.mp4")
    assert_video(tmp_path / "video.mp4", 40, 30, 96, 64)
