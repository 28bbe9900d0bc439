"""Found by lerobot beside `modeling_slow_act`."""

from dataclasses import dataclass

from lerobot.configs import PreTrainedConfig
from lerobot.policies.act.configuration_act import ACTConfig


@PreTrainedConfig.register_subclass("slow_act")
@dataclass
class SlowACTConfig(ACTConfig):
    # Seconds that an inference takes.
    inference_s: float = 0.0
    # Inferences after which the process kills itself; 0 for never.
    dies_after: int = 0
