"""A policy as LeRobot has its own: config.json, model.safetensors, and two pipelines of processors.

The U-Net is LeRobot's, under other names, and so is its normalisation by limits. LeRobot clips, and
steps, by its schedulers' rules; what that changes is measured by reading the folder again.
"""

import os
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from scorefield.control.data.normalizer import Normalizer
from scorefield.control.networks.lerobot_encoder import LeRobotEncoder
from scorefield.control.networks.unet1d import UNet1D
from scorefield.control.policies.diffusion_policy import DiffusionPolicy
from scorefield.control.policies.export import random_observations
from scorefield.control.policies.lerobot import (
    ACTION,
    LEROBOT_CONFIG,
    LEROBOT_WEIGHTS,
    PREDICTS,
    policy_of_lerobot,
)
from scorefield.control.policies.lerobot_observations import ENVIRONMENT, STATE
from scorefield.control.policies.lerobot_statistics import Statistics
from scorefield.files import whole_file, write_json
from scorefield.integrity import SEAL, write_seal

_ALIKE = 1e30  # a range so wide that all that is seen is the same in it


def export_to_lerobot(
    policy: DiffusionPolicy,
    folder: str | os.PathLike[str],
    *,
    environment_state: int = 0,
    seed: int = 0,
) -> float:
    """Writes the folder that LeRobot's `DiffusionPolicy.from_pretrained` reads (0.4.4 and 0.6.1).

    Args:
        policy: of states, with a U-Net that predicts eps or x0, normalised by limits.
        folder: made if need be; these files in it are replaced.
        environment_state: how many of the state's last numbers are LeRobot's
            `observation.environment_state`, without which it takes no policy of states alone; the
            others are its `observation.state`.
        seed: of the observations that both are tried on.

    Returns:
        The largest difference between the actions by LeRobot's rule and by the policy's own, on 8
        random observations, over the half range of the action. Rounding, for the samplers
        reference and ancestral; LeRobot has no other.

    Raises:
        ValueError: LeRobot has no such policy; what it lacks is named.
    """
    _check(policy, environment_state)
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / SEAL).unlink(missing_ok=True)  # of an earlier export
    config = _config(policy, environment_state)
    statistics = _statistics(policy, environment_state)
    write_json(folder / LEROBOT_CONFIG, config)
    _write(folder / LEROBOT_WEIGHTS, _weights(policy.network))
    _write_pipelines(folder, config, statistics)
    read = policy_of_lerobot(folder).to(policy.actions.scale.device)
    observations = random_observations(policy, seed)
    apart = read.act(observations, seed=seed) - policy.act(observations, seed=seed)
    half = apart.new_tensor(policy.spaces.high) - apart.new_tensor(policy.spaces.low)
    write_seal(folder)
    return float((2 * apart / half).abs().max())


def _check(policy: DiffusionPolicy, environment_state: int) -> None:
    spaces, horizon, network = policy.spaces, policy.horizons.horizon, policy.network
    if not isinstance(network, UNet1D):
        raise ValueError(
            f"LeRobot's diffusion policy has a U-Net, and this one a {type(network).__name__}; "
            "train it with --network unet"
        )
    if spaces.images and isinstance(policy.encoder, LeRobotEncoder):
        raise ValueError(
            "this policy came from LeRobot with its network of images, which is not written "
            "back; LeRobot reads the folder that it came from"
        )
    if spaces.images:
        raise ValueError(
            "LeRobot's network of images ends in a linear layer and a ReLU, which this policy's "
            "has not; policies of states are written for it"
        )
    if spaces.tasks:
        raise ValueError("LeRobot's diffusion policy is told no task; train without --task-text")
    if policy.diffusion.sampler == "renoised" and policy.diffusion.steps > 1:
        raise ValueError(
            "LeRobot cannot noise every prediction anew, as students of several steps are sampled; "
            "distil one of --steps 1"
        )
    predicts = policy.diffusion.predicts
    if predicts not in PREDICTS.values():
        raise ValueError(f"LeRobot knows no {predicts}; train with --predicts x0 or eps")
    if policy.bound is None:
        raise ValueError("LeRobot clips chunks to [-1, 1]; train with --normalizer minmax")
    multiple = 2 ** len(network.settings.widths)
    if horizon % multiple:
        raise ValueError(
            f"LeRobot wants a horizon that is a multiple of {multiple} for "
            f"{len(network.settings.widths)} levels, and this one is {horizon}; train with "
            f"--horizon {-(-horizon // multiple) * multiple}"
        )
    if not 1 <= environment_state < spaces.state:
        raise ValueError(
            f"LeRobot takes no policy of states without an observation.environment_state: say how "
            f"many of the last of the state's {spaces.state} numbers are it, 1 to "
            f"{spaces.state - 1}; got {environment_state}"
        )


def _config(policy: DiffusionPolicy, environment_state: int) -> dict[str, Any]:
    """config.json; what is not here has LeRobot's defaults, in every version."""
    horizons, diffusion, settings = policy.horizons, policy.diffusion, policy.network.settings
    state = policy.spaces.state - environment_state
    return {
        "type": "diffusion",
        "n_obs_steps": horizons.n_obs_steps,
        "horizon": horizons.horizon,
        "n_action_steps": horizons.n_action_steps,
        "drop_n_last_frames": horizons.horizon - horizons.executed.stop + 1,
        "input_features": {
            STATE: {"type": "STATE", "shape": [state]},
            ENVIRONMENT: {"type": "ENV", "shape": [environment_state]},
        },
        "output_features": {ACTION: {"type": "ACTION", "shape": [policy.spaces.action]}},
        "normalization_mapping": {
            "VISUAL": "MEAN_STD",
            "STATE": "MIN_MAX",
            "ENV": "MIN_MAX",
            "ACTION": "MIN_MAX",
        },
        "device": "cpu",
        "push_to_hub": False,
        "vision_backbone": "resnet18",
        "pretrained_backbone_weights": None,
        "use_group_norm": True,
        "spatial_softmax_num_keypoints": 32,
        "use_separate_rgb_encoder_per_camera": False,
        "down_dims": list(settings.widths),
        "kernel_size": settings.kernel,
        "n_groups": settings.groups,
        "diffusion_step_embed_dim": settings.time_features,
        "use_film_scale_modulation": True,
        "noise_scheduler_type": "DDPM" if diffusion.sampler == "ancestral" else "DDIM",
        "num_train_timesteps": diffusion.levels,
        "beta_schedule": "squaredcos_cap_v2",
        "prediction_type": next(n for n, one in PREDICTS.items() if one == diffusion.predicts),
        "clip_sample": True,
        "clip_sample_range": 1.0,
        "num_inference_steps": diffusion.steps,
    }


def _weights(network: UNet1D) -> dict[str, Tensor]:
    """By LeRobot's names; without images, conditions are in the same order in both."""
    found = {}
    for name, tensor in network.as_reference().items():
        name = re.sub(r"\.blocks\.([01])\.", lambda m: f".conv{int(m[1]) + 1}.", name)
        name = re.sub(r"^((?:down|up)_modules\.\d+\.2)\.conv\.", r"\1.", name)
        found[f"diffusion.unet.{name}"] = tensor
    return found


def _statistics(policy: DiffusionPolicy, environment_state: int) -> Statistics:
    states, split = policy.encoder.states, policy.spaces.state - environment_state
    ends = _ends(states)
    return {
        STATE: {name: end[:split] for name, end in ends.items()},
        ENVIRONMENT: {name: end[split:] for name, end in ends.items()},
        ACTION: _ends(policy.actions),
    }


def _ends(normalizer: Normalizer) -> dict[str, Tensor]:
    """What goes to -1 and to 1."""
    scale, offset = normalizer.scale.double(), normalizer.offset.double()
    still = scale == 0
    half = torch.where(still, _ALIKE, 1 / torch.where(still, 1.0, scale))
    ends = {"min": (-1 - offset) * half, "max": (1 - offset) * half}
    return {name: end.float().cpu().contiguous() for name, end in ends.items()}


def _write_pipelines(folder: Path, config: dict[str, Any], statistics: Statistics) -> None:
    inputs, outputs = config["input_features"], config["output_features"]
    before: list[dict[str, Any]] = [
        {"registry_name": "rename_observations_processor", "config": {"rename_map": {}}},
        {"registry_name": "to_batch_processor", "config": {}},
        _device(),
    ]
    tensors = {f"{n}.{kind}": end for n, one in statistics.items() for kind, end in one.items()}
    for pipeline, step, features in (
        ("policy_preprocessor", "normalizer_processor", {**inputs, **outputs}),
        ("policy_postprocessor", "unnormalizer_processor", outputs),
    ):
        first = before if pipeline == "policy_preprocessor" else []
        file = f"{pipeline}_step_{len(first)}_{step}.safetensors"
        modes = config["normalization_mapping"]
        settings = {"eps": 1e-8, "features": features, "norm_map": modes}
        steps = [*first, {"registry_name": step, "config": settings, "state_file": file}]
        if not first:
            steps.append(_device())
        write_json(folder / f"{pipeline}.json", {"name": pipeline, "steps": steps})
        _write(folder / file, tensors)


def _device() -> dict[str, Any]:
    settings = {"device": "cpu", "float_dtype": None}
    return {"registry_name": "device_processor", "config": settings}


def _write(file: Path, tensors: dict[str, Tensor]) -> None:
    with whole_file(file) as part:
        save_file({name: tensor.cpu() for name, tensor in tensors.items()}, part)
