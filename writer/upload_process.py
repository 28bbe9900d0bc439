"""The process that uploads, and the committer's hold on it: it may be slow, stuck or killed, and nobody waits for it.

Its link gets {"log": ...} for people and one last message, {"uploaded": ...} or {"failed": ...}.
"""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from transport.dataset_spec import UploadSpec
from transport.errors import OnbeatError
from transport.link import child_link, spawn
from writer.upload import UploadRequest, upload


class UploadProcess:
    """One run of it; ends with whoever started it."""

    def __init__(self, request: UploadRequest) -> None:
        config = {
            "root": str(request.root),
            "repo_id": request.repo_id,
            "private": request.upload.private,
            "tags": request.upload.tags,
            "card": request.card,
            "version": request.version,
        }
        self._process, self._link = spawn("writer.upload_process", config, die_with_parent=signal.SIGKILL)

    def fileno(self) -> int:
        """Readable when there is a message, and at its end."""
        return self._link.fileno()

    def receive(self) -> dict[str, Any]:
        """The next message; after its end without a last word, {"died": exit code}."""
        received = self._link.receive()
        if received is None:
            return {"died": self._process.wait()}
        return received[0]

    def stop(self) -> None:
        """End it at once; what has arrived at the Hub is not sent again by the next one."""
        self._process.kill()
        self._process.wait()
        self._link.close()


def main() -> None:
    """Entry of the process; its link's first message has the fields of the request."""
    link, config, _ = child_link()
    request = UploadRequest(
        Path(config["root"]),
        config["repo_id"],
        UploadSpec(config["private"], tuple(config["tags"])),
        config["card"],
        config["version"],
    )
    try:
        answer = {"uploaded": str(upload(request, lambda text: link.send({"log": text})))}
    except OnbeatError as error:
        answer = {"failed": str(error)}
    link.send(answer)


if __name__ == "__main__":
    main()
