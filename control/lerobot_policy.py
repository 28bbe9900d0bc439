"""A stock lerobot policy with its own pre- and post-processors, as lerobot's own recorder of policies loads it.

Runs in the policy's process only: importing it imports torch.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lerobot.configs import FeatureType, PreTrainedConfig
from lerobot.configs.parser import PluginLoadError, load_plugin
from lerobot.datasets import LeRobotDatasetMetadata
from lerobot.policies import make_policy, make_pre_post_processors
from lerobot.policies.utils import prepare_observation_for_inference
from lerobot.utils.import_utils import register_third_party_plugins

from control.policy_memory import Actions
from control.policy_observation import Observation, observation_keys, zeros
from transport.errors import UsageError
from transport.schema import Schema

# These keep what they saw and did in `select_action`, which their configuration does not tell.
_STATEFUL = frozenset(["lingbot_va"])
_WARM_UPS = 2


def configure(path: str, overrides: Sequence[str], plugins: Sequence[str]) -> PreTrainedConfig:
    """Read a policy's configuration with overrides from the command line, as `--policy.path` does in lerobot.

    Args:
        path: a folder, or a repository of the Hub.
        overrides: flags without `policy.` in front: `--device=cpu`, `--n_action_steps=8`, ...
        plugins: packages to import first, that register policies.

    Raises:
        UsageError: there is no such policy, or it has no such option.
    """
    register_third_party_plugins()
    said = io.StringIO()
    try:
        for package in plugins:
            load_plugin(package)
        revision = next((o.partition("=")[2] for o in overrides if o.startswith("--pretrained_revision=")), None)
        # argparse says what it does not like on stderr, behind its whole usage.
        with contextlib.redirect_stderr(said):
            config: PreTrainedConfig = PreTrainedConfig.from_pretrained(
                path, revision=revision, cli_overrides=list(overrides)
            )
    except SystemExit as error:
        why = said.getvalue().strip().rpartition("error: ")[2]
        raise UsageError(f"--policy.*: {_line(why)}; see the policy's config.json for what there is") from error
    except (OSError, ValueError, PluginLoadError) as error:
        raise UsageError(
            f"--policy.path={path}: {_line(error)}; expected a folder with config.json and model.safetensors, or a "
            "repository of the Hub"
        ) from error
    except Exception as error:
        raise UsageError(f"--policy.path={path}: {type(error).__name__}: {_line(error)}") from error
    config.pretrained_path = Path(path)
    return config


class LerobotPolicy:
    """Implements `control.policy_process.LoadedPolicy`.

    Args:
        schema: of the recording; `fps`, `robot_type` and `rename_map` (stream to the policy's name for it) as lerobot.

    Raises:
        UsageError: the policy does not fit the recording.
    """

    def __init__(
        self, config: Any, schema: Schema, fps: int, robot_type: str | None, rename_map: Mapping[str, str]
    ) -> None:
        self._config, self._robot_type, self._task = config, robot_type, ""
        self._device = torch.device(config.device)
        self.keys = [key for key in observation_keys(schema) if rename_map.get(key, key) in config.input_features]
        self._check(schema, rename_map)
        with tempfile.TemporaryDirectory(prefix="onbeat-policy-") as folder:
            # What lerobot's recorder passes is the metadata of the dataset that is to be recorded, still empty.
            meta = LeRobotDatasetMetadata.create(
                "onbeat/policy", fps, schema.features(), robot_type=robot_type, root=Path(folder) / "dataset"
            )
            self._policy = make_policy(config, ds_meta=meta, rename_map=dict(rename_map))
        self._policy.eval()
        self._before, self._after = make_pre_post_processors(
            policy_cfg=config,
            pretrained_path=str(config.pretrained_path),
            pretrained_revision=config.pretrained_revision,
            preprocessor_overrides={
                "device_processor": {"device": config.device},
                "rename_observations_processor": {"rename_map": dict(rename_map)},
            },
        )
        self._size = int(np.prod(next(s.shape for s in schema.streams if s.key == "action")))
        self.by_chunks = (
            getattr(config, "n_obs_steps", 1) == 1
            and getattr(config, "temporal_ensemble_coeff", None) is None
            and config.type not in _STATEFUL
        )
        self._warm_up(zeros(schema, self.keys))
        self.needs_every = not self.by_chunks and (
            getattr(config, "n_obs_steps", 1) > 1
            or getattr(config, "temporal_ensemble_coeff", None) is not None
            or getattr(config, "n_action_steps", 1) > 1
            or config.type in _STATEFUL
        )
        self.steps = max(min(getattr(config, "n_action_steps", None) or self.rows, self.rows), 1)

    @property
    def description(self) -> str:
        """One line for people."""
        what = f"chunks of {self.rows} actions, asked again after {self.steps}" if self.by_chunks else "single actions"
        return (
            f"policy {self._config.type} on {self._config.device}: {what}; an inference takes "
            f"{self.inference_s * 1e3:.0f} ms"
        )

    def reset(self, task: str) -> None:
        """A new episode begins."""
        self._task = task
        self._policy.reset()
        self._before.reset()
        self._after.reset()

    def infer(self, observation: Observation) -> Actions:
        """Actions of shape (rows, elements), post-processed one by one as lerobot does."""
        device = self._device
        amp = device.type == "cuda" and self._config.use_amp
        with torch.inference_mode(), torch.autocast(device.type) if amp else contextlib.nullcontext():
            prepared = prepare_observation_for_inference(observation, device, self._task, self._robot_type)
            batch = self._before(prepared)
            if self.by_chunks:
                chunk = self._policy.predict_action_chunk(batch)
            else:
                chunk = self._policy.select_action(batch).unsqueeze(1)
            rows = [self._after(chunk[:, i]).squeeze(0).cpu().numpy() for i in range(chunk.shape[1])]
        return np.stack(rows).astype(np.float64)

    def _warm_up(self, observation: Observation) -> None:
        for attempt in range(_WARM_UPS):
            try:
                self.reset("")
                started_s = time.monotonic()
                actions = self.infer(dict(observation))
            except Exception:
                if attempt or not self.by_chunks:
                    raise
                # Some have no chunks without the queues that `select_action` fills.
                self.by_chunks = False
                self.reset("")
                actions = self.infer(dict(observation))
            self.inference_s = time.monotonic() - started_s
        self.rows, size = actions.shape
        if size != self._size:
            raise UsageError(f"the policy's actions have {size} elements, the recording's {self._size}")
        self.reset("")

    def _check(self, schema: Schema, rename_map: Mapping[str, str]) -> None:
        features = self._config.input_features
        missing = set(features) - {rename_map.get(key, key) for key in self.keys}
        # Policies may declare more cameras than a robot has.
        needed = sorted(key for key in missing if features[key].type is not FeatureType.VISUAL)
        pictures = [key for key, feature in features.items() if feature.type is FeatureType.VISUAL]
        if needed or (pictures and missing.issuperset(pictures)):
            raise UsageError(
                f"the policy looks at {', '.join(sorted(missing))}, the recording has "
                f"{', '.join(observation_keys(schema))}; map names with --rename_map"
            )
        for stream in schema.streams:
            feature = features.get(rename_map.get(stream.key, stream.key))
            if feature is not None and feature.type is FeatureType.STATE and tuple(feature.shape) != stream.shape:
                raise UsageError(
                    f"the policy's {stream.key} has shape {tuple(feature.shape)}, the recording's {stream.shape}"
                )


def load(config: PreTrainedConfig, message: Mapping[str, Any]) -> LerobotPolicy:
    """Weights, processors and a warm-up.

    Args:
        message: `schema`, `fps`, `robot_type`, `rename_map` of the recording.

    Raises:
        UsageError: the policy cannot be loaded, or does not fit.
    """
    try:
        schema = Schema.from_wire(message["schema"])
        return LerobotPolicy(config, schema, message["fps"], message["robot_type"], message["rename_map"])
    except UsageError:
        raise
    except Exception as error:
        raise UsageError(
            f"--policy.path={config.pretrained_path} cannot be loaded: {type(error).__name__}: {_line(error)}"
        ) from error


def _line(error: object) -> str:
    return " ".join(f"{error}".split())
