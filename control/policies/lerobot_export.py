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
from scorefield.control.networks.settings import LeRobotEncoderSettings
from scorefield.control.networks.unet1d import UNet1D
from scorefield.control.policies.diffusion_policy import DiffusionPolicy
from scorefield.control.policies.export import random_observations
from scorefield.control.policies.lerobot import (
    ACTION,
    LEROBOT_CONFIG,
    LEROBOT_WEIGHTS,
    PREDICTS,
    LeRobotFeatures,
    crop_of_ratio,
    policy_of_lerobot,
)
from scorefield.control.policies.lerobot_cameras import DEPTHS, camera_as_lerobot
from scorefield.control.policies.lerobot_observations import ENVIRONMENT, STATE, names_of_cameras
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
        policy: with a U-Net that predicts eps or x0, normalised by limits; of states, or of a state
            and images, seen by LeRobot's own network of images (`LeRobotEncoderSettings`). The
            camera NAME is LeRobot's observation.images.NAME, and a lone `image` observation.image.
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
    features = LeRobotFeatures(
        policy.spaces.state - environment_state,
        environment_state,
        names_of_cameras(policy.spaces.images),
        _seen_by(policy).keypoints,
    )
    config = _config(policy, features)
    write_json(folder / LEROBOT_CONFIG, config)
    _write(folder / LEROBOT_WEIGHTS, _weights(policy, features))
    _write_pipelines(folder, config, _statistics(policy, features))
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
    if network.fourier is not None:
        raise ValueError(
            "LeRobot's U-Net is given no Fourier features of what is observed; train it with "
            "--frequencies 0"
        )
    if spaces.images:
        _check_images(policy)
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
    if spaces.images:
        if environment_state >= spaces.state:
            raise ValueError(
                f"LeRobot's policies need an observation.state: of the state's {spaces.state} "
                f"numbers, 0 to {spaces.state - 1} can be the observation.environment_state; got "
                f"{environment_state}"
            )
    elif not 1 <= environment_state < spaces.state:
        raise ValueError(
            f"LeRobot takes no policy of states without an observation.environment_state: say how "
            f"many of the last of the state's {spaces.state} numbers are it, 1 to "
            f"{spaces.state - 1}; got {environment_state}"
        )


def _check_images(policy: DiffusionPolicy) -> None:
    spaces, settings = policy.spaces, policy.encoder.settings
    if not isinstance(settings, LeRobotEncoderSettings):
        raise ValueError(
            "LeRobot's network of images ends in a linear layer and a ReLU, which this policy's "
            "has not; train with --image-encoder lerobot"
        )
    if not spaces.state:
        raise ValueError(
            "LeRobot's policies need an observation.state beside images; train with --observe both"
        )
    if len(set(spaces.images.values())) > 1:
        sizes = ", ".join(f"{name} {h} x {w}" for name, (h, w) in spaces.images.items())
        raise ValueError(
            f"LeRobot wants the images of all cameras in one size, and they are {sizes}; record or "
            "resize them alike, or train with one of the --cameras"
        )
    if settings.blocks not in DEPTHS.values():
        raise ValueError(f"LeRobot has ResNets of {DEPTHS}; this policy's has {settings.blocks}")
    if settings.resize is not None and _crop_ratio(settings) is None:
        raise ValueError(
            f"LeRobot cuts resized images by one ratio, and no one makes {settings.crop} of "
            f"{settings.resize}"
        )


def _seen_by(policy: DiffusionPolicy) -> LeRobotEncoderSettings:
    """How the images are seen; LeRobot's defaults, where there are none."""
    settings = policy.encoder.settings
    return settings if isinstance(settings, LeRobotEncoderSettings) else LeRobotEncoderSettings()


def _crop_ratio(settings: LeRobotEncoderSettings) -> float | None:
    """The crop_ratio of images that are resized; None: there is none that gives the crop."""
    if settings.resize is None or settings.crop is None:
        return 1.0
    for kept, side in zip(settings.crop, settings.resize, strict=True):
        ratio = (kept + 0.5) / side  # LeRobot rounds down
        if ratio < 1 and crop_of_ratio(settings.resize, ratio) == settings.crop:
            return ratio
    return 1.0 if settings.crop == settings.resize else None


def _config(policy: DiffusionPolicy, features: LeRobotFeatures) -> dict[str, Any]:
    """config.json; what is not here has LeRobot's defaults, in every version."""
    horizons, diffusion, settings = policy.horizons, policy.diffusion, policy.network.settings
    seen, images = _seen_by(policy), policy.spaces.images
    inputs: dict[str, Any] = {STATE: {"type": "STATE", "shape": [features.state]}}
    for name, feature in features.cameras.items():
        inputs[feature] = {"type": "VISUAL", "shape": [3, *images[name]]}
    if features.environment:
        inputs[ENVIRONMENT] = {"type": "ENV", "shape": [features.environment]}
    return {
        "type": "diffusion",
        "n_obs_steps": horizons.n_obs_steps,
        "horizon": horizons.horizon,
        "n_action_steps": horizons.n_action_steps,
        "drop_n_last_frames": horizons.horizon - horizons.executed.stop + 1,
        "input_features": inputs,
        "output_features": {ACTION: {"type": "ACTION", "shape": [policy.spaces.action]}},
        "normalization_mapping": {
            "VISUAL": "MEAN_STD",
            "STATE": "MIN_MAX",
            "ENV": "MIN_MAX",
            "ACTION": "MIN_MAX",
        },
        "device": "cpu",
        "push_to_hub": False,
        "vision_backbone": next(name for name, blocks in DEPTHS.items() if blocks == seen.blocks),
        "pretrained_backbone_weights": None,
        "resize_shape": seen.resize,
        "crop_ratio": _crop_ratio(seen),
        "crop_shape": seen.crop,
        "crop_is_random": True,
        "use_group_norm": seen.norm == "group",
        "spatial_softmax_num_keypoints": seen.keypoints,
        "use_separate_rgb_encoder_per_camera": not seen.shared,
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


def _weights(policy: DiffusionPolicy, features: LeRobotFeatures) -> dict[str, Tensor]:
    """By LeRobot's names, for conditions in LeRobot's order."""
    network, found = policy.network, {}
    columns = features.columns(policy.horizons.n_obs_steps, network.settings.time_features)
    places = torch.tensor(columns).argsort()
    for name, tensor in network.as_reference().items():
        name = re.sub(r"\.blocks\.([01])\.", lambda m: f".conv{int(m[1]) + 1}.", name)
        name = re.sub(r"^((?:down|up)_modules\.\d+\.2)\.conv\.", r"\1.", name)
        films = name.endswith("cond_encoder.1.weight")
        found[f"diffusion.unet.{name}"] = tensor[:, places.to(tensor.device)] if films else tensor
    if policy.spaces.images:
        seen = _seen_by(policy)
        size = seen.crop or seen.resize or next(iter(policy.spaces.images.values()))
        for number, camera in enumerate(policy.encoder.cameras):
            part = "" if seen.shared else f"{number}."
            for name, tensor in camera_as_lerobot(camera.state_dict(), seen, size).items():
                found[f"diffusion.rgb_encoder.{part}{name}"] = tensor
    return found


def _statistics(policy: DiffusionPolicy, features: LeRobotFeatures) -> Statistics:
    ends, split = _ends(policy.encoder.states), features.state
    found = {STATE: {name: end[:split] for name, end in ends.items()}}
    if features.environment:
        found[ENVIRONMENT] = {name: end[split:] for name, end in ends.items()}
    for number, name in enumerate(policy.spaces.images):
        assert isinstance(policy.encoder, LeRobotEncoder)
        found[features.cameras[name]] = _moments(policy.encoder.images[number])
    # an action that never varied is not scaled here, but bounded, which nothing is there
    bounds = torch.tensor([policy.spaces.low, policy.spaces.high]).double()
    return {**found, ACTION: _ends(policy.actions, (bounds[1] - bounds[0]) / 2)}


def _ends(normalizer: Normalizer, most: Tensor | float = torch.inf) -> dict[str, Tensor]:
    """What goes to -1 and to 1; `most` is the largest half of the way between them."""
    offset, half = normalizer.offset.double().cpu(), _half(normalizer).cpu()
    middle, half = -offset * half, half.minimum(torch.as_tensor(most).double())
    return {"min": (middle - half).float(), "max": (middle + half).float()}


def _moments(normalizer: Any) -> dict[str, Tensor]:
    """What goes to 0, and how far it is from there to what goes to 1, as LeRobot has of colours."""
    half = _half(normalizer)
    moments = {"mean": -normalizer.offset.double() * half, "std": half}
    return {name: x.float().cpu()[:, None, None] for name, x in moments.items()}


def _half(normalizer: Normalizer) -> Tensor:
    scale = normalizer.scale.double()
    still = scale == 0
    return torch.where(still, _ALIKE, 1 / torch.where(still, 1.0, scale))


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
        save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, part)
