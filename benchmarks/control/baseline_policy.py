"""A policy with the head of a baseline, as `train_policy` and `roll_out` take it."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from baseline_heads import Head, Mixture, RecurrentMixture, SquaredError, TwoStep
from safetensors.torch import load_file
from torch import Tensor

from scorefield.control.data.normalizer import Normalizer
from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.data.windows import Windows
from scorefield.control.networks.settings import PerceptronSettings
from scorefield.control.policies.policy import CONFIG, WEIGHTS, ChunkRequest, NetworkPolicy
from scorefield.control.policies.sharded_generator import ShardedGenerator
from scorefield.priors.noise import noise_generator

BASELINES: dict[str, type[Head]] = {
    "squared-error": SquaredError,
    "mixture": Mixture,
    "recurrent-mixture": RecurrentMixture,
    "two-step": TwoStep,
}
"""The heads by the names they have in files and on the command line."""


class BaselinePolicy(NetworkPolicy):
    """A policy that sees states: the last To of them, normalised, are the head's condition."""

    def __init__(
        self,
        head: str,
        spaces: PolicySpaces,
        horizons: Horizons,
        network: PerceptronSettings,
        *,
        seed: int = 0,
    ) -> None:
        """Makes it with random weights; `head` is one of `BASELINES`.

        Raises:
            ValueError: the environment shows no state.
        """
        super().__init__()
        if spaces.state == 0:
            raise ValueError(f"this policy sees states, and the environment shows none: {spaces}")
        self.spaces, self.horizons = spaces, horizons
        self.network_settings, self._name = network, head
        self.states = Normalizer.identity(spaces.state)
        self.actions = Normalizer.identity(spaces.action)
        condition = horizons.n_obs_steps * spaces.state
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(noise_generator(seed, 0).initial_seed())
            kind = BASELINES[head]
            self.head = kind(horizons.horizon, spaces.action, condition, network)

    def fit(self, windows: Windows) -> None:
        """Takes the ranges of states and actions from a data set."""
        self.states = Normalizer.of(windows.episodes.state)
        self.actions = Normalizer.of(windows.episodes.action)

    def loss(self, batch: Mapping[str, Tensor], draws: ShardedGenerator) -> Tensor:
        """The head's loss on windows."""
        return self.head.loss(self.actions(batch["action"]), self._condition(batch["state"]), draws)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """The head's."""
        return self.head.noise_shape

    def normalised_chunk(self, request: ChunkRequest, noise: Tensor) -> Tensor:
        """What the head draws.

        Raises:
            ValueError: it should go on from the previous chunk.
        """
        if request.follow is not None:
            raise ValueError("a baseline does not denoise, and cannot go on from the chunk before")
        return self.head.draw(self._condition(request.observations["state"]), noise)

    def settings(self) -> dict[str, Any]:
        """Head and network."""
        return {"head": self._name, "network": asdict(self.network_settings)}

    def _condition(self, states: Tensor) -> Tensor:
        return self.states(states).flatten(1)


def load_baseline(folder: str | os.PathLike[str]) -> BaselinePolicy:
    """The policy that was saved in a folder, frozen."""
    config = json.loads((Path(folder) / CONFIG).read_text(encoding="utf-8"))
    policy = BaselinePolicy(
        config["head"],
        PolicySpaces.from_json(config["spaces"]),
        Horizons(**config["horizons"]),
        PerceptronSettings(**config["network"]),
    )
    policy.load_state_dict(load_file(Path(folder) / WEIGHTS))
    return policy.eval().requires_grad_(False)
