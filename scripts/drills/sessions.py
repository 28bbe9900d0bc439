"""Who may record into what, and what survives when the writer forgets or the clock jumps."""

from __future__ import annotations

import json
import shutil
import signal

from scripts.drills.process import send
from scripts.drills.registry import Result, drill
from scripts.drills.remote import remote_writer
from scripts.drills.stage import AV1, SLOW, Stage
from transport.keys import ALLOWED_FILE
from writer.workdir import work_dir


@drill("two-recorders-one-dataset")
def two_recorders_one_dataset(stage: Stage) -> Result:
    """A second recorder on the same dataset is refused, naming the owner; the first notices nothing."""
    with stage.record(SLOW) as run:
        run.tap.wait_frames(10)
        with stage.record(SLOW, tap=False) as second:
            code = second.process.finish()
            second.process.drain()
            stage.expect(code == 2, f"the second ended with {code}, expected 2")
            stage.expect(f"(process {run.process.pid})" in second.process.output, f"no owner:\n{second.process.output}")
        stage.expect(run.process.finish() == 0, f"the first ended badly:\n{run.process.output}")
        run.process.drain()
    return stage.judge()


@drill("two-recorders-one-writer")
def two_recorders_one_writer(stage: Stage) -> Result:
    """A second recorder at the same writer is refused, naming the owner; the first notices nothing."""
    with remote_writer(stage) as far, stage.record(*far.flags, SLOW, local=False) as run:
        run.tap.wait_frames(10)
        with stage.record(*far.flags, "--dataset.repo_id=drill/other", SLOW, local=False, tap=False) as second:
            code = second.process.finish()
            second.process.drain()
            stage.expect(code == 2, f"the second ended with {code}, expected 2:\n{second.process.output}")
            stage.expect(f"(process {run.process.pid})" in second.process.output, f"no owner:\n{second.process.output}")
        stage.expect(run.process.finish() == 0, f"the first ended badly:\n{run.process.output}")
        run.process.drain()
        return stage.judge(roots=[far.root])


@drill("wrong-codec-on-resume")
def wrong_codec_on_resume(stage: Stage) -> Result:
    """Resuming an h264 dataset with AV1 is refused, naming both; the dataset stays as it was."""
    with stage.record() as run:
        stage.expect(run.process.finish() == 0, f"the first ended badly:\n{run.process.output}")
        run.process.drain()
    before = {path: path.read_bytes() for path in sorted(stage.root.rglob("*")) if path.is_file()}
    with stage.record("--resume=true", codec=AV1, tap=False) as second:
        code = second.process.finish()
        stage.expect(code == 2, f"the second ended with {code}, expected 2:\n{second.process.output}")
        stage.expect("h264" in second.process.output and "av1" in second.process.output, "the codecs are not named")
    after = {path: path.read_bytes() for path in sorted(stage.root.rglob("*")) if path.is_file()}
    stage.expect(before == after, "the dataset was changed")
    return stage.judge()


@drill("keys-refuse-strangers")
def keys_refuse_strangers(stage: Stage) -> Result:
    """No key, another writer's key and a key not on the list get nowhere beside a session that has one."""
    for name in ("mine", "theirs"):
        code, output = stage.command("keys", f"--dir={stage.folder / name}", "--recorder=robot")
        stage.expect(code == 0, output)
    stage.command("keys", f"--dir={stage.folder / 'mine'}", "--recorder=gone")
    keys = stage.folder / "mine"
    allowed = keys / ALLOWED_FILE
    allowed.write_text("".join(line for line in allowed.read_text().splitlines(True) if "gone" not in line))
    key_of = {
        "good": keys / "recorder-robot.key",
        "wrong": stage.folder / "theirs/recorder-robot.key",
        "unlisted": keys / "recorder-gone.key",
    }
    with remote_writer(stage, f"--keys={keys}") as far:
        good = (*far.flags, f"--writer.keys={key_of['good']}")
        with stage.record(*good, SLOW, episodes=3, local=False) as run:
            run.tap.wait_frames(10)
            for who in ("none", "wrong", "unlisted"):
                flags = [*far.flags, "--dataset.repo_id=drill/other", "--writer.timeout_s=4"]
                flags += [f"--writer.keys={key_of[who]}"] if who in key_of else []
                with stage.record(*flags, local=False, tap=False) as stranger:
                    code = stranger.process.finish()
                    stranger.process.drain()
                    stage.expect(code == 2, f"with key {who!r} it ended with {code}:\n{stranger.process.output}")
            stage.expect(run.process.finish() == 0, f"the good one ended badly:\n{run.process.output}")
            run.process.drain()
        stage.expect(not (far.root.parent / "other").exists(), "a stranger's dataset was made")
        return stage.judge(roots=[far.root])


@drill("journal-deleted", may_lose="what the deleted journal held; the episode names it")
def journal_deleted(stage: Stage) -> Result:
    """The open journal is deleted under a stopped writer: durable_seq goes backwards, which becomes a named gap."""
    with remote_writer(stage) as far, stage.record(*far.flags, SLOW, episodes=2, local=False) as run:
        run.tap.wait_frames(90, 1)
        far.writer.kill_all()
        far.writer.drain(10)
        for folder in (work_dir(far.root) / "sessions").glob("*/recording/e*"):
            shutil.rmtree(folder)
        again = stage.writer(f"--bind=tcp://127.0.0.1:{far.port}", f"--root={far.root.parents[1]}", "--once=true")
        with again:
            code = run.process.finish(150)
            run.process.drain(60)
            stage.expect(code == 1, f"the recorder ended with {code}, expected 1:\n{run.process.output}")
            send(again.pid, signal.SIGTERM)
            again.finish()
        return stage.judge(roots=[far.root])


@drill("wall-clock-stepped")
def wall_clock_stepped(stage: Stage) -> Result:
    """Every process sees the wall clock jump by an hour in the middle of the session."""
    fault = {"ONBEAT_DRILL": json.dumps({"step_clock": {"after_s": 6, "step_s": 3600}})}
    with stage.record(SLOW, episodes=2, fault=fault) as run:
        stage.expect(run.process.finish() == 0, f"the recorder ended badly:\n{run.process.output}")
        run.process.drain()
    return stage.judge()


@drill("earlier-session-left", may_lose="what was not yet durable; recover names it")
def earlier_session_left(stage: Stage) -> Result:
    """What a crashed session left does not keep the next one from recording; the operator is told, recover has both."""
    with stage.record(SLOW) as run:
        run.tap.wait_frames(60)
        run.process.kill_all()
        run.process.drain(10)
    with stage.record() as run:
        stage.expect(run.process.finish() == 0, f"the second ended badly:\n{run.process.output}")
        run.process.drain()
        stage.expect("onbeat recover" in run.process.output, f"nothing was said:\n{run.process.output}")
    return stage.judge()
