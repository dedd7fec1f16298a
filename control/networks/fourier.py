"""Random Fourier features of what is observed, which all networks of policies may be given."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

MOST_BANDWIDTH = 2.0
"""The highest bandwidth that is derived, which tells a 24th of the range apart."""


class Fourier(nn.Module):
    """Sines and cosines of random projections of a condition (Tancik et al. 2020).

    Args:
        condition: numbers in the condition.
        frequencies: number of projections; `size` is twice that.
        bandwidth: standard deviation of their rates, in periods over half a range; None: that of
            `bandwidth_for` is set when it is known (`rescale`).
    """

    def __init__(self, condition: int, frequencies: int, bandwidth: float | None) -> None:
        super().__init__()
        self.bandwidth = MOST_BANDWIDTH if bandwidth is None else bandwidth
        spread = self.bandwidth * _unit(condition)
        self.register_buffer("rates", torch.randn(condition, frequencies) * spread)
        self.rates: Tensor
        self.size = 2 * frequencies

    def rescale(self, bandwidth: float) -> None:
        """The same features at another bandwidth."""
        self.rates.mul_(bandwidth / self.bandwidth)
        self.bandwidth = bandwidth

    def forward(self, condition: Float[Tensor, "*batch features"]) -> Float[Tensor, "*batch size"]:
        """The sines, then the cosines."""
        angles = condition @ self.rates
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


def bandwidth_for(spacing: float, condition: int, reach: float) -> float:
    """The bandwidth that demonstrations are dense enough for, `MOST_BANDWIDTH` at most.

    A sum of random features with rates of deviation r is a Gaussian kernel of width 1 / r (Rahimi
    and Recht 2007). One that is narrower than the way to the nearest other demonstration says
    nothing between them, so it is given several of these ways.

    Args:
        spacing: the way to the nearest other demonstration, in normalised units.
        condition: numbers in the condition.
        reach: the kernel's width, in spacings.
    """
    return min(MOST_BANDWIDTH, 1 / (reach * max(spacing, 1e-6) * _unit(condition)))


def _unit(condition: int) -> float:
    # Less per number the more there are, so that the phases spread alike.
    return math.pi * math.sqrt(4 / max(condition, 4))
