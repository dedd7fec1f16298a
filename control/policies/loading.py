"""A policy from its folder."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.networks.settings import EncoderSettings, LeRobotEncoderSettings
from scorefield.control.policies.diffusion_policy import (
    NETWORKS,
    DiffusionPolicy,
    DiffusionSettings,
)
from scorefield.control.policies.lerobot import (
    LEROBOT_WEIGHTS,
    is_lerobot_policy,
    policy_of_lerobot,
)
from scorefield.control.policies.policy import CONFIG, WEIGHTS
from scorefield.files import parse_json
from scorefield.integrity import check_finite_weights, check_seal


def load_policy(
    folder: str | os.PathLike[str], spaces: PolicySpaces | None = None
) -> DiffusionPolicy:
    """The policy that was saved in a folder, frozen.

    Args:
        folder: what `DiffusionPolicy.save` wrote, the training whose folder `policy` it is, or a
            diffusion policy that LeRobot saved, of states or images, which acts by LeRobot's
            rule.
        spaces: of the environment that it is for; None: not checked.

    Raises:
        ValueError: a file is missing or damaged, or the policy is for other spaces; both are shown.
    """
    folder = Path(folder)
    if not (folder / CONFIG).exists() and (folder / "policy" / CONFIG).exists():
        folder = folder / "policy"
    check_seal(folder)
    foreign = not (folder / CONFIG).exists() and is_lerobot_policy(folder)
    try:
        policy = policy_of_lerobot(folder) if foreign else _own(folder)
        weights = policy.state_dict()
        check_finite_weights(weights, folder / (LEROBOT_WEIGHTS if foreign else WEIGHTS))
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


def _own(folder: Path) -> DiffusionPolicy:
    """What `DiffusionPolicy.save` wrote."""
    config: dict[str, Any] = parse_json((folder / CONFIG).read_text(encoding="utf-8"))
    weights = load_file(folder / WEIGHTS)
    with _within("spaces"):
        spaces = PolicySpaces.from_json(config["spaces"])
    with _within("horizons"):
        horizons = Horizons(**config["horizons"])
    with _within("network"):
        network = _with_tuples(config["network"])
        _check_size(network, weights)
        kind = str(network.pop("kind"))
        if kind not in NETWORKS:
            raise ValueError(f"kind is {kind!r}; there are {sorted(NETWORKS)}")
        network.setdefault("frequencies", 0)  # only perceptrons had them, and said how many
        if kind == "transformer":
            network.setdefault("causal", True)  # all were, before there was a choice
        if kind == "perceptron":
            network.setdefault("film", False)  # none had it, before there was a choice
        network_settings = NETWORKS[kind][0](**network)
    with _within("diffusion"):
        diffusion = DiffusionSettings(**config["diffusion"])
    with _within("encoder"):
        encoder = _with_tuples(config["encoder"])
        seen = LeRobotEncoderSettings if encoder.pop("kind", None) == "lerobot" else EncoderSettings
        encoder_settings = seen(**encoder)
    policy = DiffusionPolicy(spaces, horizons, network_settings, diffusion, encoder_settings)
    policy.load_state_dict(weights)
    return policy


@contextmanager
def _within(key: str) -> Iterator[None]:
    """Errors say which entry of the file they are of."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{key} in {CONFIG}: {error}") from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{key} in {CONFIG}: {type(error).__name__}: {error}") from error


def _with_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists where settings have tuples."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}


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
