"""The backbone that all policies of a comparison share: a residual perceptron over whole chunks."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scorefield.control.networks.network import ChunkNetwork
from scorefield.control.networks.settings import PerceptronSettings

_TIMES = 32  # sinusoids of the time
_WAVES = (1, 2, 4, 8)  # half periods of those of a chunk's numbers, over [-1, 1]
_MOST_BANDWIDTH = 2.0
_SPACINGS = 3.0  # that the features, as a kernel, reach


class Perceptron(ChunkNetwork):
    """(chunk, time, condition) -> chunk, as denoisers are called; regressions give zeros for two.

    Args:
        steps: Tp.
        size_in: numbers per step that go in.
        size_out: numbers per step that come out.
        condition: numbers in the condition.
        settings: its size.
    """

    def __init__(
        self,
        steps: int,
        size_in: int,
        size_out: int,
        condition: int,
        settings: PerceptronSettings,
    ) -> None:
        super().__init__()
        self.steps, self.size_out = steps, size_out
        width = settings.width
        self.fourier = Fourier(condition, settings)
        features = steps * size_in * (1 + 2 * len(_WAVES)) + self.fourier.size + _TIMES
        self.enter = nn.Linear(features, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)
            )
            for _ in range(settings.layers)
        )
        self.leave = nn.Linear(width, steps * size_out)

    def prepare(self, condition: Float[Tensor, "batch features"]) -> Float[Tensor, "batch more"]:
        """The sinusoids of the condition, which are the same at every step."""
        features: Tensor = self.fourier(condition)
        return features

    def denoise(
        self,
        chunk: Float[Tensor, "batch steps size"],
        time: Float[Tensor, " batch"],
        prepared: Float[Tensor, "batch more"],
    ) -> Float[Tensor, "batch steps out"]:
        """The same as the call, with the condition as `prepare` gives it."""
        rates = torch.exp(torch.linspace(0, math.log(1000), _TIMES // 2, device=time.device))
        angles = time[:, None] * rates
        h = self.enter(torch.cat([_waves(chunk), prepared, angles.sin(), angles.cos()], 1))
        for block in self.blocks:
            h = h + block(h)
        return self.leave(nn.functional.silu(h)).unflatten(1, (self.steps, self.size_out))


class Fourier(nn.Module):
    """A condition and random sinusoids of it (Tancik et al. 2020)."""

    def __init__(self, condition: int, settings: PerceptronSettings) -> None:
        super().__init__()
        bandwidth = _MOST_BANDWIDTH if settings.bandwidth is None else settings.bandwidth
        spread = bandwidth * _unit(condition)
        self.register_buffer("rates", torch.randn(condition, settings.frequencies) * spread)
        self.rates: Tensor
        self.bandwidth = bandwidth
        self.size = condition + 2 * settings.frequencies

    def rescale(self, bandwidth: float) -> None:
        """The same features at another bandwidth."""
        self.rates.mul_(bandwidth / self.bandwidth)
        self.bandwidth = bandwidth

    def forward(self, condition: Float[Tensor, "batch features"]) -> Float[Tensor, "batch more"]:
        """The condition, and sines and cosines of it."""
        angles = condition @ self.rates
        return torch.cat([condition, angles.sin(), angles.cos()], dim=1)


def bandwidth_for(spacing: float, condition: int) -> float:
    """The bandwidth that demonstrations are dense enough for.

    A sum of random features with rates of deviation r is a Gaussian kernel of width 1 / r (Rahimi
    and Recht 2007). One that is narrower than the way to the nearest other demonstration says
    nothing between them, so it is given three of these ways; and a bandwidth of 2 at most, which
    tells a 24th of the range apart.

    Args:
        spacing: the way to the nearest other demonstration, in normalised units.
        condition: numbers in the condition.
    """
    return min(_MOST_BANDWIDTH, 1 / (_SPACINGS * max(spacing, 1e-6) * _unit(condition)))


def _unit(condition: int) -> float:
    # Less per number the more there are, so that the phases spread alike.
    return math.pi * math.sqrt(4 / max(condition, 4))


def _waves(chunk: Tensor) -> Tensor:
    """A chunk's numbers and sinusoids of each: modes that lie close together are told apart."""
    numbers = chunk.flatten(1)
    angles = (numbers[..., None] * chunk.new_tensor(_WAVES) * (math.pi / 2)).flatten(1)
    return torch.cat([numbers, angles.sin(), angles.cos()], dim=1)
