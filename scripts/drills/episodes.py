"""Episodes of unusual form, and an encoder that fails in the middle of one."""

from __future__ import annotations

import json
import textwrap

from scripts.drills.registry import Result, drill
from scripts.drills.stage import SLOW, Stage


@drill("no-cameras")
def no_cameras(stage: Stage) -> Result:
    """Two episodes of rows alone, ingest killed in the second."""
    import signal

    from scripts.drills.process import send

    with stage.record(SLOW, episodes=2, cameras=0) as run:
        run.tap.wait_frames(30, 1)
        send(run.process.pid_of("writer.ingest"), signal.SIGKILL)
        stage.expect(run.process.finish() == 0, f"the recorder ended badly:\n{run.process.output}")
        run.process.drain()
    return stage.judge()


@drill("one-frame-episodes", fast=True)
def one_frame_episodes(stage: Stage) -> Result:
    """Five episodes of one frame each."""
    with stage.record("--dataset.episode_time_s=0.03", episodes=5) as run:
        stage.expect(run.process.finish() == 0, f"the recorder ended badly:\n{run.process.output}")
        run.process.drain()
        stage.expect(run.tap.published == 5, f"{run.tap.published} frames were published, expected 5")
    return stage.judge()


_BREAKING = """
    import gymnasium
    import control.envs

    class Breaking(gymnasium.Wrapper):
        episodes = 0

        def reset(self, **arguments):
            self.episodes += 1
            return self.env.reset(**arguments)

        def step(self, action):
            if self.episodes == 2:
                raise RuntimeError("the arm does not answer")
            return self.env.step(action)

    def make(**kwargs):
        return Breaking(gymnasium.make("onbeat/Tabletop-v0", **kwargs))

    gymnasium.register("Breaking-v0", make)
"""


@drill("episode-without-frames")
def episode_without_frames(stage: Stage) -> Result:
    """The environment breaks before the second episode's first frame: the first is kept, one line says why."""
    (stage.folder / "breaking.py").write_text(textwrap.dedent(_BREAKING))
    with stage.record("--env.id=breaking:Breaking-v0", "--teleop.type=scripted", episodes=2) as run:
        code = run.process.finish()
        run.process.drain()
        stage.expect(code != 0, "the recorder ended with 0")
        stage.expect("the arm does not answer" in run.process.output, f"nothing was said:\n{run.process.output}")
    return stage.judge()


@drill("encoder-fails", may_lose="frames after the encoder failed; the episode names them")
def encoder_fails(stage: Stage) -> Result:
    """A camera's encoder fails at frame 100 of each episode: what was before is kept, the operator is told."""
    fault = {"ONBEAT_DRILL": json.dumps({"fail_encoder": 100})}
    with stage.record(SLOW, fault=fault) as run:
        code = run.process.finish()
        run.process.drain()
        stage.expect(code == 1, f"the recorder ended with {code}, expected 1")
        stage.expect("a drill made it fail" in run.process.output, f"nothing was said:\n{run.process.output}")
    result = stage.judge()
    stage.expect(90 <= result.durable <= 100, f"{result.durable} frames were kept, expected about 100")
    return result
