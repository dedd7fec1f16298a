"""The backbone that all policies of a comparison share: a residual perceptron over whole chunks."""

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scorefield.control.networks.fourier import Fourier
from scorefield.control.networks.network import ChunkNetwork
from scorefield.control.networks.settings import PerceptronSettings

_TIMES = 32  # sinusoids of the time
_WAVES = (1, 2, 4, 8)  # half periods of those of a chunk's numbers, over [-1, 1]


class Perceptron(ChunkNetwork):
    """(chunk, time, condition) -> chunk, as denoisers are called; regressions give zeros for two.

    The time, and with it the level of noise, scales and shifts what is read of the noisy chunk
    (FiLM, Perez et al. 2018): at high levels little of it says anything, and what is observed
    everything. Where the time is merely one more number that goes in, the noise gets through.

    Args:
        steps: Tp.
        size_in: numbers per step that go in.
        size_out: numbers per step that come out.
        condition: numbers in the condition.
        settings: its size.
    """

    reach = 3.0
    fourier: Fourier

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
        self.fourier = Fourier(condition, settings.frequencies or 0, settings.bandwidth)
        seen = condition + self.fourier.size
        noisy = steps * size_in * (1 + 2 * len(_WAVES))
        self.films = [noisy, width, width]  # scales of what is read and of what it becomes, shifts
        self.film: nn.Linear | None = None
        if settings.film:
            self.see = nn.Linear(seen, width)
            self.film = nn.Linear(_TIMES, sum(self.films))
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)
        self.enter = nn.Linear(noisy if settings.film else seen + noisy + _TIMES, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)
            )
            for _ in range(settings.layers)
        )
        self.leave = nn.Linear(width, steps * size_out)

    def prepare(self, condition: Float[Tensor, "batch features"]) -> Float[Tensor, "batch more"]:
        """What is read of the condition and of sinusoids of it, the same at every step."""
        seen = torch.cat([condition, self.fourier(condition)], dim=1)
        return seen if self.film is None else self.see(seen)

    def denoise(
        self,
        chunk: Float[Tensor, "batch steps size"],
        time: Float[Tensor, " batch"],
        prepared: Float[Tensor, "batch more"],
    ) -> Float[Tensor, "batch steps out"]:
        """The same as the call, with the condition as `prepare` gives it."""
        rates = torch.exp(torch.linspace(0, math.log(1000), _TIMES // 2, device=time.device))
        angles = time[:, None] * rates
        times = torch.cat([angles.sin(), angles.cos()], dim=1)
        if self.film is None:
            h = self.enter(torch.cat([_waves(chunk), prepared, times], dim=1))
        else:
            before, after, shift = self.film(times).split(self.films, dim=1)
            h = self.enter(_waves(chunk) * (1 + before)) * (1 + after) + shift + prepared
        for block in self.blocks:
            h = h + block(h)
        return self.leave(nn.functional.silu(h)).unflatten(1, (self.steps, self.size_out))


def _waves(chunk: Tensor) -> Tensor:
    """A chunk's numbers and sinusoids of each: modes that lie close together are told apart."""
    numbers = chunk.flatten(1)
    angles = (numbers[..., None] * chunk.new_tensor(_WAVES) * (math.pi / 2)).flatten(1)
    return torch.cat([numbers, angles.sin(), angles.cos()], dim=1)
