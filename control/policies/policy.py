"""What acts: what rollouts know of a policy, and what all policies that are networks share."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scorefield.control.data.normalizer import Limits, bounded
from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.data.windows import Windows
from scorefield.control.policies.denoising import Follow
from scorefield.control.policies.draws import Draws
from scorefield.priors.noise import keyed_noise


@dataclass(frozen=True, eq=False)
class ChunkRequest:
    """What a policy is asked: one chunk per row of observations.

    observations: "state" (B, To, D) in the environment's units, and per camera (B, To, 3, H, W) in
        [0, 1].
    seed: of the policy's noise.
    items: what each row is; its noise depends on (seed, item, draw) alone.
    draw: counts the chunks of an episode.
    previous: (B, Tp, A), the chunks of Ta steps ago; None: there are none.
    follow: how to go on from them; None: do not.
    """

    observations: Mapping[str, Tensor]
    seed: int
    items: Sequence[int]
    draw: int = 0
    previous: Float[Tensor, "batch steps size"] | None = None
    follow: Follow | None = None

    def __post_init__(self) -> None:
        rows = {name: len(tensor) for name, tensor in self.observations.items()}
        if any(number != len(self.items) for number in rows.values()):
            raise ValueError(
                f"items must say what each row of the observations is; got {len(self.items)} items "
                f"for rows {rows}"
            )


@runtime_checkable
class Policy(Protocol):
    """Plans chunks of actions from what was observed.

    spaces: of the environments it acts in.
    horizons: how many observations it takes, and actions it plans.
    """

    spaces: PolicySpaces
    horizons: Horizons

    def chunk(self, request: ChunkRequest) -> Float[Tensor, "batch steps size"]:
        """The whole plan of Tp actions, in the environment's units and within its bounds."""
        ...


class NetworkPolicy(nn.Module, ABC):
    """A `Policy` that is a network, as a pure function of observations and noise.

    Attributes:
        spaces: what it sees and does.
        horizons: how far it looks and plans; may be replaced by others that execute fewer actions.
        actions: their normaliser.
    """

    spaces: PolicySpaces
    horizons: Horizons
    actions: Limits

    @abstractmethod
    def fit(self, windows: Windows) -> None:
        """Takes the normalisers of states and actions from a data set."""

    @abstractmethod
    def loss(self, batch: Mapping[str, Tensor], draws: Draws) -> Tensor:
        """What training descends on windows; all that is random comes from the draws."""

    @abstractmethod
    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes policy.json and policy.safetensors, all that is needed to act."""

    @property
    @abstractmethod
    def noise_shape(self) -> tuple[int, ...]:
        """Of the standard normal numbers that a chunk is drawn from."""

    @abstractmethod
    def normalised_chunk(
        self, request: ChunkRequest, noise: Tensor
    ) -> Float[Tensor, "batch steps size"]:
        """`chunk` from its noise, in normalised units.

        Args:
            request: its observations are on the policy's device, the previous chunks normalised.
            noise: (B, *noise_shape).
        """

    @torch.no_grad()
    def chunk(self, request: ChunkRequest) -> Float[Tensor, "batch steps size"]:
        """Whole chunks (`Policy.chunk`).

        Raises:
            ValueError: the previous chunk has another shape, or does not reach past the delay; the
                policy cannot go on from one; the actions are not finite.
        """
        device = self.actions.scale.device
        seen = {name: tensor.to(device) for name, tensor in request.observations.items()}
        previous = request.previous
        before = None if previous is None else self.actions(previous.to(device))
        noise = keyed_noise(
            request.seed, request.items, request.draw, self.noise_shape, device=device
        )
        here = replace(request, observations=seen, previous=before)
        return bounded(self.actions.inverse(self.normalised_chunk(here, noise)), self.spaces)

    def act(
        self, observations: Mapping[str, Tensor], *, seed: int = 0, draw: int = 0
    ) -> Float[Tensor, "batch actions size"]:
        """The Ta actions to execute now, for observations alone: those of `chunk`, row i item i.

        Args:
            observations: as of `ChunkRequest`, the present one last.
            seed: of the policy's noise.
            draw: counts the chunks of an episode.
        """
        rows = range(max(map(len, observations.values()), default=0))
        request = ChunkRequest(observations, seed, rows, draw)
        return self.chunk(request)[:, self.horizons.executed]
