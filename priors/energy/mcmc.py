"""Markov chains at one noise level: Langevin and Hamiltonian, adjusted or not.

All four move z by the score of p_level and leave that distribution, or nearly that, as it is.  Run
after each step of a sampler they correct what the sampler got wrong (predictor-corrector, Song et
al. 2021, section 4.2), and turn the sum of two scores into the product of two densities (Du et al.
2023, "Reduce, reuse, recycle").

One step size serves all: h = step_size sigma^2.  A Langevin step is h score + sqrt(2 h) noise, and
a leapfrog step has length sqrt(2 h), so that HMC of one leapfrog step and no damping is MALA.  On
noised Gaussian data of variance v per dimension,

- ULA and UHMC, whatever the leapfrog steps and the damping, end at variance v / (1 - h / (2 v));
- MALA and HMC end at v.

The score of noised data nowhere falls faster than 1 / sigma^2 per unit, so below step_size 2 no
unadjusted chain diverges on one denoiser, nor below 2 / K on the product of K.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.energy.line_integral import energy_change
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import normal

Moved = tuple[Float[Tensor, "batch *shape"], Float[Tensor, " batch"]]


@runtime_checkable
class Corrector(Protocol):
    """Moves samples at a level without changing, or hardly changing, their distribution."""

    def __call__(
        self,
        denoiser: Denoiser,
        z: Float[Tensor, "batch *shape"],
        level: NoiseLevel,
        generators: Sequence[torch.Generator],
    ) -> Moved:
        """The moved samples, and the share of each item's proposals that was accepted.

        Args:
            denoiser: whose density at ``level`` is to be kept.
            z: noisy samples, in float32 or float64.
            level: shape () or (batch,), sigma > 0.
            generators: one per item, on the CPU; an item's moves depend on nothing else.
        """
        ...


@dataclass(frozen=True)
class ULA:
    """Unadjusted Langevin: ``z + h score(z) + sqrt(2 h) noise``, all accepted.

    Attributes:
        steps: of the chain, one evaluation each.
        step_size: h / sigma^2, > 0.
    """

    steps: int
    step_size: float | int

    def __post_init__(self) -> None:
        _check(self.steps, self.step_size)

    @torch.no_grad()
    def __call__(
        self,
        denoiser: Denoiser,
        z: Float[Tensor, "batch *shape"],
        level: NoiseLevel,
        generators: Sequence[torch.Generator],
    ) -> Moved:
        """The samples after ``steps`` steps; the acceptance is 1."""
        h = _langevin_step(self.step_size, z, level, generators)
        for _ in range(self.steps):
            z = z + h * denoiser.score(z, level) + (2 * h).sqrt() * normal(z, generators)
        return _finite(z, self.step_size), _ones(z)


@dataclass(frozen=True)
class MALA:
    """Metropolis-adjusted Langevin: ULA's step as a proposal, accepted or not item by item.

    Accepted with probability min(1, p(z') q(z | z') / (p(z) q(z' | z))), where the proposal density
    is log q(z' | z) = -|z' - z - h score(z)|^2 / (4 h) (Roberts and Tweedie 1996).

    Attributes:
        steps: of the chain; each is one evaluation, and ``points`` more if the denoiser is no
            `HasEnergy`.
        step_size: h / sigma^2, > 0.
        points: of the quadrature for log p(z') - log p(z) along the segment from z to z', if the
            denoiser does not know its energy.
    """

    steps: int
    step_size: float | int
    points: int = 4

    def __post_init__(self) -> None:
        _check(self.steps, self.step_size, points=self.points)

    @torch.no_grad()
    def __call__(
        self,
        denoiser: Denoiser,
        z: Float[Tensor, "batch *shape"],
        level: NoiseLevel,
        generators: Sequence[torch.Generator],
    ) -> Moved:
        """The samples after ``steps`` proposals, and the share accepted."""
        h = _langevin_step(self.step_size, z, level, generators)
        score = denoiser.score(z, level)
        accepted = torch.zeros_like(_ones(z))
        for _ in range(self.steps):
            proposal = z + h * score + (2 * h).sqrt() * normal(z, generators)
            there = denoiser.score(proposal, level)
            forth = _item_sum((proposal - z - h * score) ** 2 / (4 * h))
            back = _item_sum((z - proposal - h * there) ** 2 / (4 * h))
            rise = energy_change(denoiser, [z, proposal], level, self.points)
            accept = _accept(forth - back - rise, generators)
            z = _where(accept, proposal, z)
            score = _where(accept, there, score)
            accepted = accepted + accept
        return _finite(z, self.step_size), accepted / self.steps


@dataclass(frozen=True)
class HMC:
    """Hamiltonian Monte Carlo with partial refreshment of the momentum (Horowitz 1991).

    Before each proposal the momentum becomes ``damping p + sqrt(1 - damping^2) noise``; the
    leapfrog path is accepted item by item with probability min(1, exp(-change of H)),
    H = E(z) + |p|^2 / 2, and where it is rejected the momentum turns round, without which the chain
    would keep another distribution.

    Attributes:
        steps: proposals; each is ``leapfrog`` evaluations, and ``leapfrog points`` more if the
            denoiser is no `HasEnergy`.
        step_size: h / sigma^2, > 0; a leapfrog step has length sqrt(2 h).
        leapfrog: leapfrog steps of a proposal.
        damping: the share of the momentum that is kept, in [0, 1).
        points: of the quadrature on each piece of the leapfrog path, if the denoiser does not know
            its energy.
    """

    steps: int
    step_size: float | int
    leapfrog: int = 3
    damping: float | int = 0.7
    points: int = 4

    def __post_init__(self) -> None:
        _check(self.steps, self.step_size, leapfrog=self.leapfrog, points=self.points)
        _check_damping(self.damping)

    @torch.no_grad()
    def __call__(
        self,
        denoiser: Denoiser,
        z: Float[Tensor, "batch *shape"],
        level: NoiseLevel,
        generators: Sequence[torch.Generator],
    ) -> Moved:
        """The samples after ``steps`` proposals, and the share accepted."""
        h = _langevin_step(self.step_size, z, level, generators)
        score = denoiser.score(z, level)
        momentum = normal(z, generators)
        accepted = torch.zeros_like(_ones(z))
        for _ in range(self.steps):
            momentum = _refresh(momentum, self.damping, generators)
            path, flown, there = _fly(denoiser, z, momentum, score, level, h, self.leapfrog)
            rise = energy_change(denoiser, path, level, self.points)
            kinetic = _item_sum(flown**2 - momentum**2) / 2
            accept = _accept(-rise - kinetic, generators)
            z = _where(accept, path[-1], z)
            score = _where(accept, there, score)
            momentum = _where(accept, flown, -momentum)
            accepted = accepted + accept
        return _finite(z, self.step_size), accepted / self.steps


@dataclass(frozen=True)
class UHMC:
    """Unadjusted HMC: leapfrog paths with damped momentum, all accepted.

    The corrector of Du et al. 2023 (appendix), with their leapfrog steps and damping as defaults.

    Attributes:
        steps: leapfrog paths, ``leapfrog`` evaluations each.
        step_size: h / sigma^2, > 0; a leapfrog step has length sqrt(2 h).
        leapfrog: leapfrog steps of a path.
        damping: the share of the momentum that is kept between paths, in [0, 1).
    """

    steps: int
    step_size: float | int
    leapfrog: int = 3
    damping: float | int = 0.7

    def __post_init__(self) -> None:
        _check(self.steps, self.step_size, leapfrog=self.leapfrog)
        _check_damping(self.damping)

    @torch.no_grad()
    def __call__(
        self,
        denoiser: Denoiser,
        z: Float[Tensor, "batch *shape"],
        level: NoiseLevel,
        generators: Sequence[torch.Generator],
    ) -> Moved:
        """The samples after ``steps`` paths; the acceptance is 1."""
        h = _langevin_step(self.step_size, z, level, generators)
        score = denoiser.score(z, level)
        momentum = normal(z, generators)
        for _ in range(self.steps):
            momentum = _refresh(momentum, self.damping, generators)
            path, momentum, score = _fly(denoiser, z, momentum, score, level, h, self.leapfrog)
            z = path[-1]
        return _finite(z, self.step_size), _ones(z)


def _fly(
    denoiser: Denoiser,
    z: Tensor,
    momentum: Tensor,
    score: Tensor,
    level: NoiseLevel,
    h: Tensor,
    count: int,
) -> tuple[list[Tensor], Tensor, Tensor]:
    """The points of a leapfrog path, and the momentum and score at its end."""
    length = (2 * h).sqrt()
    path = [z]
    for _ in range(count):
        momentum = momentum + length / 2 * score
        path.append(path[-1] + length * momentum)
        score = denoiser.score(path[-1], level)
        momentum = momentum + length / 2 * score
    return path, momentum, score


def _refresh(
    momentum: Tensor, damping: float | int, generators: Sequence[torch.Generator]
) -> Tensor:
    return damping * momentum + (1 - damping**2) ** 0.5 * normal(momentum, generators)


def _accept(log_ratio: Tensor, generators: Sequence[torch.Generator]) -> Tensor:
    """Which items are accepted, shape (batch,); a ratio that is not a number rejects."""
    draws = torch.stack([torch.rand((), generator=generator) for generator in generators])
    return draws.to(log_ratio).log() < log_ratio


def _where(accept: Tensor, yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(accept.reshape(-1, *[1] * (yes.ndim - 1)), yes, no)


def _item_sum(x: Tensor) -> Tensor:
    return x.flatten(1).sum(dim=1)


def _ones(z: Tensor) -> Tensor:
    return torch.ones(len(z), dtype=z.dtype, device=z.device)


def _finite(z: Tensor, step_size: float | int) -> Tensor:
    if not bool(z.isfinite().all()):
        raise FloatingPointError(
            f"the chain left the finite numbers at step_size {step_size}; lower it"
        )
    return z


def _langevin_step(
    step_size: float | int, z: Tensor, level: NoiseLevel, generators: Sequence[torch.Generator]
) -> Tensor:
    """h = step_size sigma^2, shaped to broadcast with z."""
    if len(generators) != len(z):
        raise ValueError(
            f"a chain needs a generator per item, got {len(generators)} for a batch of {len(z)}"
        )
    _, sigma = level.like(z)
    if bool((sigma == 0).any()):
        raise ValueError(
            "a chain's step is in units of sigma^2, and sigma = 0 here; run it at a noisier level"
        )
    return step_size * sigma**2


def _check(steps: int, step_size: float | int, **counts: int) -> None:
    for name, count in {"steps": steps, **counts}.items():
        if count < 1:
            raise ValueError(f"{name} must be >= 1, got {count}")
    if not 0 < step_size < float("inf"):
        raise ValueError(
            f"step_size must be a positive number, in units of sigma^2; got {step_size}"
        )


def _check_damping(damping: float | int) -> None:
    if not 0 <= damping < 1:
        raise ValueError(f"damping must lie in [0, 1), 0 draws new momenta; got {damping}")
