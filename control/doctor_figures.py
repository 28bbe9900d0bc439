"""What `onbeat doctor` measures and finds: values without I/O, which become the JSON as they are."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from control.robot_side import RobotSide
from transport.ring_layout import SlotLayout, ring_bytes, slots_in
from transport.ring_memory import RESERVED_SLOTS
from transport.schema import HWC, Kind, Schema, Stream
from transport.timing import Figures

_MIN_SLOTS = 4


@dataclass(frozen=True, slots=True)
class Load:
    """What is to be recorded: RGB cameras of one size, uint8."""

    cameras: int
    width: int
    height: int
    fps: int

    def __str__(self) -> str:
        cameras = f"{self.cameras} camera{'s' if self.cameras != 1 else ''}"
        return f"{cameras} of {self.width}x{self.height} at {self.fps} fps"

    @property
    def period_us(self) -> float:
        return 1e6 / self.fps

    @property
    def schema(self) -> Schema:
        """The streams of a six-joint arm with these cameras."""
        joints = tuple(f"joint_{i}.pos" for i in range(6))
        rows = (Stream(key, "float32", (6,), names=joints) for key in ("action", "observation.state"))
        shape = (self.height, self.width, 3)
        videos = (Stream(f"observation.images.cam{i}", "uint8", shape, Kind.VIDEO, HWC) for i in range(self.cameras))
        return Schema((*rows, *videos))

    def bytes_per_s(self) -> float:
        """What crosses the ring, and the network to a writer elsewhere."""
        streams = (*self.schema.rows, *self.schema.pictures)
        return float(self.fps * sum(stream.wire_nbytes for stream in streams))

    def ring_bytes(self, seconds: float) -> int:
        """Memory of a log ring (transport.ring.LogRing.create) for so many seconds."""
        slot_bytes = SlotLayout.of(self.schema).slot_bytes
        return ring_bytes(max(int(seconds * self.fps), _MIN_SLOTS) + RESERVED_SLOTS, slot_bytes)

    def ring_seconds(self, nbytes: float) -> float:
        """The longest log ring in so much memory; 0 when the shortest does not fit."""
        slots = slots_in(int(nbytes), SlotLayout.of(self.schema).slot_bytes) - RESERVED_SLOTS
        return slots / self.fps if slots >= _MIN_SLOTS else 0.0


class State(StrEnum):
    """How a finding bears on hard timing."""

    GOOD = "good"
    MISSING = "missing"
    FACT = "fact"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line about the machine.

    Attributes:
        name: what was looked at.
        found: its value, for people.
        advice: what to run or change, where something is missing; else empty.
    """

    name: str
    found: str
    state: State = State.FACT
    advice: str = ""


@dataclass(frozen=True, slots=True)
class FloorRun:
    """One run of the bare pacer.

    Attributes:
        loaded: with one busy process a processor.
        fifo: with SCHED_FIFO, obtained.
        missed: slots in which no tick started.
        lateness_us: as `transport.timing` defines it.
    """

    loaded: bool
    fifo: bool
    hz: int
    missed: int
    lateness_us: Figures


@dataclass(frozen=True, slots=True)
class Floor:
    """The wake-up floor, and which protections the loop obtained ("yes" or why not)."""

    runs: tuple[FloorRun, ...]
    protections: dict[str, str]

    @property
    def worst(self) -> FloorRun:
        """Under load, with what this machine grants."""
        return max(self.runs, key=lambda run: (run.loaded, run.fifo))


@dataclass(frozen=True, slots=True)
class CodecRate:
    """One encoder at the wanted size, as many at once as there are cameras.

    Attributes:
        flags: which choose it.
        fps: frames per second and camera.
        frame_bytes: of one encoded frame of a textured, moving scene.
        wanted: the one that the flags ask for.
    """

    name: str
    flags: str
    fps: float
    frame_bytes: float
    wanted: bool = False

    @property
    def label(self) -> str:
        """Name and preset, where one is set."""
        preset = self.flags.partition(".preset=")[2].partition(" ")[0]
        return f"{self.name} {preset}".strip()


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of the dataset.

    Attributes:
        sync_ms: (median, greatest) of writing 64 KB and fdatasync, four times a second.
        write_bytes_per_s: of one large file, fdatasync included; None without the room to try.
    """

    folder: str
    file_system: str
    free_bytes: int
    sync_ms: tuple[float, float]
    syncs: int
    write_bytes_per_s: float | None
    written_bytes: int


@dataclass(frozen=True, slots=True)
class LinkProbe:
    """The way to a writer.

    Attributes:
        same_machine: the address is one of this machine's own.
        connect_ms: (median, greatest) of TCP connects, about one round trip; None where there is no TCP.
        handshake_ms: from connecting to a finished ZeroMQ handshake, encryption included; None if there was none.
        interface: through which the writer is reached, and its nominal speed, where the kernel knows them.
        error: why the writer cannot be used; else empty.
    """

    address: str
    same_machine: bool = False
    connect_ms: tuple[float, float] | None = None
    handshake_ms: float | None = None
    interface: str = ""
    interface_bytes_per_s: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class WriterSide:
    """What was measured where the writer would run.

    Attributes:
        elsewhere: the writer runs on another machine, so nothing was measured.
        failures: why a session would be refused or fail.
    """

    codecs: tuple[CodecRate, ...] = ()
    disk: Disk | None = None
    elsewhere: bool = False
    failures: tuple[str, ...] = ()

    @property
    def wanted(self) -> CodecRate | None:
        return next((codec for codec in self.codecs if codec.wanted), None)

    @property
    def why_not_measured(self) -> str:
        return "the writer's: run `onbeat doctor` on its machine as well" if self.elsewhere else "see the verdict"


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the load can be recorded here.

    Attributes:
        ring_s: seconds of ring that fit into the free memory.
        rehearsal: the command that runs the load with simulated cameras, with the codec that suffices.
        obstacles: why not; empty when it can be.
        cautions: what will be felt although it can be.
        changes: flags or commands, the most useful first.
    """

    sustainable: bool
    ring_s: float
    ring_5s_bytes: int
    bytes_per_s: float
    encoded_bytes_per_s: float | None
    minutes: float | None
    rehearsal: str
    obstacles: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    changes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything, in the order in which it is printed."""

    load: Load
    machine: tuple[Finding, ...]
    floor: Floor
    writer: WriterSide
    link: LinkProbe | None
    verdict: Verdict
    robot: RobotSide | None = None
