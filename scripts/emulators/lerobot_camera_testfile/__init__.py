"""A lerobot camera that plays a video file: `--robot.cameras='{front: {type: testfile, path: front.mp4, ...}}'`.

Importing the package registers the type; lerobot's programs import it by themselves once it is installed.
"""

from .camera import VideoFileCamera
from .configuration import VideoFileCameraConfig

__all__ = ["VideoFileCamera", "VideoFileCameraConfig"]
