"""Chains against their stationary variances, in closed form on Gaussians."""

import math

import pytest
import torch
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.energy.mcmc import HMC, MALA, UHMC, ULA, Corrector
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise, noise_generator
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import DiscreteSchedule

SCHEDULE = DiscreteSchedule.linear_beta()
LEVEL = SCHEDULE.at_timestep(torch.tensor(300.0).double())
KERNELS: list[Corrector] = [ULA(4, 0.3), MALA(4, 0.8), HMC(4, 0.3), UHMC(4, 0.3)]


class ScoreOnly(Denoiser):
    """Another denoiser without its energy."""

    def __init__(self, inner: Denoiser) -> None:
        self.inner = inner
        self.schedule = inner.schedule

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        return self.inner(z, level)


def gaussian(dimensions: int, scale: float = 0.7) -> GaussianMixturePrior:
    return GaussianMixturePrior(
        torch.zeros(1, dimensions).double(), torch.tensor([scale]).double(), schedule=SCHEDULE
    )


def bumps() -> GaussianMixturePrior:
    means = torch.tensor([[-1.0, 0.3], [1.2, -0.5]]).double()
    return GaussianMixturePrior(means, torch.tensor([0.5, 0.3]).double(), schedule=SCHEDULE)


def variance() -> float:
    """Of the noised data of `gaussian`."""
    return float((0.7 * LEVEL.alpha) ** 2 + LEVEL.sigma**2)


def step_size(fraction: float) -> float:
    """That whose h is this fraction of the variance."""
    return fraction * variance() / float(LEVEL.sigma) ** 2


def generators(n: int, seed: int = 0) -> list[torch.Generator]:
    return [noise_generator(seed, i) for i in range(n)]


@pytest.mark.parametrize("fraction", [0.1, 0.6])
@pytest.mark.parametrize(
    "kernel",
    [
        lambda size: ULA(60, size),
        lambda size: UHMC(30, size, leapfrog=1, damping=0.0),
        lambda size: UHMC(30, size, leapfrog=3, damping=0.7),
    ],
)
def test_unadjusted_chains_end_at_their_biased_variance(kernel: type, fraction: float) -> None:
    """v / (1 - h / (2 v)), over 20000 independent dimensions; 5 standard errors."""
    n = 20000
    v = variance()
    z, acceptance = kernel(step_size(fraction))(
        gaussian(n), v**0.5 * keyed_noise(0, [0], 0, (n,), torch.float64), LEVEL, generators(1)
    )
    expected = v / (1 - fraction / 2)
    assert abs(float(z.var()) - expected) < 5 * expected * math.sqrt(2 / n)
    assert acceptance.tolist() == [1.0]


ROWS = 1200
ERROR = 5 * math.sqrt(2 / ROWS)
"""Five standard errors of the relative variance of ROWS samples."""


def chains() -> Tensor:
    """Exact samples, one dimension a row."""
    return variance() ** 0.5 * keyed_noise(1, range(ROWS), 0, (1,), torch.float64)


@pytest.mark.parametrize("knows_energy", [True, False])
@pytest.mark.parametrize(
    "kernel",
    [
        lambda size: MALA(8, size),
        lambda size: HMC(6, size, leapfrog=1, damping=0.0),
        lambda size: HMC(6, size, leapfrog=3, damping=0.9),
    ],
)
def test_adjusted_chains_keep_the_variance(kernel: type, knows_energy: bool) -> None:
    denoiser = gaussian(1) if knows_energy else ScoreOnly(gaussian(1))
    z, acceptance = kernel(step_size(0.8))(denoiser, chains(), LEVEL, generators(ROWS, 2))
    assert abs(float(z.var()) / variance() - 1) < ERROR
    assert 0.3 < float(acceptance.mean()) < 1
    # moved, and not all alike: the acceptance is that of an item
    assert float((z * chains()).mean()) < 0.5 * variance()
    assert len(acceptance.unique()) > 3


def test_that_tolerance_catches_the_known_wrong_proposal_density() -> None:
    """|z' - z - h s|^2 / (2 h^2) in place of / (4 h), a defect of a public implementation."""
    z, rows = chains(), generators(ROWS, 2)
    prior, h = gaussian(1), torch.tensor(0.5 * variance()).double()
    for _ in range(8):
        score = prior.score(z, LEVEL)
        noise = torch.stack([torch.randn(1, generator=g) for g in rows]).double()
        proposal = z + h * score + (2 * h).sqrt() * noise
        forth = (proposal - z - h * score) ** 2 / (2 * h**2)
        back = (z - proposal - h * prior.score(proposal, LEVEL)) ** 2 / (2 * h**2)
        rise = prior.energy(proposal, LEVEL) - prior.energy(z, LEVEL)
        uniform = torch.stack([torch.rand((), generator=g) for g in rows]).double()
        accept = uniform.log() < (forth - back).sum(1) - rise
        z = torch.where(accept[:, None], proposal, z)
    assert abs(float(z.var()) / variance() - 1) > 2 * ERROR


def test_adjusted_hmc_of_one_leapfrog_step_is_mala() -> None:
    """A leapfrog step has length sqrt(2 h); the two ratios are equal, to rounding."""
    prior, z = bumps(), keyed_noise(3, range(50), 0, (2,), torch.float64)
    _, sigma = LEVEL.like(z)
    h = 0.5 * sigma**2
    noise = keyed_noise(4, range(50), 0, (2,), torch.float64)
    score = prior.score(z, LEVEL)
    proposal = z + h * score + (2 * h).sqrt() * noise
    there = prior.score(proposal, LEVEL)
    langevin = ((proposal - z - h * score) ** 2 - (z - proposal - h * there) ** 2) / (4 * h)
    flown = noise + (h / 2).sqrt() * (score + there)
    torch.testing.assert_close(langevin.sum(1), ((noise**2 - flown**2) / 2).sum(1))


@pytest.mark.parametrize("kernel", [MALA(3, 0.8), HMC(3, 0.5)])
def test_the_line_integral_accepts_what_the_energy_accepts(kernel: Corrector) -> None:
    z = keyed_noise(5, range(200), 0, (2,), torch.float64)
    by_energy = kernel(bumps(), z, LEVEL, generators(200))
    by_line = kernel(ScoreOnly(bumps()), z, LEVEL, generators(200))
    torch.testing.assert_close(by_line, by_energy)
    assert 0 < float(by_energy[1].mean()) < 1


@pytest.mark.parametrize("kernel", KERNELS)
def test_an_item_does_not_depend_on_its_batch(kernel: Corrector) -> None:
    prior, z = bumps(), keyed_noise(6, range(5), 0, (2,), torch.float64)
    whole, rates = kernel(prior, z, LEVEL.expand(5), generators(5))
    order = [3, 0, 4]
    rows = [noise_generator(0, i) for i in order]
    some, some_rates = kernel(prior, z[order], LEVEL, rows)
    torch.testing.assert_close(some, whole[order])
    assert torch.equal(some_rates, rates[order])


def test_a_rejected_item_stays_where_it_is() -> None:
    """A step far too large is rejected, item by item, and leaves no trace."""
    z = keyed_noise(7, range(20), 0, (2,), torch.float64)
    moved, rates = MALA(1, 50.0)(bumps(), z, LEVEL, generators(20))
    assert torch.equal(moved[rates == 0], z[rates == 0]) and bool((rates == 0).any())
    far, rates = HMC(8, 1e6, leapfrog=60)(gaussian(2), z, LEVEL, generators(20))
    assert torch.equal(far, z) and not bool(rates.any())


def test_the_momentum_turns_round_where_it_is_rejected() -> None:
    """Kept as it is, it would bring this chain's variance to 1.8 times the right one."""
    kernel = HMC(8, step_size(1.2), leapfrog=2, damping=0.95)
    z, acceptance = kernel(gaussian(1), chains(), LEVEL, generators(ROWS, 8))
    assert float(acceptance.mean()) < 0.9
    assert abs(float(z.var()) / variance() - 1) < ERROR


def test_float32_stays_float32() -> None:
    z = keyed_noise(6, range(3), 0, (2,))
    for kernel in KERNELS:
        moved, rates = kernel(bumps(), z, SCHEDULE.at_timestep(300), generators(3))
        assert moved.dtype == rates.dtype == torch.float32


def test_bad_input() -> None:
    z = keyed_noise(6, range(3), 0, (2,))
    clean = NoiseLevel(torch.ones(()), torch.zeros(()))
    with pytest.raises(ValueError, match="sigma = 0 here"):
        ULA(1, 0.1)(bumps(), z, clean, generators(3))
    with pytest.raises(ValueError, match="got 2 for a batch of 3"):
        ULA(1, 0.1)(bumps(), z, LEVEL, generators(2))
    with pytest.raises(ValueError, match="steps must be >= 1, got 0"):
        MALA(0, 0.1)
    with pytest.raises(ValueError, match="step_size must be a positive number"):
        ULA(1, math.nan)
    with pytest.raises(ValueError, match=r"damping must lie in \[0, 1\)"):
        UHMC(1, 0.1, damping=1.0)
    with pytest.raises(ValueError, match="leapfrog must be >= 1"):
        HMC(1, 0.1, leapfrog=0)
    with pytest.raises(FloatingPointError, match="step_size 1000"):
        ULA(200, 1000)(bumps(), z, LEVEL, generators(3))
