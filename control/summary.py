"""What a session amounted to, collected from the writer's words, and said at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Summary:
    """Counts by the final states of episodes.

    Attributes:
        frames: rows of the committed episodes.
        hub: where the dataset was uploaded to, with how much; empty if it was not.
        missing_frames: rows minus packets demuxed from the committed files, summed over cameras and episodes.
    """

    requested: int
    repo_id: str = ""
    root: str = ""
    frames: int = 0
    missing_frames: int = 0
    states: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    exit_code: int = 0
    hub: str = ""
    _seen: dict[int, str] = field(default_factory=dict)

    @property
    def episodes(self) -> int:
        return self.states["committed"]

    def episode(self, final: Mapping[str, Any]) -> None:
        """Take an episode's final state; the writer repeats them after each reconnection."""
        if final["episode"] in self._seen:
            return
        self._seen[final["episode"]] = final["state"]
        self.states[final["state"]] += 1
        if final["state"] == "committed":
            self.frames += final["frames"]
            self.missing_frames += final["missing"]
        elif final["state"] in ("failed", "aborted"):
            why = f": {final['detail']}" if final["detail"] else ""
            self.problems.append(f"episode {final['episode']} {final['state']}{why}; its journal is kept")
            self.exit_code = self.exit_code or 1

    def failed(self, why: str, exit_code: int) -> None:
        """The session ended before its time."""
        self.problems.append(why)
        self.exit_code = self.exit_code or exit_code

    def not_uploaded(self, why: str) -> None:
        """An upload was asked for and did not happen."""
        again = f"`onbeat push {self.root}` on the writer's machine uploads it"
        self.failed(f"not uploaded: {why}; the recording is complete, {again}", 1)

    def lines(self) -> list[str]:
        """For the terminal."""
        if not self.episodes:
            return ["nothing was recorded", *self.problems]
        others = [f"{n} {state}" for state, n in sorted(self.states.items()) if state != "committed"]
        return [
            f"dataset   {self.root}",
            f"episodes  {self.episodes}" + (f" ({', '.join(others)})" if others else ""),
            f"frames    {self.frames}",
            f"missing   {self.missing_frames}",
            *([f"hub       {self.hub}"] if self.hub else []),
            *(f"problem   {problem}" for problem in self.problems),
            f"check     onbeat verify {self.root}",
            f"open      LeRobotDataset('{self.repo_id}', root='{self.root}')",
        ]
