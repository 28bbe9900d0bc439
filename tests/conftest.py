"""What all tests share.

Tests that talk to emulated servos lose against lerobot's own time-outs when other tests run beside them: they are
marked `serial`, and `make test` runs them by themselves (`--serial=only`), after the others (`--serial=not`). Whole
sessions beside stock LeRobot, a minute or more each, are marked `acceptance`; `make acceptance` runs them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says nothing on a machine that is shared.
settings.register_profile("onbeat", deadline=None)
settings.load_profile("onbeat")


def pytest_addoption(parser: pytest.Parser) -> None:
    for name, about in (("serial", "tests that run by themselves"), ("acceptance", "long proofs beside stock LeRobot")):
        parser.addoption(f"--{name}", choices=("any", "only", "not"), default="any", help=about)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for name in ("serial", "acceptance"):
        wanted = config.getoption(f"--{name}")
        if wanted != "any":
            keep = [item for item in items if (item.get_closest_marker(name) is not None) == (wanted == "only")]
            config.hook.pytest_deselected(items=[item for item in items if item not in set(keep)])
            items[:] = keep


@pytest.fixture(autouse=True)
def _normal_priority_afterwards() -> Iterator[None]:
    """SVT-AV1, opened by root, gives its caller's thread real-time priority 99; the next test shall not run with it."""
    yield
    for task in Path("/proc/self/task").iterdir():
        try:
            if os.sched_getscheduler(int(task.name)) != os.SCHED_OTHER:
                os.sched_setscheduler(int(task.name), os.SCHED_OTHER, os.sched_param(0))
        except ProcessLookupError:
            continue
