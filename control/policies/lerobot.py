"""Diffusion policies of LeRobot, from their folders.

config.json says what the policy is made of, model.safetensors has its weights, and the statistics
that it normalises by are found by `lerobot_statistics`. (Names as of LeRobot 0.4.4 and 0.6.1.)
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from scorefield.control.data.formats.features import camera_names
from scorefield.control.data.normalizer import Normalizer
from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.networks.lerobot_encoder import LeRobotEncoder
from scorefield.control.networks.settings import (
    LeRobotEncoderSettings,
    Predicts,
    Sampler,
    UNet1DSettings,
)
from scorefield.control.policies.diffusion_policy import DiffusionPolicy, DiffusionSettings
from scorefield.control.policies.lerobot_cameras import DEPTHS, camera_of_lerobot
from scorefield.control.policies.lerobot_observations import ENVIRONMENT, STATE
from scorefield.control.policies.lerobot_statistics import normalizer_of, statistics_of
from scorefield.files import parse_json

LEROBOT_CONFIG, LEROBOT_WEIGHTS = "config.json", "model.safetensors"
ACTION = "action"
PREDICTS: dict[str, Predicts] = {"epsilon": "eps", "sample": "x0"}
"""What a network outputs, by LeRobot's names."""

SAMPLERS: dict[str, Sampler] = {"DDPM": "ancestral", "DDIM": "reference"}
_IDENTITY = "IDENTITY"


@dataclass(frozen=True)
class LeRobotFeatures:
    """What a policy sees, in LeRobot's order: its state, its cameras, and the environment's state.

    state, environment: how many numbers they are.
    cameras: features by the names of the cameras.
    keypoints: of the spatial softmax, two numbers each.
    """

    state: int
    environment: int
    cameras: Mapping[str, str]
    keypoints: int

    def order(self) -> list[int]:
        """Where each number of an encoded observation of ours is in one of theirs.

        Ours: all states, and the cameras by their names.
        """
        numbers = 2 * self.keypoints
        begin = {name: self.state + i * numbers for i, name in enumerate(self.cameras)}
        after = self.state + numbers * len(self.cameras)
        places = [*range(self.state), *range(after, after + self.environment)]
        for name in sorted(self.cameras):
            places += range(begin[name], begin[name] + numbers)
        return places

    def columns(self, observed: int, time: int) -> list[int]:
        """The same for the weights of `observed` observations, which follow `time` of the time."""
        order = self.order()
        steps = [time + step * len(order) + place for step in range(observed) for place in order]
        return [*range(time), *steps]


def is_lerobot_policy(folder: Path) -> bool:
    """Whether a folder holds a policy of LeRobot, of whatever type."""
    return (folder / LEROBOT_CONFIG).is_file() and (folder / LEROBOT_WEIGHTS).is_file()


def policy_of_lerobot(folder: Path) -> DiffusionPolicy:
    """The policy in a folder that LeRobot saved, acting by its rule.

    Its state is `observation.state` and then `observation.environment_state`; its bounds are
    those that LeRobot clips to.

    Raises:
        ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError: a file is
            damaged, or the policy is of a type or has a setting that is not followed.
    """
    config: dict[str, Any] = parse_json((folder / LEROBOT_CONFIG).read_text(encoding="utf-8"))
    _check_followed(config)
    weights = load_file(folder / LEROBOT_WEIGHTS)
    state = {name.replace("._orig_mod", ""): tensor for name, tensor in weights.items()}
    seen, done = dict(config["input_features"]), dict(config["output_features"])
    sizes = {name: list(one["shape"]) for name, one in {**seen, **done}.items()}
    images = [name for name, one in seen.items() if one["type"] == "VISUAL"]
    unknown = set(seen) - {STATE, ENVIRONMENT, *images}
    if unknown or STATE not in seen:
        raise ValueError(f"it sees {sorted(seen)}; {STATE} is needed, {sorted(unknown)} not known")
    short = {feature: name for name, feature in camera_names(images).items()}
    features = LeRobotFeatures(
        sizes[STATE][0],
        sizes[ENVIRONMENT][0] if ENVIRONMENT in sizes else 0,
        {short[feature]: feature for feature in images},
        int(config["spatial_softmax_num_keypoints"]),
    )
    modes = config["normalization_mapping"]
    statistics = statistics_of(folder, state, sizes)

    def normalizer(name: str, kind: str) -> Normalizer:
        mode = modes.get(kind, _IDENTITY)
        if mode == _IDENTITY or name not in statistics:
            return Normalizer.identity(int(sizes[name][0]))
        try:
            return normalizer_of(mode, statistics[name], acts=name == ACTION)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

    actions = normalizer(ACTION, "ACTION")
    policy = DiffusionPolicy(
        _spaces(features, sizes, actions),
        Horizons(config["n_obs_steps"], config["n_action_steps"], config["horizon"]),
        _unet_settings(config),
        _diffusion_settings(config),
        _encoder_settings(config),
    )
    policy.actions = actions
    states = [normalizer(STATE, "STATE")]
    if features.environment:
        states.append(normalizer(ENVIRONMENT, "ENV"))
    policy.encoder.states = Normalizer(
        torch.cat([one.scale for one in states]), torch.cat([one.offset for one in states])
    )
    assert isinstance(policy.encoder, LeRobotEncoder)
    for number, name in enumerate(policy.spaces.images):
        policy.encoder.images[number] = normalizer(features.cameras[name], "VISUAL")
    _load_cameras(policy.encoder, state, list(features.cameras))
    policy.network.load_reference(
        _as_reference(state, features, policy.horizons.n_obs_steps, config)
    )
    return policy.eval().requires_grad_(False)


def _check_followed(config: Mapping[str, Any]) -> None:
    """Refuses types and settings that would act otherwise here."""
    if config.get("type") != "diffusion":
        raise ValueError(f"its type is {config.get('type')!r}; of LeRobot, diffusion is read")
    backbone = config["vision_backbone"]
    images = any(one["type"] == "VISUAL" for one in config["input_features"].values())
    if images and backbone not in DEPTHS:
        raise ValueError(f"vision_backbone is {backbone!r}; {sorted(DEPTHS)} are read")
    wanted = {
        "noise_scheduler_type": tuple(SAMPLERS),
        "prediction_type": tuple(PREDICTS),
        "beta_schedule": ("squaredcos_cap_v2",),
        "clip_sample": (True,),
        "clip_sample_range": (1.0,),
        "use_peft": (False, None),
    }
    for name, values in wanted.items():
        if config.get(name, values[0]) not in values:
            raise ValueError(f"{name} is {config[name]!r}; {' or '.join(map(str, values))} is read")


def _spaces(
    features: LeRobotFeatures, sizes: Mapping[str, Sequence[int]], actions: Normalizer
) -> PolicySpaces:
    ends = [actions.inverse(torch.full_like(actions.scale, end)).tolist() for end in (-1.0, 1.0)]
    high = []
    for least, most in zip(*ends, strict=True):
        size = max(1.0, abs(least))
        # bounds must differ by more than rounding, also of what never varied
        high.append(most if most - least > 1e-5 * size else least + 1e-3 * size)
    return PolicySpaces(
        features.state + features.environment,
        len(ends[0]),
        tuple(ends[0]),
        tuple(high),
        {name: (sizes[one][1], sizes[one][2]) for name, one in features.cameras.items()},
    )


def _unet_settings(config: Mapping[str, Any]) -> UNet1DSettings:
    return UNet1DSettings(
        tuple(config["down_dims"]),
        config["diffusion_step_embed_dim"],
        config["kernel_size"],
        config["n_groups"],
        config["num_train_timesteps"],
        frequencies=0,
    )


def _diffusion_settings(config: Mapping[str, Any]) -> DiffusionSettings:
    levels = config["num_train_timesteps"]
    return DiffusionSettings(
        PREDICTS[config["prediction_type"]],
        levels,
        weighting="uniform",
        steps=config.get("num_inference_steps") or levels,
        sampler=SAMPLERS[config["noise_scheduler_type"]],
    )


def _encoder_settings(config: Mapping[str, Any]) -> LeRobotEncoderSettings:
    resize, crop = config.get("resize_shape"), config.get("crop_shape")
    if resize is not None and "crop_ratio" in config:
        crop = crop_of_ratio(resize, config["crop_ratio"])
    return LeRobotEncoderSettings(
        DEPTHS.get(config["vision_backbone"], DEPTHS["resnet18"]),
        "group" if config["use_group_norm"] else "frozen",
        config["spatial_softmax_num_keypoints"],
        None if resize is None else tuple(resize),
        None if crop is None else tuple(crop),
        not config["use_separate_rgb_encoder_per_camera"],
    )


def crop_of_ratio(resize: Sequence[int], ratio: float) -> tuple[int, int] | None:
    """What LeRobot cuts of images that it resizes, whatever its crop_shape is."""
    return None if ratio == 1 else (int(resize[0] * ratio), int(resize[1] * ratio))


def _load_cameras(encoder: LeRobotEncoder, state: Mapping[str, Tensor], names: list[str]) -> None:
    """Their networks of images, which they number in the order of config.json."""
    for number, name in enumerate(encoder.spaces.images):
        if number >= len(encoder.cameras):
            break
        part = "" if encoder.settings.shared else f"{names.index(name)}."
        prefix = f"diffusion.rgb_encoder.{part}"
        given = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
        encoder.cameras[number].load_state_dict(camera_of_lerobot(given, encoder.settings))


def _as_reference(
    state: Mapping[str, Tensor], features: LeRobotFeatures, observed: int, config: Mapping[str, Any]
) -> dict[str, Tensor]:
    """The U-Net's weights by the names of diffusion_policy's, for conditions in our order."""
    prefix = "diffusion.unet."
    columns = features.columns(observed, int(config["diffusion_step_embed_dim"]))
    found = {}
    for name, tensor in state.items():
        if not name.startswith(prefix):
            continue
        name = name.removeprefix(prefix)
        name = re.sub(r"\.conv([12])\.block\.", lambda m: f".blocks.{int(m[1]) - 1}.block.", name)
        name = re.sub(r"^((?:down|up)_modules\.\d+\.2)\.", r"\1.conv.", name)
        if name.endswith("cond_encoder.1.weight"):
            tensor = tensor[:, columns]
        if ".cond_encoder.1." in name and not config["use_film_scale_modulation"]:
            # a bias alone is a scale of one, whatever is seen
            ones = torch.zeros_like(tensor) if tensor.ndim == 2 else torch.ones_like(tensor)
            tensor = torch.cat([ones, tensor])
        found[name] = tensor
    return found
