"""Whether a session may be recorded here, and into which folder: decided before anything is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transport.dataset_spec import DatasetSpec
from transport.errors import UsageError
from transport.messages import PROTOCOL, Hello
from transport.schema import Kind, Schema
from writer import codec_check, codecs, dataset_check
from writer.codecs import ResolvedCodec
from writer.errors import DatasetMismatchError
from writer.workdir import SessionDir


@dataclass(frozen=True)
class Session:
    """A session that was accepted."""

    session_id: str
    owner: str
    schema: Schema
    spec: DatasetSpec
    root: Path
    codec: ResolvedCodec

    @property
    def folder(self) -> SessionDir:
        return SessionDir(self.root, self.session_id)

    def agreed(self) -> dict[str, Any]:
        """As `session.json` holds it."""
        return {"owner": self.owner, "schema": self.schema.to_wire(), "spec": self.spec.to_wire()}


def consider(hello: Hello, base: Path | None) -> Session:
    """Check everything that a HELLO asks for.

    Args:
        base: the folder under which a writer of its own puts datasets; None for a local writer, which takes the
            recorder's `root`.

    Raises:
        UsageError: no, and why.
    """
    if hello.protocol != PROTOCOL:
        raise UsageError(
            f"the recorder speaks protocol {hello.protocol}, this writer {PROTOCOL}; install the same onbeat on both"
        )
    if len(hello.session_id) != 32 or not set(hello.session_id) <= set("0123456789abcdef"):
        raise UsageError("a session id is 32 hexadecimal digits")
    schema = Schema.from_wire(hello.schema)
    spec = DatasetSpec.from_wire(hello.dataset)
    depth = [stream.key for stream in schema.pictures if stream.kind is Kind.DEPTH]
    if depth:
        raise UsageError(f"{depth[0]} is a depth stream, which this version cannot encode yet; leave it out")
    root = _root(spec, base)
    taken_up = again(root, hello.session_id)
    if taken_up is not None:
        if taken_up.schema != schema:
            raise UsageError("the session was begun with other streams; start a new session")
        return taken_up
    dataset_check.check(root, spec, schema)
    cameras = schema.pictures
    if not cameras:
        codec = codecs.resolve(replace_auto(spec).rgb_encoder, spec.encoder_threads)
        return Session(hello.session_id, hello.owner, schema, replace_auto(spec), root, codec)
    largest = max(cameras, key=lambda stream: stream.width * stream.height)
    if spec.rgb_encoder.vcodec == "auto":
        chosen = codec_check.choose_auto(largest.width, largest.height, spec.fps, len(cameras))
        spec = replace(spec, rgb_encoder=chosen)
    codec = codecs.resolve(spec.rgb_encoder, spec.encoder_threads)
    for stream in cameras:
        codecs.check_size(codec, stream.width, stream.height)
    if not spec.allow_slow_encoder:
        codec_check.check_sustainable(codec, largest.width, largest.height, spec.fps, len(cameras))
    return Session(hello.session_id, hello.owner, schema, replace(spec, rgb_encoder=codec.spec), root, codec)


def again(root: Path, session_id: str) -> Session | None:
    """A session that was accepted before, as its folder tells it; None if it is new here."""
    agreed = SessionDir(root, session_id).agreed()
    if agreed is None:
        return None
    spec = DatasetSpec.from_wire(agreed["spec"])
    codec = codecs.resolve(spec.rgb_encoder, spec.encoder_threads)
    return Session(session_id, agreed["owner"], Schema.from_wire(agreed["schema"]), spec, root, codec)


def replace_auto(spec: DatasetSpec) -> DatasetSpec:
    """Without cameras there is nothing to measure: "auto" is LeRobot's default then."""
    if spec.rgb_encoder.vcodec != "auto":
        return spec
    return replace(spec, rgb_encoder=replace(spec.rgb_encoder, vcodec="libsvtav1"))


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
    if not root.resolve().is_relative_to(base.resolve()):
        raise DatasetMismatchError(f"{spec.repo_id} leads out of {base}; rename the dataset")
    return root


def parse_agreed(value: Mapping[str, Any]) -> tuple[Path, str]:
    """Root and session id of what the parent hands to a restarted ingest."""
    return Path(value["root"]), str(value["session_id"])
