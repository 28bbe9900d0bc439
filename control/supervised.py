"""The supervisor as a process of its own, for a loop that runs in the caller's process (`record_dataset`)."""

from __future__ import annotations

from dataclasses import asdict

from control.control_handle import ControlHandle
from control.display import Display
from control.supervisor import Supervisor
from control.supervisor_settings import SupervisorSettings
from transport.dataset_spec import DatasetSpec
from transport.errors import OnbeatError
from transport.link import child_link


def main() -> int:
    """Entry of the process; its link leads to control and begins with `settings`, and control's pidfd."""
    link, first, (control_pidfd,) = child_link()
    settings = SupervisorSettings(**{**first["settings"], "spec": DatasetSpec.from_wire(first["settings"]["spec"])})
    display = Display(settings.num_episodes)
    try:
        summary = Supervisor(settings, ControlHandle(link, control_pidfd), display).run()
    except OnbeatError as error:
        link.send({"failed": str(error), "exit_code": error.exit_code})
        return error.exit_code
    print("\n".join(summary.lines()), flush=True)
    link.send(
        {
            "summary": {
                "root": summary.root,
                "episodes": summary.episodes,
                "frames": summary.frames,
                "missing_frames": summary.missing_frames,
                "problems": summary.problems,
            }
        }
    )
    return summary.exit_code


def settings_to_wire(settings: SupervisorSettings) -> dict[str, object]:
    return asdict(settings)


if __name__ == "__main__":
    raise SystemExit(main())
