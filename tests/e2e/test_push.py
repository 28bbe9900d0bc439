"""`--dataset.push_to_hub` and `onbeat push` against a stand-in of the Hub: what arrives there, what is told here."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import onbeat_process as run
import outcome
import pytest

from scripts.emulators.hub import STALL, StandIn

_ASKED = (
    "--dataset.repo_id=me/pick",
    "--dataset.no_stamp=true",
    "--dataset.push_to_hub=true",
    "--dataset.private=true",
    "--dataset.tags=[tabletop]",
)


def _onbeat(home: Path, environment: dict[str, str], *arguments: str) -> run.OnbeatProcess:
    return run.OnbeatProcess([run.ONBEAT, *arguments], home, environment=environment)


def _files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.acceptance
@pytest.mark.timeout(300)
def test_killed_refused_and_pushed_by_hand_the_upload_is_whole_and_nothing_was_sent_twice(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    with StandIn() as hub:
        environment = hub.environment()
        first, second = [hub.fault("POST .*/commit/main", STALL) for _ in range(2)]
        hub.fault("POST .*/commit/main", 403)
        flags = (*run.QUICK, *_ASKED, f"--dataset.root={root}", "--dataset.num_episodes=1")
        with _onbeat(tmp_path, environment, "record", *flags) as recorder:
            assert first.met.wait(90), recorder.output
            recorder.wait_for("uploading me/pick to the Hub; the recording is complete")
            os.kill(recorder.pid_of("writer.upload_process"), signal.SIGKILL)
            recorder.wait_for("the uploading process ended with code -9; starting it again")
            assert second.met.wait(90), recorder.output
            os.kill(recorder.pid_of("writer.committer"), signal.SIGKILL)
            assert recorder.finish() == 1, recorder.output
        recorder.wait_for(r"problem +not uploaded: the login .* may not write me/pick \(403: ordered\)", 0)
        recorder.wait_for(rf"the recording is complete, `onbeat push {root}` on the writer's machine uploads it", 0)
        recorder.wait_for("missing +0", 0)
        recorded = _files(root)

        with _onbeat(tmp_path, environment, "push", str(root)) as pushed:
            assert pushed.finish() == 0, pushed.output
        pushed.wait_for(rf"uploaded to {hub.url}/datasets/me/pick \({len(recorded)} files", 0)
        repository = hub.repositories["me/pick"]
        assert set(hub.sent.values()) == {1}
        assert len(hub.sent) == len([path for path in recorded if path.endswith((".mp4", ".parquet"))])
        assert repository.files == {**recorded, "README.md": repository.files["README.md"]}
        assert (repository.private, repository.tags) == (True, {"v3.0": repository.sha})
        assert b"- tabletop" in repository.files["README.md"]
    assert _files(root) == recorded
    outcome.assert_whole(root, episodes=1)


def test_without_a_login_it_is_refused_before_the_first_episode(tmp_path: Path) -> None:
    with StandIn() as hub:
        flags = (*run.QUICK, *_ASKED, f"--dataset.root={tmp_path / 'ds'}")
        with _onbeat(tmp_path, hub.environment(token=None), "record", *flags) as recorder:
            assert recorder.finish() == 2, recorder.output
        recorder.wait_for("^onbeat: no login to the Hub found; run `hf auth login`.*--dataset.push_to_hub", 0)
    assert not (tmp_path / "ds").exists()
    assert not list(tmp_path.glob("*.onbeat"))


def test_a_writer_without_keys_uploads_for_nobody(tmp_path: Path) -> None:
    far = ("--bind=tcp://127.0.0.1:0", f"--root={tmp_path / 'far'}", "--insecure=true")
    with StandIn() as hub, _onbeat(tmp_path, hub.environment(), "writer", *far) as writer:
        port = writer.wait_for(r"listening at tcp://\S+:(\d+)").group(1)
        with _onbeat(
            tmp_path, {}, "record", *run.QUICK, *_ASKED, f"--writer.address=tcp://127.0.0.1:{port}"
        ) as process:
            assert process.finish() == 2, process.output
        process.wait_for("^onbeat: this writer uploads nothing for its recorders", 0)
        assert not hub.requests
