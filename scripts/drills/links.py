"""The link between recorder and writer: cut, delayed, stalled, too slow; and the writer away."""

from __future__ import annotations

import os
import re
import signal
import time

from scripts.drills.process import send
from scripts.drills.registry import Result, drill
from scripts.drills.remote import Remote, remote_writer
from scripts.drills.stage import SLOW, Run, Stage


def _end(stage: Stage, far: Remote, run: Run, codes: tuple[int, ...] = (0,), limit_s: float = 150) -> None:
    code = run.process.finish(limit_s)
    run.process.drain(60)
    stage.expect(code in codes, f"the recorder ended with {code}, expected {codes}:\n{run.process.output}")
    if code == 0:
        stage.expect(far.writer.finish() == 0, f"the writer ended badly:\n{far.writer.output}")


@drill("link-cut-1s")
def link_cut_1s(stage: Stage) -> Result:
    """The link is reset and refuses connections for a second, in each of two episodes."""
    with remote_writer(stage) as far, stage.record(*far.flags, SLOW, episodes=2, local=False) as run:
        for take in range(2):
            run.tap.wait_frames(stage.rng.randrange(10, 120), take)
            far.link.cut()
            time.sleep(1)
            far.link.resume()
        _end(stage, far, run)
        return stage.judge(roots=[far.root])


@drill("link-silent-10s")
def link_silent_10s(stage: Stage) -> Result:
    """Nothing gets through for ten seconds and nobody is told, as when a cable is pulled."""
    with remote_writer(stage) as far, stage.record(*far.flags, SLOW, episodes=2, local=False) as run:
        run.tap.wait_frames(stage.rng.randrange(10, 60))
        far.link.pause()
        time.sleep(10)
        far.link.resume()
        _end(stage, far, run)
        return stage.judge(roots=[far.root])


@drill("link-gone", may_lose="nothing: what is undelivered is left in the spill folder")
def link_gone(stage: Stage) -> Result:
    """The link is gone for good: recording ends in order, what the writer lacks waits in the spill folder."""
    flags = ("--publisher.give_up_s=60",)
    with remote_writer(stage) as far, stage.record(*far.flags, *flags, SLOW, episodes=2, local=False) as run:
        run.tap.wait_frames(stage.rng.randrange(10, 60), 1)
        far.link.cut()
        _end(stage, far, run, codes=(1,))
        left = sum(path.stat().st_size for path in (stage.folder / "spill").rglob("*") if path.is_file())
        stage.expect(left > 0, "nothing is left in the spill folder")
        stage.notes.append(f"{left / 1e6:.0f} MB left in the spill folder")
        send(far.writer.pid, signal.SIGTERM)
        far.writer.finish()
        code, output = stage.recover(
            "--undecided=keep", "--aborted=keep", f"--spill={stage.folder / 'spill'}", root=far.root
        )
        stage.expect(code == 0, f"recover ended with {code}:\n{output}")
        return stage.judge(roots=[far.root])


@drill("link-delayed-and-stalling")
def link_delayed(stage: Stage) -> Result:
    """50 ms of delay, and stalls of 200 to 800 ms at random."""
    with remote_writer(stage) as far:
        far.link.delay_s = 0.05
        far.link.stall = lambda: stage.rng.uniform(0.2, 0.8) if stage.rng.random() < 0.002 else 0.0
        with stage.record(*far.flags, "--writer.allow_slow=true", SLOW, episodes=2, local=False) as run:
            _end(stage, far, run)
            return stage.judge(roots=[far.root])


@drill("link-too-slow")
def link_too_slow(stage: Stage) -> Result:
    """Four cameras at 640x480 over a link of half their rate: the spill grows and drains, the pictures are right."""
    rate = 4 * 640 * 480 * 3 * 30
    with remote_writer(stage) as far:
        far.link.bytes_per_s = rate / 2
        flags = ("--publisher.ring_s=2", "--writer.allow_slow=true")
        with stage.record(*far.flags, *flags, size=(640, 480), cameras=4, local=False) as run:
            _end(stage, far, run)
            spilled = [float(mb) for mb in re.findall(r"spill: (\d+) MB", run.process.output)]
            stage.expect(max(spilled, default=0) > 0, "nothing was spilled")
            stage.notes.append(f"spilled up to {max(spilled, default=0):.0f} MB")
            return stage.judge(roots=[far.root])


@drill("publisher-killed-while-spilling")
def publisher_killed_while_spilling(stage: Stage) -> Result:
    """The publisher killed three times while the link is too slow and the spill grows."""
    with remote_writer(stage) as far:
        # Room for the time that a new publisher takes to start on a busy machine.
        flags = (*far.flags, SLOW, "--publisher.ring_s=4")
        with stage.record(*flags, local=False) as run:
            run.tap.wait_frames(10)
            far.link.bytes_per_s = 2 * 320 * 240 * 3 * 30 / 4
            spill = stage.folder / "spill"
            for frames in (120, 150, 180):
                run.tap.wait_frames(frames + stage.rng.randrange(20))
                stage.expect(any(spill.rglob("*.spill")), f"nothing was spilled at frame {frames}")
                send(run.process.pid_of("transport.publisher"), signal.SIGKILL)
            run.tap.wait_frames(205)
            far.link.bytes_per_s = None
            _end(stage, far, run)
            return stage.judge(roots=[far.root])


@drill("spill-full")
def spill_full(stage: Stage) -> Result:
    """Ring and spill are both full: the episode ends there, what was published of it is all recoverable."""
    with remote_writer(stage) as far:
        flags = ("--publisher.ring_s=1", "--publisher.spill_max_gb=0.01", "--writer.allow_slow=true", SLOW)
        with stage.record(*far.flags, *flags, local=False) as run:
            run.tap.wait_frames(10)
            far.link.bytes_per_s = 2 * 320 * 240 * 3 * 30 / 6
            ended = run.process.wait_for(r"take 0 ended after (\d+) frames")
            run.tap.press("stop")
            far.link.bytes_per_s = None
            _end(stage, far, run, codes=(1,))
            stage.notes.append(ended.group(0))
        far.writer.finish()
        return stage.judge(roots=[far.root])


@drill("writer-away", fast=True)
def writer_away(stage: Stage) -> Result:
    """The whole writer is killed and another one started at the same address three seconds later."""
    with remote_writer(stage) as far, stage.record(*far.flags, SLOW, episodes=2, local=False) as run:
        run.tap.wait_frames(stage.rng.randrange(10, 100))
        far.writer.kill_all()
        far.writer.drain(10)
        time.sleep(3)
        again = stage.writer(f"--bind=tcp://127.0.0.1:{far.port}", f"--root={stage.folder / 'far'}", "--once=true")
        with again:
            code = run.process.finish(150)
            run.process.drain(60)
            stage.expect(code == 0, f"the recorder ended with {code}:\n{run.process.output}\n{again.output}")
        return stage.judge(roots=[far.root])


@drill("decisions-while-away")
def decisions_while_away(stage: Stage) -> Result:
    """A re-record and an undo while the writer is stopped: it learns of both and keeps what was meant."""
    with remote_writer(stage) as far:
        flags = (*far.flags, SLOW, "--dataset.reset_time_s=1.5", "--publisher.ring_s=4")
        with stage.record(*flags, episodes=2, local=False) as run:
            run.tap.wait_frames(20)
            for pid in far.writer.members():
                os.kill(pid, signal.SIGSTOP)
            run.tap.wait_frames(40)
            run.tap.press("rerecord")
            run.tap.wait_frames(30, 1)
            run.tap.press("next")
            time.sleep(0.7)
            run.tap.press("rerecord")  # within the reset phase: the take just recorded is discarded
            for pid in far.writer.members():
                os.kill(pid, signal.SIGCONT)
            _end(stage, far, run)
            takes = re.findall(r"^take (\d+): (\w+)", run.process.output, re.MULTILINE)
            stage.expect(takes[:2] == [("0", "discarded"), ("1", "discarded")], f"takes became {takes}")
        return stage.judge(roots=[far.root])
