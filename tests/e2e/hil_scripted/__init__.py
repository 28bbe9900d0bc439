"""A plugin as lerobot's `--env.discover_packages_path` loads it: scripted teleoperators and a small environment.

A script is a list of words, one a step: none, move (an intervention), success, fail (the end), again (record this
episode again). The last one is repeated.
"""

from .environment import Reach
from .leader import ScriptedLeader
from .teleoperator import ScriptedHil

__all__ = ["Reach", "ScriptedHil", "ScriptedLeader"]
