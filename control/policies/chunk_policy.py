"""Policies that see states and plan chunks: a head, its normalisers, and how they are trained."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from scorefield.control.data.normalizer import Limits
from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.data.windows import Windows
from scorefield.control.networks.settings import TrunkSettings
from scorefield.control.policies.denoising import draw_chunk
from scorefield.control.policies.draws import Draws
from scorefield.control.policies.heads import (
    Diffusion,
    Head,
    Mixture,
    RecurrentMixture,
    SquaredError,
    TwoStep,
)
from scorefield.control.policies.policy import ChunkRequest, NetworkPolicy
from scorefield.control.training.train import PolicyTask, train_policy
from scorefield.priors.noise import noise_generator
from scorefield.priors.training.settings import TrainingSettings

HEADS: dict[str, type[Head]] = {
    "diffusion": Diffusion,
    "squared-error": SquaredError,
    "mixture": Mixture,
    "recurrent-mixture": RecurrentMixture,
    "two-step": TwoStep,
}
"""The heads by the names they have in files."""

_CONFIG, _WEIGHTS = "policy.json", "policy.safetensors"


class ChunkPolicy(NetworkPolicy):
    """A `Policy` for environments that show a state: condition, head, bounds.

    The condition is the last To states, normalised, one after another.

    Attributes:
        spaces: what it sees and does.
        horizons: how far it looks and plans.
        head: what it predicts.
    """

    def __init__(
        self,
        head: type[Head],
        spaces: PolicySpaces,
        horizons: Horizons,
        trunk: TrunkSettings | None = None,
        *,
        seed: int = 0,
    ) -> None:
        """Makes it with random weights.

        Args:
            head: which model of chunks.
            spaces: of the environment.
            horizons: how far it looks and plans.
            trunk: size of its network; None: the default.
            seed: of the weights.

        Raises:
            ValueError: the environment shows no state.
        """
        super().__init__()
        if spaces.state == 0:
            raise ValueError(f"this policy sees states, and the environment shows none: {spaces}")
        self.spaces, self.horizons = spaces, horizons
        self.trunk_settings = trunk or TrunkSettings()
        self.states = Limits.identity(spaces.state)
        self.actions = Limits.identity(spaces.action)
        condition = horizons.observation * spaces.state
        with torch.random.fork_rng(devices=[]):
            # weights are drawn on the CPU; manual_seed would seed the GPUs' generators as well
            torch.default_generator.manual_seed(noise_generator(seed, 0).initial_seed())
            self.head = head(horizons.prediction, spaces.action, condition, self.trunk_settings)

    def fit(self, windows: Windows) -> None:
        """Takes the ranges of states and actions from a data set."""
        self.states = Limits.of(windows.episodes.state)
        self.actions = Limits.of(windows.episodes.action)

    def loss(self, batch: Mapping[str, Tensor], draws: Draws) -> Tensor:
        """The head's loss on windows."""
        return self.head.loss(self.actions(batch["action"]), self._condition(batch["state"]), draws)

    @property
    def noise_shape(self) -> tuple[int, ...]:
        """The head's."""
        return self.head.noise_shape

    def normalised_chunk(self, request: ChunkRequest, noise: Tensor) -> Tensor:
        """What the head draws; a head of diffusion can go on from the previous chunk.

        Raises:
            ValueError: another head should.
        """
        condition = self._condition(request.observations["state"])
        if request.follow is None:
            return self.head.draw(condition, noise)
        if not isinstance(self.head, Diffusion):
            raise ValueError(
                f"a head {type(self.head).__name__} does not denoise, and so cannot go on from the "
                "chunk before; leave follow out, or take a policy that denoises"
            )
        return draw_chunk(
            self.head.denoiser(condition),
            self.head.table,
            noise,
            self.horizons,
            request.previous,
            request.follow,
        )

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes policy.json and policy.safetensors, all that is needed to act."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        config = {
            "head": next(name for name, kind in HEADS.items() if kind is type(self.head)),
            "spaces": self.spaces.as_json(),
            "horizons": asdict(self.horizons),
            "trunk": asdict(self.trunk_settings),
        }
        (folder / _CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
        save_file(
            {n: t.contiguous().cpu() for n, t in self.state_dict().items()}, folder / _WEIGHTS
        )
        return folder

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "ChunkPolicy":
        """Inverse of `save`.

        Raises:
            ValueError: a file is missing or damaged.
        """
        folder = Path(folder)
        try:
            config: dict[str, Any] = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
            policy = cls(
                HEADS[config["head"]],
                PolicySpaces.from_json(config["spaces"]),
                Horizons(**config["horizons"]),
                TrunkSettings(**config["trunk"]),
            )
            policy.load_state_dict(load_file(folder / _WEIGHTS))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            raise ValueError(
                f"{folder} cannot be read as a policy ({type(error).__name__}: {error})"
            ) from error
        return policy.eval().requires_grad_(False)

    def _condition(self, states: Tensor) -> Tensor:
        return self.states(states).flatten(1)


def train_chunk_policy(
    policy: ChunkPolicy,
    windows: Windows,
    settings: TrainingSettings,
    folder: str | os.PathLike[str],
    *,
    resume: bool = False,
    progress: bool = False,
) -> ChunkPolicy:
    """Trains a policy in a run folder and returns it frozen; it is saved in FOLDER/policy.

    Killed and resumed, it has the same weights to the last bit.

    Args:
        policy: with its initial weights.
        windows: what it learns from.
        settings: of the training.
        folder: of the run, new or empty, or one to resume.
        resume: go on with the training that is there.
        progress: whether to show a progress bar.

    Raises:
        ValueError: the folder holds another training.
        NonFiniteError: the loss is not finite; the last checkpoint is kept.
    """
    config = {
        "head": type(policy.head).__name__,
        "horizons": asdict(policy.horizons),
        "trunk": asdict(policy.trunk_settings),
    }
    task = PolicyTask(policy, windows, settings)
    trained = train_policy(task, config, folder, resume=resume, progress=progress)
    assert isinstance(trained, ChunkPolicy)
    return trained
