"""The flags of `onbeat loadtest`. The comment above a field is its help text."""

from __future__ import annotations

from dataclasses import dataclass, field

from control.config import PublisherFlags, TimingFlags, WriterFlags
from transport.dataset_spec import EncoderSpec


@dataclass
class LoadFlags:
    # Synthetic cameras.
    cameras: int = 4
    # Width of their pictures in pixels.
    width: int = 640
    # Height of their pictures in pixels.
    height: int = 480
    # Ticks per second; default: 60, or the rate of the dataset that is replayed.
    fps: int | None = None
    # Factor on the rate: 2 replays a dataset twice as fast as it was recorded.
    speed: float = 1.0
    # Milliseconds that the simulated bus blocks in every tick: three quarters to read, then one quarter to send.
    step_ms: float = 4.0
    # Joints of the simulated robot.
    joints: int = 6
    # Seconds of the load; default: 60, or the replayed dataset once.
    duration_s: float | None = None
    # Seconds of an episode; a replayed dataset has its own.
    episode_s: float = 20.0
    # Folder of a LeRobotDataset to replay instead of synthetic cameras; it is decoded into memory first.
    dataset: str | None = None
    # Which of its episodes, for example '[0, 3]'; default: all.
    episodes: list[int] | None = None
    # Where the load goes: writer, or null for a process that fetches and checks everything and keeps nothing.
    sink: str | None = "writer"
    # Exit with 1 if the p99.9 of the lateness is more microseconds; needs a load of 10,000 ticks.
    max_p999_us: float | None = None
    # Exit with 1 if more slots of the grid pass without a tick.
    max_missed: int | None = None
    # Exit with 1 if more pictures are lost, counted by decoding what arrived.
    max_lost: int | None = None
    # Decode what was recorded and count lost pictures.
    check: bool = True
    # File for the figures, as JSON.
    figures: str | None = None
    # File for every tick's times, as a NumPy array (.npy).
    ticks: str | None = None


@dataclass
class LoadDatasetFlags:
    # Folder of the dataset that the load is recorded into; must not exist yet. Default: one that is removed again.
    root: str | None = None
    # How camera pictures are encoded.
    rgb_encoder: EncoderSpec = field(default_factory=EncoderSpec)
    # Threads for each encoder; default: the codec's own choice.
    encoder_threads: int | None = None


@dataclass
class LoadConfig:
    # The load.
    load: LoadFlags = field(default_factory=LoadFlags)
    # Where and how it is recorded.
    dataset: LoadDatasetFlags = field(default_factory=LoadDatasetFlags)
    # How the loop keeps time.
    timing: TimingFlags = field(default_factory=TimingFlags)
    # The log between control and writer.
    publisher: PublisherFlags = field(default_factory=PublisherFlags)
    # The other side.
    writer: WriterFlags = field(default_factory=WriterFlags)
    # Show tracebacks.
    debug: bool = False
