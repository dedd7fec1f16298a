"""The normalizer of states and actions: every number from its range in the data to [-1, 1]."""

import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from scorefield.control.data.spaces import PolicySpaces

CONSTANT = 1e-4
"""A smaller range is taken for noise, which scaling would blow up."""


class Normalizer(nn.Module):
    """x -> scale x + offset, per number; saved with the weights.

    What hardly varies in the data (a range below 1e-4) is shifted to 0 and not scaled, as in the
    reference's `LinearNormalizer` in its mode "limits" (Chi et al. 2023).
    """

    def __init__(self, scale: Float[Tensor, " size"], offset: Float[Tensor, " size"]) -> None:
        super().__init__()
        self.register_buffer("scale", scale.float())
        self.register_buffer("offset", offset.float())
        self.scale: Tensor
        self.offset: Tensor

    @classmethod
    def of(cls, rows: NDArray) -> "Normalizer":  # type: ignore[type-arg]
        """Those of the rows (N, size) of a data set."""
        low = torch.from_numpy(rows.min(axis=0).copy()).double()
        high = torch.from_numpy(rows.max(axis=0).copy()).double()
        constant = high - low < CONSTANT
        scale = torch.where(constant, 1.0, 2 / (high - low).clamp(min=CONSTANT))
        offset = torch.where(constant, -(high + low) / 2, -1 - scale * low)
        return cls(scale, offset)

    @classmethod
    def gaussian(cls, rows: NDArray) -> "Normalizer":  # type: ignore[type-arg]
        """To mean 0 and standard deviation 1, for policies whose chunks are not clipped.

        What hardly varies (a standard deviation below 1e-4) is shifted and not scaled.
        """
        mean = torch.from_numpy(rows.mean(axis=0, dtype="float64").copy())
        deviation = torch.from_numpy(rows.std(axis=0, dtype="float64").copy())
        scale = torch.where(deviation < CONSTANT, 1.0, 1 / deviation.clamp(min=CONSTANT))
        return cls(scale, -mean * scale)

    @classmethod
    def identity(cls, size: int) -> "Normalizer":
        """Those that change nothing, for a policy whose weights are loaded next."""
        return cls(torch.ones(size), torch.zeros(size))

    def raised(self, rows: NDArray, least: float | int) -> "Normalizer":  # type: ignore[type-arg]
        """The same but for a shift: the least of every number in the rows comes to `least`."""
        found = self(torch.from_numpy(rows.min(axis=0).copy()))
        return Normalizer(self.scale, self.offset + least - found)

    def forward(self, x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        """To [-1, 1]."""
        return x * self.scale + self.offset

    def inverse(self, x: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        """Back to the environment's units."""
        return (x - self.offset) / self.scale


def bounded(actions: Float[Tensor, "*batch size"], spaces: PolicySpaces) -> Tensor:
    """The actions, brought into the bounds of the environment; not finite ones are refused.

    Raises:
        ValueError: an action is not finite.
    """
    if not bool(actions.isfinite().all()):
        raise ValueError(
            "the policy's actions are not finite; look at the observations it was given"
        )
    low, high = (actions.new_tensor(bound) for bound in (spaces.low, spaces.high))
    return actions.clamp(low, high)
