"""lerobot's ZMQ camera, in a camera's process, on lerobot's own image server; its pictures come from a video file."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from control.camera_memory import CaptureKind
from control.camera_set import CameraSet, CameraSpec
from control.envs import frame_code
from scripts.emulators.numbered_video import write_numbered_video
from transport.link import Link

LIMIT_S = 60
PICTURES = 90
# The server knows OpenCV cameras only, and those refuse files.
SERVER = """
import sys
from lerobot.cameras.zmq import image_server
from lerobot_camera_testfile import VideoFileCamera, VideoFileCameraConfig
image_server.OpenCVCamera = lambda config: VideoFileCamera(VideoFileCameraConfig(path=sys.argv[1]))
cameras = {"head": {"shape": [240, 320]}}
image_server.ImageServer({"fps": 30, "cameras": cameras}, port=int(sys.argv[2])).run()
"""


@contextmanager
def image_server(video: Path) -> Iterator[int]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(video), str(port)])
    try:
        yield port
    finally:
        server.kill()
        server.wait()


@pytest.mark.slow
@pytest.mark.timeout(200)
def test_pictures_of_lerobots_image_server_arrive_in_order() -> None:
    from lerobot.cameras.zmq import ZMQCameraConfig

    from control.lerobot_camera import encode

    with tempfile.TemporaryDirectory(prefix="zmq") as folder:
        video = Path(folder) / "video.mp4"
        write_numbered_video(video, pictures=PICTURES, fps=30, width=320, height=240, camera=4)
        with image_server(video) as port:
            # The camera gives up until the server, which imports all of lerobot first, is there; it is tried again.
            config = ZMQCameraConfig("127.0.0.1", port, "head", width=320, height=240, fps=30)
            log, operator = Link.pair()
            cameras = CameraSet([CameraSpec("head", encode(config), 240, 320)], log)
            memory, into = cameras.memories["head"], np.zeros((240, 320, 3), np.uint8)
            seen: dict[int, int] = {}
            try:
                cameras.start()
                deadline_s = time.monotonic() + LIMIT_S
                while len(seen) < 10:
                    assert time.monotonic() < deadline_s, f"{len(seen)} pictures, {memory.failure}"
                    shot = memory.read_newest(into)
                    if shot is not None and shot.seq not in seen:
                        code = frame_code.read(into)
                        assert code is not None
                        assert code[1] == 4
                        assert shot.kind in (CaptureKind.ARRIVAL, CaptureKind.DRIVER)
                        assert shot.capture_ns <= time.monotonic_ns()
                        seen[shot.seq] = code[0]
                    os.sched_yield()
            finally:
                cameras.close()
                log.close()
                operator.close()
    numbers = list(seen.values())
    # A picture may be skipped but none comes before its turn; the video is played over and over.
    assert all(0 < (later - number) % PICTURES < PICTURES // 2 for number, later in pairwise(numbers))
