"""Uploads to a stand-in of the Hub, with faults: what stock LeRobot downloads, and what was sent how often."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import crashed
import huggingface_hub
import numpy as np
import pytest
import stock
from lerobot.datasets.lerobot_dataset import LeRobotDataset

from scripts.emulators.hub import CUT, StandIn
from transport.dataset_spec import UploadSpec
from transport.errors import UsageError
from writer import push_cli, recover_cli
from writer.commit import Committer
from writer.errors import UploadError
from writer.hub_login import ask_hub
from writer.lerobot_private import hub_card
from writer.upload import UploadRequest, upload
from writer.workdir import RootLock

# Of huggingface_hub's own, when it sends a file by git-LFS.
pytestmark = [pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning"), pytest.mark.timeout(40)]
NAME = "me/pick"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[StandIn]:
    with StandIn() as stand_in:
        constants = huggingface_hub.constants
        template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, stand_in.url)
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "ENDPOINT", stand_in.url)
        monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", stand_in.url)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
        monkeypatch.setenv("HF_TOKEN", "hf_good")
        huggingface_hub.utils.disable_progress_bars()
        yield stand_in


def _record(root: Path, first: int, count: int) -> None:
    committer = Committer(root, root.with_name(root.name + ".onbeat"), stock.SPEC, stock.schema())
    for i in range(first, first + count):
        episode = stock.make_episode(3 + i, episode_id=i)
        committer.commit(episode, stock.video_writer(episode))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded")
    _record(folder / "ds", 0, 2)
    return folder


@pytest.fixture
def root(tmp_path: Path, recorded: Path) -> Path:
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    return tmp_path / "ds"


def _request(root: Path, spec: UploadSpec = UploadSpec(), name: str = NAME) -> UploadRequest:  # noqa: B008 - immutable
    return UploadRequest(root, name, spec, *hub_card(root, name, spec.tags))


def _files(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_the_repository_is_what_stock_makes_and_stock_downloads_it(
    hub: StandIn, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Stock has the card checked at huggingface.co, whatever the endpoint is.
    monkeypatch.setattr(huggingface_hub.RepoCard, "validate", lambda *arguments, **named: None)
    before = _files(root)
    done = upload(_request(root, UploadSpec(private=True, tags=("so101", "pick"))), print, pauses_s=())
    assert _files(root) == before
    assert (
        str(done) == f"{hub.url}/datasets/me/pick ({len(before)} files, {sum(map(len, before.values())) / 1e6:.1f} MB)"
    )
    assert any(path.startswith("meta/onbeat/") for path in before)
    ours = hub.repositories[NAME]
    local = LeRobotDataset(NAME, root=root, video_backend="pyav")
    local.repo_id = "me/stock"
    local.push_to_hub(tags=["so101", "pick"], private=True)
    theirs = hub.repositories["me/stock"]
    assert (ours.private, ours.tags.keys(), ours.large) == (theirs.private, theirs.tags.keys(), theirs.large)
    assert ours.files == {**theirs.files, "README.md": theirs.files["README.md"].replace(b"me/stock", b"me/pick")}
    assert ours.files == {**before, "README.md": ours.files["README.md"]}
    assert ours.tags == {"v3.0": ours.sha}

    there = LeRobotDataset(NAME, root=tmp_path / "downloaded", video_backend="pyav")
    assert (there.num_episodes, len(there)) == (local.num_episodes, len(local)) == (2, 7)
    for i in range(len(local)):
        for key, value in local[i].items():
            np.testing.assert_array_equal(np.asarray(there[i][key]), np.asarray(value), err_msg=key)


def test_where_xet_is_installed_its_way_of_committing_works_too(
    hub: StandIn, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All but its transfer of contents: the stand-in takes every file inside the commit."""
    pytest.importorskip("hf_xet")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_DISABLE_XET", False)
    hub.large = ()
    hub.fault("POST .*/commit/main", 500)
    upload(_request(root), print, pauses_s=())
    repository = hub.repositories[NAME]
    assert {**_files(root), "README.md": repository.files["README.md"]} == repository.files
    assert (repository.tags, hub.sent) == ({"v3.0": repository.sha}, {})


@pytest.mark.parametrize(
    ("request_line", "answer", "times", "pauses"),
    [
        ("PUT /lfs/", 500, 2, 0),  # which huggingface_hub repeats itself
        ("PUT /lfs/", CUT, 1, 0),
        ("POST /api/repos/create", 503, 2, 2),
        ("POST .*/commit/main", CUT, 1, 1),
        ("POST .*/tag/main", 500, 1, 1),
    ],
)
def test_what_passes_is_tried_again_and_nothing_is_sent_twice(
    hub: StandIn, root: Path, request_line: str, answer: int | str, times: int, pauses: int
) -> None:
    hub.fault(request_line, answer, times)
    told: list[str] = []
    slept: list[float] = []
    upload(_request(root), told.append, pauses_s=(0.5, 0.6), sleep=slept.append)
    assert slept == [0.5, 0.6][:pauses]
    assert len(told) == pauses
    large = [data for path, data in _files(root).items() if path.endswith((".mp4", ".parquet"))]
    assert hub.sent == {hashlib.sha256(data).hexdigest(): 1 for data in large}
    assert hub.repositories[NAME].tags == {"v3.0": hub.repositories[NAME].sha}


@pytest.mark.parametrize(
    ("request_line", "answer", "message"),
    [
        ("POST .*/commit/main", 403, r"may not write me/pick \(403: ordered\); run `hf auth login`"),
        ("POST .*/preupload/main", 401, r"\(401\); run `hf auth login`"),
        ("POST .*/preupload/main", 404, r"me/pick is not there, .*\(404\); run `hf auth login`"),
        ("POST .*/commit/main", 400, r"the Hub answered 400: .*ordered"),
    ],
)
def test_what_does_not_pass_is_asked_once(
    hub: StandIn, root: Path, request_line: str, answer: int, message: str
) -> None:
    fault = hub.fault(request_line, answer, 9)
    with pytest.raises(UploadError, match=message) as found:
        upload(_request(root), pytest.fail, sleep=pytest.fail)
    assert "\n" not in str(found.value)
    assert fault.times == 8


def test_gives_up_after_the_last_pause(hub: StandIn, root: Path) -> None:
    hub.fault("POST /api/repos/create", 502, 9)
    with pytest.raises(UploadError, match="the Hub answered 502"):
        upload(_request(root), print, pauses_s=(0, 0), sleep=lambda s: None)
    assert hub.requests["POST /api/repos/create"] == 3


def test_after_more_episodes_only_what_is_new_is_sent(hub: StandIn, root: Path) -> None:
    upload(_request(root), print, pauses_s=())
    first = dict(hub.sent)
    _record(root, 2, 1)
    upload(_request(root), print, pauses_s=())
    assert all(hub.sent[oid] == 1 for oid in first)
    repository = hub.repositories[NAME]
    assert {**_files(root), "README.md": repository.files["README.md"]} == repository.files
    assert repository.tags == {"v3.0": repository.sha}


def test_two_datasets_are_not_mixed_in_one_repository(hub: StandIn, root: Path) -> None:
    upload(_request(root), print, pauses_s=())
    hub.repositories[NAME].files["data/chunk-000/file-009.parquet"] = b"another's"
    before = dict(hub.repositories[NAME].files)
    for ask in (lambda: ask_hub(NAME, root), lambda: upload(_request(root), print, pauses_s=())):
        with pytest.raises(UsageError, match=r"has 1 files that this dataset has not, such as data/chunk-000/file-009"):
            ask()
    assert hub.repositories[NAME].files == before


@pytest.mark.parametrize(
    ("name", "token", "role", "status", "message"),
    [
        ("me/new", None, "write", None, r"no login to the Hub found; run `hf auth login`.*HF_TOKEN"),
        ("me/new", "hf_bad", "write", None, r"does not know the login .*401\); run `hf auth login`"),
        ("me/new", "hf_good", "read", None, r"may only read; run `hf auth login`"),
        ("you/new", "hf_good", "write", None, r"--dataset.repo_id=you/new found, .*as me; set it to me/... or lab/..."),
        ("me/new", "hf_good", "write", 503, ""),
    ],
)
def test_who_cannot_upload_is_told_before(
    hub: StandIn,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    name: str,
    token: str | None,
    role: str,
    status: int | None,
    message: str,
) -> None:
    hub.role = role
    if token is None:
        monkeypatch.delenv("HF_TOKEN")
    else:
        monkeypatch.setenv("HF_TOKEN", token)
    if status is not None:
        hub.fault("GET /api/whoami-v2", status, 9)
    expected = UploadError if status is not None else UsageError
    with pytest.raises(expected, match=message or "503.*is tried after the session") as found:
        ask_hub(name, tmp_path / "nothing yet")
    assert message == "" or "--dataset.push_to_hub" in str(found.value)


@pytest.mark.parametrize("name", ["me/new", "lab/new"])
def test_who_can_upload_is_not_stopped(hub: StandIn, tmp_path: Path, name: str) -> None:
    ask_hub(name, tmp_path / "nothing yet")
    assert hub.repositories == {}


def test_offline_is_said(hub: StandIn, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UsageError, match="HF_HUB_OFFLINE is set"):
        ask_hub(NAME, root)
    with pytest.raises(UploadError, match="HF_HUB_OFFLINE is set"):
        upload(_request(root), print, pauses_s=())
    assert not hub.requests


def test_recover_carries_out_the_upload_that_a_crash_prevented(
    hub: StandIn, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "ds"
    crashed.leave(crashed.session(root, upload=True), 0, 3, crashed.KEPT)
    hub.fault("GET /api/whoami-v2", 401)
    name = stock.SPEC.repo_id
    assert recover_cli.main([str(root)]) == 1
    assert f"upload   to {name} failed: the Hub does not know the login" in capsys.readouterr().out
    stock.assert_decodes(root, 1, 3)
    hub.user = name.split("/")[0]
    assert recover_cli.main([str(root), "--dry-run"]) == 0
    assert f"found    the upload to {name} is due" in capsys.readouterr().out
    assert recover_cli.main([str(root)]) == 0
    assert f"uploaded to {hub.url}/datasets/{name} (" in capsys.readouterr().out
    assert hub.repositories[name].private
    assert hub.repositories[name].files == {**_files(root), "README.md": hub.repositories[name].files["README.md"]}
    assert not root.with_name("ds.onbeat").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repo_id=me/pick"], "holds no dataset with episodes"),
        ([], "no upload of .* is due, and no --repo_id given"),
        (["--repo_id=nobody"], "expected owner/name"),
    ],
)
def test_what_cannot_be_pushed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert push_cli.main([str(tmp_path / "nothing"), *arguments]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(f"onbeat push: not uploaded: .*{message}.*\n", said), said
    assert not list(tmp_path.iterdir())


def test_any_dataset_is_pushed_by_hand_but_none_that_is_being_recorded(
    hub: StandIn, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [str(root), "--repo_id=lab/other", "--private=true", "--tags=a,b"]
    lock = RootLock(root, "somebody")
    assert push_cli.main(asked) == 2
    assert "is being recorded by somebody" in capsys.readouterr().err
    lock.release()
    assert push_cli.main(asked) == 0
    repository = hub.repositories["lab/other"]
    assert repository.private
    assert b"- a\n- b\n" in repository.files["README.md"]
    assert not root.with_name("ds.onbeat").exists()
