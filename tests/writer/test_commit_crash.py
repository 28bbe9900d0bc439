"""A commit that is killed at any step: what stock sees of it, and that recovery completes it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import stock

from writer.commit import Committer
from writer.errors import CommitError, DatasetMismatchError

# With two cameras, a task that is new to the dataset, and an episode before it.
STEPS = [
    "stage",
    "intent",
    "videos/observation.images.cam0",
    "videos/observation.images.cam1",
    "data",
    "sidecar",
    "sidecar",
    "stats",
    "tasks",
    "episodes",
    "verify",
    "info",
    "record",
    "clean",
    "done",
]
FIRST_STEPS = ["stage", "intent", "verify", "dataset", "record", "clean", "done"]


class Copies:
    """Copies the dataset and its work folder at every step of a commit."""

    def __init__(self, base: Path) -> None:
        self._base = base
        self.folder = base / "copies"
        self.steps: list[str] = []

    def __call__(self, step: str) -> None:
        target = self.folder / str(len(self.steps))
        target.mkdir(parents=True)
        for name in ("ds", "ds.onbeat"):
            if (self._base / name).exists():
                shutil.copytree(self._base / name, target / name)
        self.steps.append(step)


def committer(base: Path, on_step: object = None) -> Committer:
    hook = {} if on_step is None else {"on_step": on_step}
    return Committer(base / "ds", base / "ds.onbeat", stock.SPEC, stock.schema(), **hook)


def test_stock_opens_the_dataset_at_every_step_and_recovery_completes_it(tmp_path: Path) -> None:
    first, second = stock.make_episode(3), stock.make_episode(2, episode_id=1, task="another task")
    committer(tmp_path).commit(first, stock.video_writer(first))
    copies = Copies(tmp_path)
    committer(tmp_path, copies).commit(second, stock.video_writer(second))
    assert copies.steps == STEPS
    counts = []
    for number in range(len(STEPS)):
        copy = copies.folder / str(number)
        dataset = stock.open_stock(copy / "ds")
        counts.append(dataset.num_episodes)
        for index in range(dataset.num_frames):
            assert dataset[index]["observation.images.cam1"].shape == (3, 48, 64)

        recovered = committer(copy)
        assert ((stock.SESSION, 1) in recovered.committed()) == (
            number >= STEPS.index("videos/observation.images.cam0")
        )
        recovered.commit(second, stock.video_writer(second))
        assert recovered.committed() == {(stock.SESSION, 0): 0, (stock.SESSION, 1): 1}
        stock.assert_decodes(copy / "ds", 2, 5)
        assert sorted(p.name for p in (copy / "ds.onbeat").iterdir()) == ["committed.jsonl"]
    assert counts == [1] * (STEPS.index("info") + 1) + [2] * (len(STEPS) - STEPS.index("info") - 1)


def test_the_first_episode_appears_with_the_dataset(tmp_path: Path) -> None:
    episode, copies = stock.make_episode(3), Copies(tmp_path)
    committer(tmp_path, copies).commit(episode, stock.video_writer(episode))
    assert copies.steps == FIRST_STEPS
    for number in range(len(FIRST_STEPS)):
        copy = copies.folder / str(number)
        assert (copy / "ds").exists() == (number > FIRST_STEPS.index("dataset"))
        recovered = committer(copy)
        recovered.commit(episode, stock.video_writer(episode))
        assert recovered.committed() == {(stock.SESSION, 0): 0}
        stock.assert_decodes(copy / "ds", 1, 3)


@pytest.mark.parametrize("step", range(2, len(STEPS)))
def test_recovery_may_itself_be_killed(tmp_path: Path, step: int) -> None:
    """Every commit and every recovery is killed one step later than the one before."""
    first, second = stock.make_episode(1), stock.make_episode(1, episode_id=1, task="another task")
    committer(tmp_path).commit(first, stock.video_writer(first))

    class Killed(BaseException):
        pass

    def kill_at(count: int) -> object:
        left = iter(range(count))

        def hook(step: str) -> None:
            if next(left, None) is None:
                raise Killed

        return hook

    with pytest.raises(Killed):
        committer(tmp_path, kill_at(step)).commit(second, stock.video_writer(second))
    for steps in range(len(STEPS)):
        try:
            committer(tmp_path, kill_at(steps))
        except Killed:
            continue
        break
    assert committer(tmp_path).committed() == {(stock.SESSION, 0): 0, (stock.SESSION, 1): 1}
    stock.assert_decodes(tmp_path / "ds", 2, 2)


def test_an_episode_is_committed_once(tmp_path: Path) -> None:
    episode = stock.make_episode(3)
    done = committer(tmp_path).commit(episode, stock.video_writer(episode))
    assert (done.episode_index, done.frames, dict(done.packets_by_camera)) == (
        0,
        3,
        {"observation.images.cam0": 3, "observation.images.cam1": 3},
    )
    assert committer(tmp_path).commit(episode, stock.video_writer(episode)) == done
    stock.assert_decodes(tmp_path / "ds", 1, 3)


def test_a_torn_last_line_of_the_record_is_dropped(tmp_path: Path) -> None:
    episode, second = stock.make_episode(3), stock.make_episode(2, episode_id=1)
    committer(tmp_path).commit(episode, stock.video_writer(episode))
    with (tmp_path / "ds.onbeat/committed.jsonl").open("a") as file:
        file.write('{"session_id": "0123')
    committer(tmp_path).commit(second, stock.video_writer(second))
    assert committer(tmp_path).committed() == {(stock.SESSION, 0): 0, (stock.SESSION, 1): 1}


def test_a_video_with_a_frame_too_few_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    episode = stock.make_episode(5)

    def short(key: str, path: Path) -> None:
        stock.encode(path, stock.pictures(episode.schema.pictures[0], 4))

    with pytest.raises(CommitError, match="cam0: the video has 4 packets, the episode 5 rows"):
        committer(tmp_path).commit(episode, short)
    assert not (tmp_path / "ds").exists()


def test_a_disk_error_becomes_one_line_and_the_next_try_succeeds(tmp_path: Path) -> None:
    episode = stock.make_episode(2)

    def full(key: str, path: Path) -> None:
        raise OSError(28, "No space left on device")

    c = committer(tmp_path)
    with pytest.raises(CommitError, match="No space left on device"):
        c.commit(episode, full)
    c.commit(episode, stock.video_writer(episode))
    stock.assert_decodes(tmp_path / "ds", 1, 2)


def test_a_failure_between_two_renames_is_completed_by_the_next_call(tmp_path: Path) -> None:
    first, second = stock.make_episode(1), stock.make_episode(2, episode_id=1)
    committer(tmp_path).commit(first, stock.video_writer(first))
    failures = iter([OSError(5, "Input/output error")])

    def fail_once(step: str) -> None:
        if step == "stats" and (failure := next(failures, None)):
            raise failure

    c = committer(tmp_path, fail_once)
    with pytest.raises(CommitError, match="Input/output error"):
        c.commit(second, stock.video_writer(second))
    assert c.commit(second, stock.video_writer(second)).episode_index == 1
    third = stock.make_episode(3, episode_id=2)
    assert c.commit(third, stock.video_writer(third)).episode_index == 2
    stock.assert_decodes(tmp_path / "ds", 3, 6)


def test_an_episode_without_frames_is_refused(tmp_path: Path) -> None:
    episode = stock.make_episode(0)
    with pytest.raises(CommitError, match="no frames"):
        committer(tmp_path).commit(episode, stock.video_writer(episode))
    assert not (tmp_path / "ds").exists()


def test_another_codec_is_refused(tmp_path: Path) -> None:
    first, second = stock.make_episode(2), stock.make_episode(2, episode_id=1)
    committer(tmp_path).commit(first, stock.video_writer(first))

    def av1(key: str, path: Path) -> None:
        other = stock.make_episode(2, spec=stock.replace_codec("libsvtav1"))
        stock.video_writer(other)(key, path)

    with pytest.raises(CommitError, match="is av1 yuv420p, the dataset's others are h264 yuv420p"):
        committer(tmp_path).commit(second, av1)
    stock.assert_decodes(tmp_path / "ds", 1, 2)


def test_a_file_in_the_way_is_named_before_anything_is_moved(tmp_path: Path) -> None:
    first, second = stock.make_episode(2), stock.make_episode(2, episode_id=1)
    committer(tmp_path).commit(first, stock.video_writer(first))
    orphan = tmp_path / "ds/videos/observation.images.cam0/chunk-000/file-001.mp4"
    orphan.write_bytes(b"left by somebody")
    with pytest.raises(CommitError, match=r"file-001\.mp4 is in the way"):
        committer(tmp_path).commit(second, stock.video_writer(second))
    assert orphan.read_bytes() == b"left by somebody"
    orphan.unlink()
    committer(tmp_path).commit(second, stock.video_writer(second))
    stock.assert_decodes(tmp_path / "ds", 2, 4)


def test_another_session_does_not_append_without_resume(tmp_path: Path) -> None:
    first, other = stock.make_episode(2), stock.make_episode(2, session_id="f" * 32)
    committer(tmp_path).commit(first, stock.video_writer(first))
    with pytest.raises(DatasetMismatchError, match="exists"):
        committer(tmp_path).commit(other, stock.video_writer(other))


def test_a_dataset_that_changed_under_an_interrupted_commit_is_left_alone(tmp_path: Path) -> None:
    first, second = stock.make_episode(2), stock.make_episode(2, episode_id=1)
    committer(tmp_path).commit(first, stock.video_writer(first))
    copies = Copies(tmp_path)
    committer(tmp_path, copies).commit(second, stock.video_writer(second))
    interrupted = copies.folder / str(copies.steps.index("data"))
    shutil.rmtree(interrupted / "ds")
    with pytest.raises(CommitError, match="has 0 episodes, expected 1 before or 2 after"):
        committer(interrupted)
    assert not (interrupted / "ds").exists()
