"""Whether a session may be recorded here, and into which folder: decided before anything is written.

A request comes from the network. Whatever it says, the answer is a session or a reason.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transport.dataset_spec import DatasetSpec
from transport.errors import UsageError
from transport.messages import PROTOCOL, Hello
from transport.schema import Kind, Schema
from writer import codec_check, codecs, dataset_check, hub_login
from writer.codecs import ResolvedCodec
from writer.errors import DatasetMismatchError
from writer.interrupted import complete_interrupted
from writer.workdir import SessionDir

# A row that is larger is not a row but a picture in disguise; each camera is a thread and an encoder.
MAX_ROW_BYTES = 1 << 20
MAX_CAMERAS = 32
_MAX_OWNER = 200
_WORK_SUFFIX = ".onbeat"


@dataclass(frozen=True)
class Session:
    """A session that was accepted.

    Attributes:
        codec: of video streams.
        key: the recorder's public key, empty where no keys are used.
        remark: what the recorder should know of its upload beforehand.
        depth_codec: of depth streams; None without any.
    """

    session_id: str
    owner: str
    schema: Schema
    spec: DatasetSpec
    root: Path
    codec: ResolvedCodec
    key: str = ""
    remark: str = ""
    depth_codec: ResolvedCodec | None = None

    @property
    def codecs(self) -> dict[Kind, ResolvedCodec]:
        """By the kind of the stream."""
        return {Kind.VIDEO: self.codec, **({} if self.depth_codec is None else {Kind.DEPTH: self.depth_codec})}

    @property
    def folder(self) -> SessionDir:
        return SessionDir(self.root, self.session_id)

    def agreed(self) -> dict[str, Any]:
        """As `session.json` holds it."""
        return {"owner": self.owner, "key": self.key, "schema": self.schema.to_wire(), "spec": self.spec.to_wire()}

    def check_same(self, hello: Hello, key: str) -> None:
        """Whether a further HELLO is of this very session.

        Raises:
            UsageError: it comes from another key, or describes something else.
        """
        if key != self.key:
            raise UsageError("the session belongs to another recorder's key; start a new session")
        if Schema.from_wire(hello.schema) != self.schema:
            raise UsageError("the session was begun with other streams; start a new session")
        spec = DatasetSpec.from_wire(hello.dataset)
        # The codec may have been chosen here, and presets filled in.
        if replace(spec, rgb_encoder=self.spec.rgb_encoder, depth_encoder=self.spec.depth_encoder) != self.spec:
            raise UsageError("the session was begun for another dataset; start a new session")


def check_form(hello: Hello) -> None:
    """What costs nothing to check, and holds for every HELLO.

    Raises:
        UsageError: another protocol, or names that are no names.
    """
    if hello.protocol != PROTOCOL:
        raise UsageError(
            f"the recorder speaks protocol {hello.protocol}, this writer {PROTOCOL}; install the same onbeat on both"
        )
    if len(hello.session_id) != 32 or not set(hello.session_id) <= set("0123456789abcdef"):
        raise UsageError("a session id is 32 hexadecimal digits")
    if hello.epoch < 0:
        raise UsageError(f"epoch {hello.epoch} found, expected a number from 0")
    if not 0 < len(hello.owner) <= _MAX_OWNER or not hello.owner.isprintable():
        raise UsageError(f"an owner is 1 to {_MAX_OWNER} characters that can be printed")


def consider(hello: Hello, base: Path | None, key: str = "", *, may_upload: bool = True) -> Session:
    """Check everything that a HELLO asks for. May take seconds: the codec is measured.

    Args:
        base: the folder under which a writer of its own puts datasets; None for a local writer, which takes the
            recorder's `root`.
        key: the recorder's public key, empty where no keys are used.
        may_upload: whether this recorder may use the machine's login to the Hub.

    Raises:
        UsageError: no, and why.
        OSError: the disk cannot be read.
    """
    check_form(hello)
    schema = Schema.from_wire(hello.schema)
    _check_sizes(schema)
    spec = DatasetSpec.from_wire(hello.dataset)
    root = _root(spec, base)
    taken_up = again(root, hello.session_id)
    if taken_up is not None:
        taken_up.check_same(hello, key)
        return taken_up
    complete_interrupted(root)
    dataset_check.check(root, spec, schema)
    remark = "" if spec.upload is None else _check_upload(spec, root, may_upload=may_upload)
    depth_codec = _depth_codec(schema, spec)
    cameras = [stream for stream in schema.pictures if stream.kind is Kind.VIDEO]
    if not cameras:
        codec = codecs.resolve(replace_auto(spec).rgb_encoder, spec.encoder_threads)
        return Session(hello.session_id, hello.owner, schema, replace_auto(spec), root, codec, key, remark, depth_codec)
    largest = max(cameras, key=lambda stream: stream.width * stream.height)
    if spec.rgb_encoder.vcodec == "auto":
        chosen = codec_check.choose_auto(largest.width, largest.height, spec.fps, len(cameras))
        spec = replace(spec, rgb_encoder=chosen)
    codec = codecs.resolve(spec.rgb_encoder, spec.encoder_threads)
    for stream in cameras:
        codecs.check_size(codec, stream.width, stream.height)
    if not spec.allow_slow_encoder:
        codec_check.check_sustainable(codec, largest.width, largest.height, spec.fps, len(cameras))
    spec = replace(spec, rgb_encoder=codec.spec)
    return Session(hello.session_id, hello.owner, schema, spec, root, codec, key, remark, depth_codec)


def _depth_codec(schema: Schema, spec: DatasetSpec) -> ResolvedCodec | None:
    """Depth is encoded beside the cameras; how fast is not measured."""
    depth = [stream for stream in schema.pictures if stream.kind is Kind.DEPTH]
    if not depth:
        return None
    codec = codecs.resolve(spec.depth_encoder, spec.encoder_threads)
    for stream in depth:
        codecs.open_encoder(codec, stream.width, stream.height, spec.fps)
    return codec


def again(root: Path, session_id: str) -> Session | None:
    """A session that was accepted before, as its folder tells it; None if it is new here."""
    agreed = SessionDir(root, session_id).agreed()
    if agreed is None:
        return None
    spec = DatasetSpec.from_wire(agreed["spec"])
    codec = codecs.resolve(spec.rgb_encoder, spec.encoder_threads)
    schema = Schema.from_wire(agreed["schema"])
    depth_codec = _depth_codec(schema, spec)
    return Session(session_id, agreed["owner"], schema, spec, root, codec, agreed["key"], depth_codec=depth_codec)


def replace_auto(spec: DatasetSpec) -> DatasetSpec:
    """Without cameras there is nothing to measure: "auto" is LeRobot's default then."""
    if spec.rgb_encoder.vcodec != "auto":
        return spec
    return replace(spec, rgb_encoder=replace(spec.rgb_encoder, vcodec="libsvtav1"))


def _check_upload(spec: DatasetSpec, root: Path, *, may_upload: bool) -> str:
    if not may_upload:
        raise UsageError(
            "this writer uploads nothing for its recorders; start it with --push_to_hub=true, or leave "
            "--dataset.push_to_hub away"
        )
    return hub_login.check_login(spec.repo_id, root)


def _check_sizes(schema: Schema) -> None:
    if len(schema.pictures) > MAX_CAMERAS:
        raise UsageError(f"{len(schema.pictures)} cameras found, expected at most {MAX_CAMERAS}; use several writers")
    row_bytes = sum(stream.nbytes for stream in (*schema.rows, *schema.sidecar))
    if row_bytes > MAX_ROW_BYTES:
        raise UsageError(f"rows of {row_bytes} bytes found, expected at most {MAX_ROW_BYTES}; leave some streams out")


def _root(spec: DatasetSpec, base: Path | None) -> Path:
    if base is None:
        if spec.root is None:
            raise UsageError("a local writer needs the dataset's folder; set --dataset.root")
        return Path(spec.root)
    if spec.root is not None:
        raise UsageError(
            "a writer of its own chooses the folder: leave --dataset.root away and start it with `onbeat writer --root`"
        )
    root = base / spec.repo_id
    if root.name.endswith(_WORK_SUFFIX):
        raise UsageError(f"{spec.repo_id} ends as the folder of a recording under way does; rename the dataset")
    if not root.resolve().is_relative_to(base.resolve()):
        raise DatasetMismatchError(f"{spec.repo_id} leads out of {base}; rename the dataset")
    return root


def parse_agreed(value: Mapping[str, Any]) -> tuple[Path, str]:
    """Root and session id of what the parent hands to a restarted ingest."""
    return Path(value["root"]), str(value["session_id"])
