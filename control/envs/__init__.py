"""The built-in environment, for trying onbeat without a robot.

Importing this package registers `onbeat/Tabletop-v0`, so all of these work:

    import control.envs; gymnasium.make("onbeat/Tabletop-v0", cameras=2)
    gymnasium.make("control.envs:onbeat/Tabletop-v0", cameras=2)
"""

from __future__ import annotations

import gymnasium

TABLETOP_ID = "onbeat/Tabletop-v0"


def register() -> None:
    """Make `onbeat/Tabletop-v0` known to gymnasium; harmless when it already is.

    Gymnasium versions that load entry points call this inside the namespace of the entry point's name, `onbeat`, and
    put it in front themselves; the same identifier results.
    """
    if TABLETOP_ID in gymnasium.registry:
        return
    gymnasium.register(
        id=TABLETOP_ID,
        entry_point="control.envs.tabletop:Tabletop",
        # The checker compares whole pictures in the first reset and step, which the loop would see as late ticks.
        disable_env_checker=True,
    )


register()
