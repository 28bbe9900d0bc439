"""What a session is to record, with everything in ticks."""

from __future__ import annotations

from dataclasses import dataclass

from control.episode_rules import EpisodeConfig


@dataclass(frozen=True, slots=True)
class SessionPlan:
    """What is to be recorded; all lengths in ticks.

    Attributes:
        tasks: one for each episode, and from the first again; empty: `task` for all.
        tasks_by_take: whether an episode that is not kept uses its task up; else the next one gets it.
        start_by_key: whether each episode waits for the operator's start.
        ask_task: whether each episode waits for a task that the operator types.
        review_last: whether the last episode waits for the operator before it is final.
    """

    task: str
    num_episodes: int
    episode: EpisodeConfig
    reset_ticks: int = 0
    tasks: tuple[str, ...] = ()
    tasks_by_take: bool = False
    start_by_key: bool = False
    ask_task: bool = False
    review_last: bool = False

    def task_of(self, episode_id: int, recorded: int) -> str:
        """The task of a take, with so many episodes kept before it."""
        if not self.tasks:
            return self.task
        return self.tasks[(episode_id if self.tasks_by_take else recorded) % len(self.tasks)]
