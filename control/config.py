"""The flags of `onbeat record`. The comment above a field is its help text; units are in it where a bare number could
be misread. The names under `dataset` are those of lerobot-record (lerobot/configs/dataset.py)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from control.keys import KeysFlags
from transport.dataset_spec import DepthEncoderSpec, EncoderSpec
from transport.errors import UsageError


@dataclass
class EnvFlags:
    # gymnasium id; "module:Id-v0" imports the module first.
    id: str = "onbeat/Tabletop-v0"
    # Arguments for the environment, for example '{cameras: 4, width: 640}'.
    kwargs: dict[str, Any] = field(default_factory=dict)
    # Seed of the first reset; each later episode counts on from it.
    seed: int | None = None


@dataclass
class TeleopFlags:
    # Who acts: "scripted" (solves onbeat/Tabletop-v0), "random", "none" (the environment's own intervention),
    # "auto" (none beside a policy, scripted for the built-in environment, else random), or "module:Class".
    type: str = "auto"
    # Arguments for the teleoperator, for example '{fail_episodes: [1]}'.
    kwargs: dict[str, Any] = field(default_factory=dict)
    # Whether one of lerobot's runs in a process of its own: "true", "false", or "auto" (where it has threads).
    proxy: str = "auto"


@dataclass
class PolicyFlags:
    # Folder or Hub repository of a trained lerobot policy, which then acts; every other --policy.NAME is lerobot's own,
    # for example --policy.device=cuda.
    path: str | None = None
    # What is sent while the policy has no action ready: "hold", the last target again, or nothing that moves where
    # actions are deltas or velocities.
    on_late: str = "hold"
    # Seconds without an action of the policy (or of a person) after which the episode is aborted.
    max_held_s: float = 5
    # Seconds in which a robot moves from its last target to where the teleoperator stands when a person takes over.
    handover_s: float = 1
    # How elements of a robot's action are held whose names do not tell, by name or pattern: last, the last target, for
    # positions, or zero, for velocities; for example '{lift: last, wheel_*: zero}'.
    hold: dict[str, str] = field(default_factory=dict)
    # Filled from the command line: the other --policy.* flags.
    overrides: list[str] = field(default_factory=list)
    # Filled from the command line: --policy.discover_packages_path.
    plugins: list[str] = field(default_factory=list)


@dataclass
class DatasetFlags:
    # Name of the dataset, owner/name; a time stamp is added unless --dataset.no_stamp.
    repo_id: str = "local/onbeat"
    # What is done, in words, for example "Pick the cube and lift it".
    single_task: str = "Bring the cube to the target"
    # File with a task a line, instead of --dataset.single_task: each episode that is kept has the next one's, and the
    # first follows the last.
    tasks_file: str | None = None
    # Folder of the dataset; must not exist yet unless --resume. Default: $HF_LEROBOT_HOME/REPO_ID, as lerobot.
    root: str | None = None
    # Frames per second; default: the environment's own render_fps, else 30.
    fps: int | None = None
    # Seconds of an episode at most.
    episode_time_s: float = 60
    # Seconds between two episodes in which nothing is recorded.
    reset_time_s: float = 0
    # Episodes to keep.
    num_episodes: int = 3
    # Upload to the Hugging Face Hub when the session is over, with the login of the writer's machine.
    push_to_hub: bool = False
    # Make the repository on the Hub private; default: as its owner has set.
    private: bool | None = None
    # Tags for the card on the Hub, for example '[so101, pick]'.
    tags: list[str] | None = None
    # How camera pictures are encoded.
    rgb_encoder: EncoderSpec = field(default_factory=EncoderSpec)
    # How depth is encoded, of cameras with use_depth.
    depth_encoder: DepthEncoderSpec = field(default_factory=DepthEncoderSpec)
    # Threads for each encoder; default: the codec's own choice.
    encoder_threads: int | None = None
    # Leave repo_id without a time stamp.
    no_stamp: bool = False


@dataclass
class EpisodeFlags:
    # Rows with reward 1.0 that an episode gets once success is detected, the detecting one included.
    number_of_steps_after_success: int = 1
    # A reward equal to this is a success; default: only what info or the operator says.
    success_reward: float | None = None


@dataclass
class SessionFlags:
    # When an episode begins: "auto" (as soon as the reset phase is over) or "key" (when the operator presses a key of
    # --keys.start).
    start: str = "auto"
    # Ask at the terminal for each episode's task, before it begins.
    ask_task: bool = False
    # Wait for a key after the last episode too, so that it can be undone.
    review_last: bool = False

    def __post_init__(self) -> None:
        if self.start not in ("auto", "key"):
            raise UsageError(f"--session.start={self.start} found, expected auto or key")


@dataclass
class TimingFlags:
    # Microseconds that the loop spins before each tick instead of sleeping.
    spin_us: float = 200
    # Run the loop's thread before everybody else (SCHED_FIFO): "auto" (best effort), "require" or "off".
    realtime: str = "auto"
    # Priority of the loop's thread from 1 to 99; interrupts have 50.
    priority: int = 50
    # Lock log ring and control process into memory: "auto" (best effort), "require" (the ring at least) or "off".
    lock_memory: str = "auto"
    # Processor on which the loop runs alone among onbeat's threads; default: any.
    cpu: int | None = None
    # Processors for all other processes, for example 0,2-3; default: all but --timing.cpu.
    others_cpus: str | None = None
    # Keep idle processors from sleeping deeply, at the price of their power: "auto" (best effort), "require" or "off".
    cpu_awake: str = "auto"
    # Put Python's garbage collection off to between episodes.
    pause_gc: bool = True
    # Microseconds after which another Python thread must let the loop run; 0 leaves Python's own 5000.
    gil_switch_us: float = 100
    # Largest part of an episode's slots, 0 to 1, that may be missed; default: any.
    max_missed_fraction: float | None = None
    # What becomes of an episode above it: "mark" (kept, said in its sidecar) or "reject" (aborted).
    on_missed: str = "mark"
    # Seconds without a tick after which the control process is ended and the robot left as --robot.on_fault says; 0
    # waits for ever.
    max_tick_s: float = 5
    # The same for the environment's reset and for the first tick after it.
    max_reset_s: float = 120

    def __post_init__(self) -> None:
        # Command lines are read as YAML, to which a plain `off` is the truth value false.
        for name in ("realtime", "lock_memory", "cpu_awake"):
            if getattr(self, name) == "False":
                setattr(self, name, "off")

    # Seconds after which a robot's camera picture that is repeated for want of a newer one is flagged as stale.
    max_camera_age_s: float = 0.2
    # Seconds after which a camera without a new picture ends the episode and the session.
    lost_camera_age_s: float = 15
    # Record although a robot's camera delivers fewer pictures than --dataset.fps; frames then repeat pictures.
    allow_slow_cameras: bool = False


@dataclass
class PublisherFlags:
    # Seconds of recording that the log ring holds while the writer is away or behind; 32 frames at least.
    ring_s: float = 5.0
    # Folder for records that the ring has no room for; default: $XDG_STATE_HOME/onbeat/spill, else below /var/tmp.
    spill_dir: str | None = None
    # Gigabytes that may wait there; 0 spills nothing, and the episode ends when the ring is full.
    spill_max_gb: float = 20
    # Seconds without any progress of the writer after which, once nothing is recorded any more, what is undelivered
    # is left in the spill folder for `onbeat recover`.
    give_up_s: float = 120


@dataclass
class WriterFlags:
    # Address of a writer started with `onbeat writer`, for example tcp://192.0.2.7:5757; default: one is started here.
    address: str | None = None
    # File of this recorder's key, made with `onbeat keys` on the writer's machine.
    keys: str | None = None
    # Seconds to wait for the writer's answer before the first episode.
    timeout_s: float = 60
    # Record although the writer's codec, or the link to it, cannot keep up: what does not fit waits in the spill file.
    allow_slow: bool = False
    # Gigabytes that must stay free on the writer's disk; below it the session ends cleanly.
    min_free_gb: float = 0.5
    # Keep each episode's journal (MCAP) after it was committed, in ROOT.onbeat/kept.
    keep_journal: bool = False


@dataclass
class RecordConfig:
    # The environment.
    env: EnvFlags = field(default_factory=EnvFlags)
    # The teleoperator.
    teleop: TeleopFlags = field(default_factory=TeleopFlags)
    # A trained policy that acts, in a process of its own.
    policy: PolicyFlags = field(default_factory=PolicyFlags)
    # The policy's names for the recording's columns, for example '{observation.images.front: observation.images.top}'.
    rename_map: dict[str, str] = field(default_factory=dict)
    # The dataset, with the names of lerobot-record.
    dataset: DatasetFlags = field(default_factory=DatasetFlags)
    # When an episode is a success.
    episode: EpisodeFlags = field(default_factory=EpisodeFlags)
    # How episodes follow each other.
    session: SessionFlags = field(default_factory=SessionFlags)
    # Which key does what, at the terminal and on other devices.
    keys: KeysFlags = field(default_factory=KeysFlags)
    # How the loop keeps time.
    timing: TimingFlags = field(default_factory=TimingFlags)
    # The log between control and writer.
    publisher: PublisherFlags = field(default_factory=PublisherFlags)
    # The other side.
    writer: WriterFlags = field(default_factory=WriterFlags)
    # Spoken cues, and tones when the log fills up; default: if the machine speaks (spd-say, say, espeak-ng, espeak) or
    # plays (aplay, pw-play, paplay).
    play_sounds: bool | None = None
    # Show cameras and motions of the episode that is being recorded, in a viewer; needs the extra "display".
    display_data: bool = False
    # Which viewer: rerun or foxglove.
    display_mode: str = "rerun"
    # Address of a Rerun viewer that runs elsewhere, or the one at which Foxglove's server listens.
    display_ip: str | None = None
    # Its port.
    display_port: int | None = None
    # Show pictures as JPEG, which takes less bandwidth and more CPU.
    display_compressed_images: bool = False
    # Append to an existing dataset.
    resume: bool = False
    # Show tracebacks.
    debug: bool = False
