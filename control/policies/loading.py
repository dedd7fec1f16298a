"""A policy from its folder."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.networks.settings import EncoderSettings
from scorefield.control.policies.diffusion_policy import (
    NETWORKS,
    DiffusionPolicy,
    DiffusionSettings,
)
from scorefield.control.policies.policy import CONFIG, WEIGHTS
from scorefield.integrity import check_finite_weights, check_seal


def load_policy(
    folder: str | os.PathLike[str], spaces: PolicySpaces | None = None
) -> DiffusionPolicy:
    """The policy that was saved in a folder, frozen.

    Args:
        folder: what `DiffusionPolicy.save` wrote.
        spaces: of the environment that it is for; None: not checked.

    Raises:
        ValueError: a file is missing or damaged, or the policy is for other spaces; both are shown.
    """
    folder = Path(folder)
    if not (folder / CONFIG).exists() and (folder / "policy" / CONFIG).exists():
        raise ValueError(f"{folder} is a training; its policy is in {folder / 'policy'}")
    check_seal(folder)
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        # JSON has lists where settings have tuples.
        listed = config["network"].items()
        network = {n: tuple(v) if isinstance(v, list) else v for n, v in listed}
        weights = load_file(folder / WEIGHTS)
        _check_size(network, weights)
        policy = DiffusionPolicy(
            PolicySpaces.from_json(config["spaces"]),
            Horizons(**config["horizons"]),
            NETWORKS[str(network.pop("kind"))][0](**network),
            DiffusionSettings(**config["diffusion"]),
            EncoderSettings(**config["encoder"]),
        )
        policy.load_state_dict(weights)
        check_finite_weights(weights, folder / WEIGHTS)
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        SafetensorError,
    ) as error:
        raise ValueError(
            f"{folder} cannot be read as a policy ({type(error).__name__}: {error})"
        ) from error
    if spaces is not None:
        policy.spaces.check(spaces)
    return policy.eval().requires_grad_(False)


def _check_size(network: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Refuse settings of a network too large for its weights, before it is built."""
    longest = max(max(tensor.shape, default=1) for tensor in weights.values())
    for name, value in network.items():
        most = len(weights) if name == "layers" else longest
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int) and name != "timesteps" and number > most:
                raise ValueError(
                    f"{name} is {number} in {CONFIG}, more than {WEIGHTS} has room for"
                )
