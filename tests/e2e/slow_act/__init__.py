"""An ACT whose inference takes as long as it is told: a policy plugin for tests, `--policy.discover_packages_path`."""

from .configuration_slow_act import SlowACTConfig as SlowACTConfig
