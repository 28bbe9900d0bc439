"""A writer that `onbeat record` starts for itself: one session, then it ends."""

from __future__ import annotations

from transport.errors import OnbeatError
from transport.link import child_link
from writer.parent import WriterParent


def main() -> int:
    """Entry of the process; its link's first message has `address`, the supervisor's pidfd and the log ring."""
    link, config, (supervisor_fd, ring_fd) = child_link()

    def log(text: str) -> None:
        link.offer({"log": text})

    parent = WriterParent(
        config["address"],
        None,
        once=True,
        supervisor_fd=supervisor_fd,
        log=log,
        ring_fd=ring_fd,
    )
    try:
        parent.run()
    except OnbeatError as error:
        link.send({"failed": str(error), "exit_code": error.exit_code})
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
