"""Whether this machine could upload a dataset, asked before anything is recorded.

The question is put by a process of its own: the writer's ingest shall hold no token and wait for no server.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from transport.errors import UsageError
from transport.link import child_link, spawn
from writer.errors import UploadError
from writer.hub_errors import in_words, passes
from writer.hub_files import check_same_dataset, local_files

_LIMIT_S = 15.0
_ADVICE = "or leave --dataset.push_to_hub away"


def check_login(repo_id: str, root: Path) -> str:
    """Ask the Hub who we are, and whether the repository is free or this dataset's.

    Returns:
        A warning where that cannot be known now; the upload will be tried all the same. Empty when all is well.

    Raises:
        UsageError: the upload cannot succeed, and what to do.
    """
    config = {"repo_id": repo_id, "root": str(root)}
    process, link = spawn("writer.hub_login", config, die_with_parent=signal.SIGKILL)
    try:
        answer = link.receive(_LIMIT_S)
    except TimeoutError:
        return f"the Hub did not answer within {_LIMIT_S:g} s; the upload of {repo_id} is tried after the session"
    finally:
        process.kill()
        process.wait()
        link.close()
    if answer is None:
        return f"whether {repo_id} can be uploaded could not be found out; it is tried after the session"
    if answer[0]["refused"]:
        raise UsageError(answer[0]["refused"])
    return str(answer[0]["warning"])


def ask_hub(repo_id: str, root: Path) -> None:
    """As `check_login`, in this process.

    Raises:
        UsageError: as there.
        UploadError: the Hub cannot be asked now.
    """
    try:
        from huggingface_hub import HfApi, constants
        from huggingface_hub.errors import RepositoryNotFoundError
    except ModuleNotFoundError as error:
        raise UsageError(
            f"uploading needs the package {error.name}, which the writer's machine has not; pip install "
            f"'onbeat[lerobot]' there, {_ADVICE}"
        ) from error
    if constants.is_offline_mode():
        raise UsageError(f"HF_HUB_OFFLINE is set on the writer's machine, which forbids uploading; unset it, {_ADVICE}")
    from writer.upload import remote_files

    api = HfApi()
    try:
        _check_owner(repo_id, api.whoami())
        try:
            remote = remote_files(api, repo_id)
        except RepositoryNotFoundError:
            return  # it will be made
        check_same_dataset(repo_id, remote, local_files(root) if root.exists() else {})
    except UsageError:
        raise
    except Exception as error:
        why = in_words(error, repo_id)
        if passes(error):
            raise UploadError(f"{why}; the upload of {repo_id} is tried after the session") from error
        raise UsageError(f"{why}, {_ADVICE}") from error


def _check_owner(repo_id: str, who: dict[str, Any]) -> None:
    owner, token = repo_id.split("/")[0], (who.get("auth") or {}).get("accessToken") or {}
    if token.get("role") == "read":
        raise UsageError(
            f"the login of the writer's machine ({who['name']}) may only read; run `hf auth login` there with a token "
            f"that may write, {_ADVICE}"
        )
    names = [who["name"], *(each["name"] for each in who.get("orgs", []))]
    # A fine-grained token need not show the organizations that it may write to.
    if owner not in names and token.get("role") != "fineGrained":
        raise UsageError(
            f"--dataset.repo_id={repo_id} found, but the writer's machine is logged in to the Hub as {names[0]}; set "
            f"it to {' or '.join(f'{name}/...' for name in names)}, {_ADVICE}"
        )


def main() -> None:
    """Entry of the process; its link's first message has `repo_id` and `root`."""
    link, config, _ = child_link()
    answer = {"refused": "", "warning": ""}
    try:
        ask_hub(config["repo_id"], Path(config["root"]))
    except UsageError as error:
        answer["refused"] = str(error)
    except UploadError as error:
        answer["warning"] = str(error)
    link.send(answer)


if __name__ == "__main__":
    main()
