"""An ACT that nobody has trained, as lerobot saves one."""

from __future__ import annotations

from pathlib import Path


def make(folder: Path, *, width: int, height: int) -> Path:
    """Save one for a follower with a camera `front`; returns what `--policy.path` takes."""
    from lerobot.configs import FeatureType, NormalizationMode, PolicyFeature
    from lerobot.policies import make_pre_post_processors
    from lerobot.policies.act.configuration_act import ACTConfig
    from lerobot.policies.act.modeling_act import ACTPolicy

    config = ACTConfig(
        input_features={
            "observation.state": PolicyFeature(FeatureType.STATE, (6,)),
            "observation.images.front": PolicyFeature(FeatureType.VISUAL, (3, height, width)),
        },
        output_features={"action": PolicyFeature(FeatureType.ACTION, (6,))},
        normalization_mapping=dict.fromkeys(("VISUAL", "STATE", "ACTION"), NormalizationMode.IDENTITY),
        pretrained_backbone_weights=None,
        dim_model=32,
        n_heads=2,
        dim_feedforward=32,
        chunk_size=60,
        n_action_steps=40,
        device="cpu",
        push_to_hub=False,
    )
    ACTPolicy(config).save_pretrained(folder)
    for processor, name in zip(make_pre_post_processors(config), ("preprocessor", "postprocessor"), strict=True):
        processor.save_pretrained(folder, config_filename=f"policy_{name}.json")
    return folder
