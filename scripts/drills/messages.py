"""Messages that are damaged on the way, and peers that say what they should not."""

from __future__ import annotations

import json
import signal
from typing import Any

import zmq

from scripts.drills.mitm import Mitm
from scripts.drills.process import send
from scripts.drills.registry import Result, drill
from scripts.drills.remote import remote_writer
from scripts.drills.stage import SLOW, Stage
from transport import messages as msg
from writer.leftovers import sessions


@drill("messages-damaged", fast=True)
def messages_damaged(stage: Stage) -> Result:
    """One message in twenty is flipped, cut, grown, dropped, repeated or reordered on its way to the writer."""
    with remote_writer(stage) as far:
        mitm = Mitm(far.port, stage.rng, 0.05)
        try:
            flags = (*far.flags, f"--writer.address=tcp://127.0.0.1:{mitm.port}", "--writer.allow_slow=true")
            with stage.record(*flags, SLOW, episodes=2, local=False) as run:
                code = run.process.finish(150)
                run.process.drain()
                stage.expect(code == 0, f"the recorder ended with {code}:\n{run.process.output}\n{far.writer.output}")
        finally:
            mitm.close()
        # One in twenty times it is the BYE that is lost, and the writer would wait for it.
        send(far.writer.pid, signal.SIGTERM)
        far.writer.drain()
        stage.expect(mitm.done.total() > 10, f"only {mitm.done.total()} messages were damaged")
        stage.notes.append(", ".join(f"{count} x {fault}" for fault, count in sorted(mitm.done.items())))
        return stage.judge(roots=[far.root])


def _hello(port: int, **changes: Any) -> str:
    """Say HELLO as somebody else; returns why it was refused, empty if it was not."""
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
    try:
        socket.connect(f"tcp://127.0.0.1:{port}")
        socket.send(msg.pack(msg.Hello(**changes)))
        if not socket.poll(15_000):
            return ""
        answer = msg.unpack(socket.recv_multipart()[0])
        return answer.reason if isinstance(answer, msg.Refused) else ""
    finally:
        context.destroy(linger=0)


@drill("strange-hellos")
def strange_hellos(stage: Stage) -> Result:
    """Another protocol, other streams for the same session, names that lead elsewhere: refused, each for what it is."""
    with (
        remote_writer(stage, once=False) as far,
        stage.record(*far.flags, SLOW, episodes=2, local=False) as run,
    ):
        run.tap.wait_frames(30)
        mine = sessions(far.root)[0]
        agreed = json.loads((mine.path / "session.json").read_text())
        good = {
            "protocol": msg.PROTOCOL,
            "session_id": "0" * 32,
            "epoch": 1,
            "schema": agreed["schema"],
            "dataset": {**agreed["spec"], "root": None, "repo_id": "drill/other"},
            "owner": "a drill",
        }
        fewer = {**agreed["schema"], "streams": agreed["schema"]["streams"][1:]}
        other_protocol = {**good, "protocol": msg.PROTOCOL + 1}
        no_session = {**good, "session_id": "../" * 10 + "ab"}
        # As the recorder's next connection: one that is not newer than the present one is no request at all.
        other_streams = {**good, "session_id": mine.session_id, "schema": fewer, "epoch": 1000}
        _refused(stage, far.port, good, "this writer is recording for")
        _refused(stage, far.port, other_protocol, "the recorder speaks protocol")
        _refused(stage, far.port, no_session, "a session id is")
        _refused(stage, far.port, other_streams, "the session was begun with other streams")
        stage.expect(run.process.finish() == 0, f"the recorder ended badly:\n{run.process.output}")
        run.process.drain()
        # Names are looked at by a writer that is free for somebody.
        named = {**good["dataset"], "repo_id": "../../etc"}
        _refused(stage, far.port, {**good, "dataset": named}, "dataset name")
        led = {**good["dataset"], "root": str(stage.folder / "mine")}
        _refused(stage, far.port, {**good, "dataset": led}, "a writer of its own chooses the folder")
        _refused(stage, far.port, other_protocol, "the recorder speaks protocol")
        send(far.writer.pid, signal.SIGTERM)
        far.writer.finish()
        stage.expect(not (stage.folder / "mine").exists(), "a folder was made elsewhere")
        return stage.judge(roots=[far.root])


def _refused(stage: Stage, port: int, hello: dict[str, Any], why: str) -> None:
    reason = _hello(port, **hello)
    stage.expect(why in reason, f"expected a refusal with {why!r}, found {reason!r}")
    stage.notes.append(reason)
