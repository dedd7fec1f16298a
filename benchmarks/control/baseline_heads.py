"""The baselines that a diffusion policy must beat: what they predict of a chunk.

All see the same normalised condition, learn the same normalised chunks, have the backbone of the
diffusion policy (`Perceptron`) and are trained by the same loop; they differ in what they say of
the chunk.
"""

import math
from abc import ABC, abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scorefield.control.networks.fourier import Fourier
from scorefield.control.networks.perceptron import Perceptron
from scorefield.control.networks.settings import PerceptronSettings
from scorefield.control.policies.sharded_generator import ShardedGenerator

_LEAST_STD = 1e-2  # of the mixtures in training, in normalised units: a finer one overfits


class Head(nn.Module, ABC):
    """A conditional model of chunks (Tp, A), normalised to [-1, 1].

    noise_shape: standard normal numbers that one chunk is drawn from.
    """

    noise_shape: tuple[int, ...] = (0,)

    def __init__(self, steps: int, size: int, condition: int, settings: PerceptronSettings) -> None:
        super().__init__()
        self.steps, self.size = steps, size

    @abstractmethod
    def loss(
        self,
        actions: Float[Tensor, "batch steps size"],
        condition: Float[Tensor, "batch features"],
        draws: ShardedGenerator,
    ) -> Tensor:
        """What training descends; all that is random comes from the draws."""

    @abstractmethod
    def draw(
        self, condition: Float[Tensor, "batch features"], noise: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch steps size"]:
        """One chunk per row, as a function of its noise."""


class SquaredError(Head):
    """Behaviour cloning: the mean chunk, E[a | o], from the trunk with nothing to denoise."""

    def __init__(self, steps: int, size: int, condition: int, settings: PerceptronSettings) -> None:
        super().__init__(steps, size, condition, settings)
        self.trunk = Perceptron(steps, size, size, condition, settings)

    def loss(
        self,
        actions: Float[Tensor, "batch steps size"],
        condition: Float[Tensor, "batch features"],
        draws: ShardedGenerator,
    ) -> Tensor:
        """E (a - mean)^2."""
        return nn.functional.mse_loss(
            _at(self.trunk, torch.zeros_like(actions), 0.0, condition), actions
        )

    def draw(
        self, condition: Float[Tensor, "batch features"], noise: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch steps size"]:
        """The mean."""
        nothing = condition.new_zeros(len(condition), self.steps, self.size)
        return _at(self.trunk, nothing, 0.0, condition)


class TwoStep(SquaredError):
    """Minimal iterative policy: two steps of regression, without a distribution.

    Trains f(0, 0, o) and f(t a + (1 - t) z, t, o), with z standard normal and t = 0.9, to predict
    a; acts by f(t f(0, 0, o), t, o). After Pan et al. 2025, "Much Ado About Noising"
    (arXiv 2512.01809), whose point is that this is all that generative policies gain by.
    """

    at = 0.9

    def loss(
        self,
        actions: Float[Tensor, "batch steps size"],
        condition: Float[Tensor, "batch features"],
        draws: ShardedGenerator,
    ) -> Tensor:
        """Sum of both steps' squared errors."""
        z = draws.normal(actions.shape).to(actions)
        second = _at(self.trunk, self.at * actions + (1 - self.at) * z, self.at, condition)
        return super().loss(actions, condition, draws) + nn.functional.mse_loss(second, actions)

    def draw(
        self, condition: Float[Tensor, "batch features"], noise: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch steps size"]:
        """The second step's prediction."""
        return _at(self.trunk, self.at * super().draw(condition, noise), self.at, condition)


class Mixture(Head):
    """A Gaussian mixture over whole chunks, by maximum likelihood.

    The trunk says weights, means and standard deviations of 8 diagonal Gaussians. Drawn from with
    the standard deviations at 1e-4, as robomimic's `low_noise_eval` does (Mandlekar et al. 2021).
    """

    components = 8

    def __init__(self, steps: int, size: int, condition: int, settings: PerceptronSettings) -> None:
        super().__init__(steps, size, condition, settings)
        self.trunk = Perceptron(steps, size, self.components * (2 * size + 1), condition, settings)
        self.noise_shape = (1 + steps * size,)

    def loss(
        self,
        actions: Float[Tensor, "batch steps size"],
        condition: Float[Tensor, "batch features"],
        draws: ShardedGenerator,
    ) -> Tensor:
        """-log p(a | o), per number of the chunk."""
        weights, means, deviations = self._mixture(condition)
        each = _log_normal(actions[:, None], means, deviations).sum(dim=(2, 3))  # (B, K)
        return -(weights + each).logsumexp(dim=1).mean() / (self.steps * self.size)

    def draw(
        self, condition: Float[Tensor, "batch features"], noise: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch steps size"]:
        """A component by the first number, and a point near its mean by the others."""
        weights, means, _ = self._mixture(condition)
        component = _chosen(weights, noise[:, 0])
        mean = means[torch.arange(len(means), device=means.device), component]
        return mean + 1e-4 * noise[:, 1:].unflatten(1, (self.steps, self.size))

    def _mixture(self, condition: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log weights (B, K), means (B, K, Tp, A) and standard deviations."""
        nothing = condition.new_zeros(len(condition), self.steps, self.size)
        out = _at(self.trunk, nothing, 0.0, condition)  # (B, Tp, K (2 A + 1))
        out = out.unflatten(2, (self.components, 2 * self.size + 1)).transpose(1, 2)
        means, wide, logits = out.split([self.size, self.size, 1], dim=-1)
        deviations = nn.functional.softplus(wide) + _LEAST_STD
        return logits.mean(dim=(2, 3)).log_softmax(dim=1), means, deviations


class RecurrentMixture(Head):
    """LSTM-GMM: an LSTM over the actions of a chunk, with a mixture of 5 Gaussians per action.

    The action of a step goes into the next one, p(a | o) = prod_k p(a_k | a_<k, o), which is what
    lets it hold on to a mode. robomimic's BC-RNN (Mandlekar et al. 2021) instead lets the LSTM run
    over the observations of the episode; here every method sees the same To observations. It is
    drawn from with standard deviations of 1e-4, as there.
    """

    components = 5

    def __init__(self, steps: int, size: int, condition: int, settings: PerceptronSettings) -> None:
        super().__init__(steps, size, condition, settings)
        width = settings.width // 2
        self.fourier = Fourier(condition, settings.frequencies or 0, settings.bandwidth)
        self.begin = nn.Sequential(
            nn.Linear(condition + self.fourier.size, 2 * width),
            nn.SiLU(),
            nn.Linear(2 * width, 2 * width),
        )
        self.lstm = nn.LSTM(size + condition, width, batch_first=True)
        self.leave = nn.Linear(width, self.components * (2 * size + 1))
        self.noise_shape = (steps, 1 + size)

    def loss(
        self,
        actions: Float[Tensor, "batch steps size"],
        condition: Float[Tensor, "batch features"],
        draws: ShardedGenerator,
    ) -> Tensor:
        """-log p(a | o), per number of the chunk."""
        before = torch.cat([torch.zeros_like(actions[:, :1]), actions[:, :-1]], dim=1)
        context = condition[:, None].expand(-1, self.steps, -1)
        hidden, _ = self.lstm(torch.cat([before, context], dim=2), self._begin(condition))
        weights, means, deviations = self._mixture(hidden)
        each = _log_normal(actions[:, :, None], means, deviations).sum(dim=3)  # (B, Tp, K)
        return -(weights + each).logsumexp(dim=2).mean() / self.size

    def draw(
        self, condition: Float[Tensor, "batch features"], noise: Float[Tensor, "batch *shape"]
    ) -> Float[Tensor, "batch steps size"]:
        """The actions one after another."""
        state = self._begin(condition)
        action = condition.new_zeros(len(condition), self.size)
        rows = torch.arange(len(condition), device=condition.device)
        actions = []
        for step in range(self.steps):
            inside = torch.cat([action, condition], dim=1)[:, None]
            hidden, state = self.lstm(inside, state)
            weights, means, _ = self._mixture(hidden[:, 0])
            component = _chosen(weights, noise[:, step, 0])
            action = means[rows, component] + 1e-4 * noise[:, step, 1:]
            actions.append(action)
        return torch.stack(actions, dim=1)

    def _begin(self, condition: Tensor) -> tuple[Tensor, Tensor]:
        seen = torch.cat([condition, self.fourier(condition)], dim=1)
        hidden, cell = self.begin(seen).chunk(2, dim=1)
        return hidden[None].contiguous(), cell[None].contiguous()

    def _mixture(self, hidden: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """log weights (..., K), means (..., K, A) and standard deviations."""
        out = self.leave(hidden).unflatten(-1, (self.components, 2 * self.size + 1))
        means, wide, logits = out.split([self.size, self.size, 1], dim=-1)
        deviations = nn.functional.softplus(wide) + _LEAST_STD
        return logits[..., 0].log_softmax(dim=-1), means, deviations


def _at(trunk: Perceptron, chunk: Tensor, time: float, condition: Tensor) -> Tensor:
    """The trunk at one time for all rows."""
    out: Tensor = trunk(chunk, chunk.new_full((len(chunk),), time), condition)
    return out


def _log_normal(x: Tensor, mean: Tensor, deviation: Tensor) -> Tensor:
    """log N(x; mean, deviation^2), per number."""
    return -0.5 * ((x - mean) / deviation) ** 2 - deviation.log() - 0.5 * math.log(2 * math.pi)


def _chosen(log_weights: Tensor, normal: Tensor) -> Tensor:
    """(B,): a component, by inverting the weights' distribution at Phi(normal)."""
    uniform = torch.special.ndtr(normal.double())
    below = log_weights.double().exp().cumsum(dim=-1) < uniform[:, None]
    return below.sum(dim=-1).clamp(max=log_weights.shape[-1] - 1)
