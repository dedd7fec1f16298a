"""Policies that see states and plan chunks: a head, its normalisers, and how they are trained."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from scorefield.control.heads import (
    Diffusion,
    Head,
    Mixture,
    RecurrentMixture,
    SquaredError,
    TwoStep,
)
from scorefield.control.limits import Limits, bounded
from scorefield.control.spaces import Horizons, PolicySpaces
from scorefield.control.trunk import TrunkSettings
from scorefield.control.windows import Windows
from scorefield.priors.loop import optimise
from scorefield.priors.noise import keyed_noise, noise_generator
from scorefield.priors.runs import FREE_KEYS, RunFolder
from scorefield.priors.training.task import TrainingSettings, TrainingTask

HEADS: dict[str, type[Head]] = {
    "diffusion": Diffusion,
    "squared-error": SquaredError,
    "mixture": Mixture,
    "recurrent-mixture": RecurrentMixture,
    "two-step": TwoStep,
}
"""The heads by the names they have in files."""

CHECKPOINT_EVERY = 1000
"""Updates between the checkpoints of a training."""

_CONFIG, _WEIGHTS = "policy.json", "policy.safetensors"


class ChunkPolicy(nn.Module):
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
            torch.manual_seed(noise_generator(seed, 0).initial_seed())
            self.head = head(horizons.prediction, spaces.action, condition, self.trunk_settings)

    def fit_limits(self, windows: Windows) -> None:
        """Takes the ranges of states and actions from a data set."""
        self.states = Limits.of(windows.episodes.state)
        self.actions = Limits.of(windows.episodes.action)

    def loss(self, batch: Mapping[str, Tensor], generator: torch.Generator) -> Tensor:
        """The head's loss on windows."""
        return self.head.loss(
            self.actions(batch["action"]), self._condition(batch["state"]), generator
        )

    @torch.no_grad()
    def act(
        self,
        observations: Mapping[str, Tensor],
        *,
        seed: int,
        items: Sequence[int],
        draw: int = 0,
        previous: Tensor | None = None,
    ) -> Float[Tensor, "batch actions size"]:
        """The next Ta actions (`Policy.act`); previous chunks are not used."""
        states = observations["state"].to(self.actions.scale.device)
        noise = keyed_noise(seed, items, draw, self.head.noise_shape, device=states.device)
        chunk = self.head.draw(self._condition(states), noise)
        return bounded(self.actions.inverse(chunk)[:, self.horizons.executed], self.spaces)

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


class ChunkPolicyTask(TrainingTask):
    """Trains a `ChunkPolicy` on windows: one random batch per step."""

    def __init__(self, policy: ChunkPolicy, windows: Windows, settings: TrainingSettings) -> None:
        policy.fit_limits(windows)
        super().__init__(policy, settings)
        self._policy, self._windows = policy, windows

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """The policy's loss on a batch."""
        indices = torch.randint(
            len(self._windows), (self.settings.batch_size,), generator=generator
        )
        batch = {
            name: tensor.to(self.settings.device)
            for name, tensor in self._windows.batch(indices).items()
        }
        with self.autocast():
            return self._policy.loss(batch, generator), {}

    def policy(self) -> ChunkPolicy:
        """The policy with its weights' moving average, frozen."""
        averaged = self.averaged()
        assert isinstance(averaged, ChunkPolicy)
        return averaged


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
        "windows": len(windows),
        **{name: str(value) for name, value in asdict(settings).items()},
    }
    # The learning rate's cosine ends with the steps: other steps are another training.
    run = RunFolder.create(folder, config, resume, free=FREE_KEYS - {"steps"})
    task = ChunkPolicyTask(policy, windows, settings)
    optimise(
        task,
        steps=settings.steps,
        folder=run,
        preview_every=0,
        checkpoint_every=CHECKPOINT_EVERY,
        progress=progress,
        resume=resume,
    )
    trained = task.policy()
    trained.save(run.path / "policy")
    return trained
