"""A machine on which lerobot cannot be imported any more: said once, and what was recorded stays."""

from __future__ import annotations

from pathlib import Path

import onbeat_process as run


def test_a_committer_that_never_comes_up_ends_the_session_and_loses_nothing(tmp_path: Path) -> None:
    broken = tmp_path / "broken" / "lerobot" / "__init__.py"
    broken.parent.mkdir(parents=True)
    # As slow as an import is: the take is over before the last start in vain.
    broken.write_text('import time\ntime.sleep(2)\nraise ImportError("this lerobot is broken")\n')
    root = tmp_path / "ds"
    flags = (*run.QUICK, f"--dataset.root={root}", "--dataset.num_episodes=1", "--dataset.episode_time_s=1")
    environment = {"PYTHONPATH": str(broken.parent.parent)}
    with run.OnbeatProcess([run.ONBEAT, "record", *flags], tmp_path, environment=environment) as process:
        assert process.finish(60) == 1
        process.drain(10)
        assert "this lerobot is broken" in process.output
        assert "writer.committer ended 5 times in a row before it was up; see its messages above" in process.output
    code, said = run.onbeat(tmp_path, "recover", str(root))
    assert (code, said.count("committed")) == (0, 1), said
