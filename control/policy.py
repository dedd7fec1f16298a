"""What acts: what rollouts know of a policy, and what all policies that are networks share."""

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scorefield.control.denoising import Follow
from scorefield.control.draws import Draws
from scorefield.control.limits import Limits, bounded
from scorefield.control.spaces import Horizons, PolicySpaces
from scorefield.control.windows import Windows
from scorefield.priors.noise import keyed_noise


@runtime_checkable
class Policy(Protocol):
    """Plans chunks of actions from what was observed.

    spaces: of the environments it acts in.
    horizons: how many observations it takes, and actions it plans.
    """

    spaces: PolicySpaces
    horizons: Horizons

    def chunk(
        self,
        observations: Mapping[str, Tensor],
        *,
        seed: int,
        items: Sequence[int],
        draw: int = 0,
        previous: Tensor | None = None,
        follow: Follow | None = None,
    ) -> Float[Tensor, "batch steps size"]:
        """The whole plan of Tp actions, in the environment's units and within its bounds.

        Args:
            observations: "state" (B, To, D) in the environment's units, and per camera
                (B, To, 3, H, W) in [0, 1].
            seed: of the policy's noise.
            items: what each row is; its noise depends on (seed, item, draw) alone.
            draw: counts the chunks of an episode.
            previous: (B, Tp, A), what this returned Ta steps ago.
            follow: how to go on from it; None: do not.
        """
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
        self,
        observations: Mapping[str, Tensor],
        noise: Tensor,
        previous: Tensor | None,
        follow: Follow | None,
    ) -> Float[Tensor, "batch steps size"]:
        """`chunk` in normalised units, from observations on the policy's device."""

    @torch.no_grad()
    def chunk(
        self,
        observations: Mapping[str, Tensor],
        *,
        seed: int,
        items: Sequence[int],
        draw: int = 0,
        previous: Tensor | None = None,
        follow: Follow | None = None,
    ) -> Float[Tensor, "batch steps size"]:
        """Whole chunks (`Policy.chunk`).

        Raises:
            ValueError: the previous chunk has another shape, or does not reach past the delay; the
                policy cannot go on from one; the actions are not finite.
        """
        device = self.actions.scale.device
        seen = {name: tensor.to(device) for name, tensor in observations.items()}
        noise = keyed_noise(seed, items, draw, self.noise_shape, device=device)
        before = None if previous is None else self.actions(previous.to(device))
        chunk = self.normalised_chunk(seen, noise, before, follow)
        return bounded(self.actions.inverse(chunk), self.spaces)

    def act(
        self,
        observations: Mapping[str, Tensor],
        *,
        seed: int,
        items: Sequence[int],
        draw: int = 0,
        previous: Tensor | None = None,
        follow: Follow | None = None,
    ) -> Float[Tensor, "batch actions size"]:
        """The Ta actions of `chunk` that are executed, from the present on."""
        chunk = self.chunk(
            observations, seed=seed, items=items, draw=draw, previous=previous, follow=follow
        )
        return chunk[:, self.horizons.executed]
