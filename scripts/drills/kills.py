"""Processes killed while an episode is recorded."""

from __future__ import annotations

import re
import signal
import statistics
import time

from scripts.drills.process import send
from scripts.drills.registry import Result, drill
from scripts.drills.stage import AV1, H264, SLOW, Run, Stage

_EVERY = ("control.process", "transport.publisher", "writer.local", "writer.ingest", "writer.committer")


@drill("fault-free")
def fault_free(stage: Stage) -> Result:
    """Nothing goes wrong: what the others are compared with."""
    with stage.record(SLOW, episodes=2) as run:
        _finish(stage, run)
    return stage.judge()


def _ingest_with_backlog(stage: Stage, codec: str, takes: int) -> Result:
    backs_s: list[float] = []
    with stage.record(SLOW, episodes=takes, codec=codec) as run:
        for take in range(takes):
            run.tap.wait_frames(stage.rng.randrange(2, 120), take)
            ingest = run.process.pid_of("writer.ingest")
            send(ingest, signal.SIGSTOP)
            stopped_at = run.tap.figures.frames
            run.tap.wait_frames(stopped_at + stage.rng.randrange(10, 60), take)
            stage.notes.append(f"take {take}: stopped at {stopped_at}, killed at {run.tap.figures.frames}")
            backs_s.append(_until_back(run, ingest))
        _finish(stage, run)
    stage.notes.insert(0, f"welcome {statistics.median(backs_s):.2f} s after the kill (median of {takes})")
    return stage.judge()


def _until_back(run: Run, ingest: int) -> float:
    """Kill ingest; returns the seconds until the recorder was welcomed again."""
    before, killed_s = run.process.output.count("writer back"), time.monotonic()
    send(ingest, signal.SIGKILL)
    while run.process.output.count("writer back") == before:
        if time.monotonic() > killed_s + 30:
            raise AssertionError(f"the writer did not come back:\n{run.process.output}")
        time.sleep(0.005)
    return time.monotonic() - killed_s


@drill("ingest-killed-h264")
def ingest_killed_h264(stage: Stage) -> Result:
    """Ingest killed with a backlog at five random moments, h264."""
    return _ingest_with_backlog(stage, H264, 5)


@drill("ingest-killed-av1")
def ingest_killed_av1(stage: Stage) -> Result:
    """Ingest killed with a backlog at five random moments, AV1."""
    return _ingest_with_backlog(stage, AV1, 5)


@drill("ingest-killed-once", fast=True)
def ingest_killed_once(stage: Stage) -> Result:
    """Ingest killed with a backlog once, in an episode that goes on."""
    return _ingest_with_backlog(stage, H264, 1)


@drill("writer-parent-killed")
def writer_parent_killed(stage: Stage) -> Result:
    """The writer's parent killed in each of two episodes."""
    with stage.record(SLOW, episodes=2) as run:
        for take in range(2):
            run.tap.wait_frames(stage.rng.randrange(2, 150), take)
            send(run.process.pid_of("writer.local"), signal.SIGKILL)
        _finish(stage, run)
    return stage.judge()


@drill("publisher-killed", fast=True)
def publisher_killed(stage: Stage) -> Result:
    """The publisher killed three times in each of two episodes."""
    with stage.record(SLOW, episodes=2) as run:
        for take in range(2):
            for _ in range(3):
                run.tap.wait_frames(run.tap.figures.frames + stage.rng.randrange(2, 60), take)
                send(run.process.pid_of("transport.publisher"), signal.SIGKILL)
        _finish(stage, run)
    return stage.judge()


@drill("control-killed", fast=True)
def control_killed(stage: Stage) -> Result:
    """Control killed: the episode is kept as aborted, every published frame is recoverable."""
    with stage.record(SLOW, episodes=2) as run:
        run.tap.wait_frames(stage.rng.randrange(2, 150), 1)
        send(run.process.pid_of("control.process"), signal.SIGKILL)
        code = run.process.finish()
        run.process.drain()
        stage.expect(code == 1, f"the recorder ended with {code}, expected 1:\n{run.process.output}")
        stage.expect("take 1: aborted" in run.process.output, f"take 1 is not aborted:\n{run.process.output}")
    return stage.judge()


@drill("supervisor-killed")
def supervisor_killed(stage: Stage) -> Result:
    """The supervisor killed: control releases the robot, the rest drains."""
    with stage.record(SLOW, episodes=2) as run:
        run.tap.wait_frames(stage.rng.randrange(2, 150), 1)
        send(run.process.pid, signal.SIGKILL)
        run.process.drain()
    return stage.judge()


@drill("everything-killed", may_lose="what was not yet durable; recover names it")
def everything_killed(stage: Stage) -> Result:
    """Every process killed at once, three times, then `onbeat recover`."""
    roots = []
    for number in range(3):
        root = stage.folder / f"ds{number}"
        roots.append(root)
        with stage.record(SLOW, episodes=2, root=root) as run:
            run.tap.wait_frames(stage.rng.randrange(2, 170), stage.rng.randrange(2))
            run.process.kill_all()
            run.process.drain(10)
    return stage.judge(roots=roots)


@drill("everything-killed-once", may_lose="what was not yet durable; recover names it", fast=True)
def everything_killed_once(stage: Stage) -> Result:
    """Every process killed at once, then `onbeat recover`."""
    with stage.record(SLOW) as run:
        run.tap.wait_frames(stage.rng.randrange(30, 170))
        run.process.kill_all()
        run.process.drain(10)
    return stage.judge()


def _sigterm(stage: Stage, module: str, codes: tuple[int, ...]) -> Result:
    with stage.record(SLOW, episodes=2) as run:
        run.tap.wait_frames(stage.rng.randrange(10, 150), 1)
        pid = run.process.pid if module == "supervisor" else run.process.pid_of(module)
        send(pid, signal.SIGTERM)
        code = run.process.finish()
        run.process.drain()
        stage.expect(code in codes, f"the recorder ended with {code}, expected {codes}:\n{run.process.output}")
        stage.expect(not re.search("Traceback", run.process.output), f"a traceback:\n{run.process.output}")
    return stage.judge()


@drill("sigterm-supervisor")
def sigterm_supervisor(stage: Stage) -> Result:
    """SIGTERM to the supervisor ends the session in order."""
    return _sigterm(stage, "supervisor", (0, 1))


@drill("sigterm-control")
def sigterm_control(stage: Stage) -> Result:
    """SIGTERM to control aborts the episode in order."""
    return _sigterm(stage, "control.process", (1,))


@drill("sigterm-publisher")
def sigterm_publisher(stage: Stage) -> Result:
    """SIGTERM to the publisher: it is started again."""
    return _sigterm(stage, "transport.publisher", (0,))


@drill("sigterm-writer")
def sigterm_writer(stage: Stage) -> Result:
    """SIGTERM to the local writer: it is started again."""
    return _sigterm(stage, "writer.local", (0,))


@drill("sigterm-ingest")
def sigterm_ingest(stage: Stage) -> Result:
    """SIGTERM to ingest: it is started again."""
    return _sigterm(stage, "writer.ingest", (0,))


@drill("sigterm-committer")
def sigterm_committer(stage: Stage) -> Result:
    """SIGTERM to the committer: it is started again."""
    return _sigterm(stage, "writer.committer", (0,))


def _finish(stage: Stage, run: Run) -> None:
    code = run.process.finish(150)
    run.process.drain(60)
    stage.expect(code == 0, f"the recorder ended with {code}:\n{run.process.output}")
