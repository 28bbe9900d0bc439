"""Found by lerobot by its name."""

import os
import signal
import time

from lerobot.policies.act.modeling_act import ACTPolicy

from .configuration_slow_act import SlowACTConfig


class SlowACTPolicy(ACTPolicy):
    config_class = SlowACTConfig
    name = "slow_act"
    inferences = 0

    def predict_action_chunk(self, batch):
        until_s = time.monotonic() + self.config.inference_s
        actions = super().predict_action_chunk(batch)
        time.sleep(max(until_s - time.monotonic(), 0))
        self.inferences += 1
        if self.inferences == self.config.dies_after:
            os.kill(os.getpid(), signal.SIGKILL)
        return actions
