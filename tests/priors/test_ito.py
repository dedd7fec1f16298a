"""The Ito estimator, against the densities of mixtures."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from scorefield.priors.energy.ito import ito_increment, log_likelihood_ito, sample_with_likelihood
from scorefield.priors.energy.likelihood import level_grid
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.noise import keyed_noise
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule

ZERO_SNR = DiscreteSchedule.cosine().zero_terminal_snr()
FLOW = FlowSchedule()


def mixture(schedule: NoiseSchedule) -> GaussianMixturePrior:
    means = torch.tensor([[-1.0, 0.5], [1.2, -0.4]]).double()
    return GaussianMixturePrior(means, torch.tensor([0.5, 0.7]).double(), schedule=schedule)


def normal(schedule: NoiseSchedule) -> GaussianMixturePrior:
    return GaussianMixturePrior(torch.zeros(1, 2), torch.ones(1), schedule=schedule)


def exact(prior: GaussianMixturePrior, x: Tensor) -> Tensor:
    """log p(x) under the noise of the cleanest level, in the units of x."""
    level = level_grid(prior.schedule, 1)[-1]
    alpha = float(level.alpha)
    return prior.log_density(alpha * x, level) + x.shape[1] * math.log(alpha)


X = torch.tensor([[0.0, 0.0], [-1.0, 0.5], [1.0, 1.0], [2.0, -1.0]]).double()


@pytest.mark.parametrize("schedule", [ZERO_SNR, FLOW])
def test_exact_at_any_step_on_standard_normal_data(schedule: NoiseSchedule) -> None:
    prior = normal(schedule)
    estimate = log_likelihood_ito(prior, X, steps=3, paths=4)
    torch.testing.assert_close(estimate.value, exact(prior, X), rtol=0, atol=1e-8)
    x, value = sample_with_likelihood(prior, (2,), 3, steps=3, dtype=torch.float64)
    torch.testing.assert_close(value, exact(prior, x), rtol=0, atol=1e-8)


def test_paths_from_given_points_find_their_density() -> None:
    """Within 5 standard errors and the error of the steps, which 200 leave below 0.1."""
    prior = mixture(ZERO_SNR)
    estimate = log_likelihood_ito(prior, X.repeat(50, 1), steps=200, paths=2)
    values = estimate.value.reshape(50, 4)
    standard_error = values.std(dim=0) / 50**0.5
    assert bool(((values.mean(0) - exact(prior, X)).abs() < 5 * standard_error + 0.1).all())
    assert bool((standard_error < 0.08).all())
    believed = estimate.standard_error.square().mean().sqrt()
    assert 0.5 < float(believed / values.std(dim=0).square().mean().sqrt()) < 2


def test_the_error_of_one_path_falls_with_the_steps() -> None:
    """Fluctuation of order steps^-1/2: a quarter of it at 16 times the steps, within a half."""
    prior = mixture(ZERO_SNR)
    x = prior.sample(200, seed=1)
    rms = [
        (log_likelihood_ito(prior, x, steps=n).value - exact(prior, x)).square().mean().sqrt()
        for n in (8, 128)
    ]
    assert 2.0 < float(rms[0] / rms[1]) < 8.0


def test_samples_know_their_density() -> None:
    prior = mixture(ZERO_SNR)
    x, value = sample_with_likelihood(prior, (2,), 400, steps=120, dtype=torch.float64)
    error = value - exact(prior, x)
    assert abs(float(error.mean())) < 5 * float(error.std()) / 20 + 0.05
    assert float(error.std()) < 0.25
    # and they are samples: the means and variances of the mixture, 5 standard errors
    m, v = prior.means.mean(0), prior.means.var(0, correction=0) + (0.5**2 + 0.7**2) / 2
    assert bool(((x.mean(0) - m).abs() < 5 * (v / 400).sqrt()).all())
    assert bool(((x.var(0) / v).log().abs() < 5 * (2 / 400) ** 0.5).all())


def test_one_path_tells_two_densities_apart() -> None:
    """Increments of two denoisers along one path: their difference is the log density ratio."""
    prior = mixture(ZERO_SNR)
    one, other = prior, normal(ZERO_SNR)
    grid = level_grid(ZERO_SNR, 120)
    z = keyed_noise(2, range(300), 0, (2,), torch.float64)
    ratio = torch.zeros(300).double()
    for i, (here, there) in enumerate(pairwise(grid)):
        first, second = one(z, here), other(z, here)
        kept = here.alpha / there.alpha
        spread = here.sigma**2 - (kept * there.sigma) ** 2
        mean = (there.alpha * spread * first.x0 + kept * there.sigma**2 * z) / here.sigma**2
        z = mean + spread.sqrt() * keyed_noise(3, range(300), i, (2,), torch.float64)
        ratio = ratio + ito_increment(first, z, there) - ito_increment(second, z, there)
    x = z / grid[-1].alpha
    error = ratio - (exact(one, x) - exact(other, x))
    assert abs(float(error.mean())) < 5 * float(error.std()) / 300**0.5 + 0.05
    assert float(error.std()) < 0.25


def test_an_item_does_not_depend_on_its_batch() -> None:
    prior, order = mixture(ZERO_SNR), [2, 0]
    whole = log_likelihood_ito(prior, X, steps=5, paths=2).value
    some = log_likelihood_ito(prior, X[order], steps=5, paths=2, items=order).value
    torch.testing.assert_close(some, whole[order])
    x, value = sample_with_likelihood(prior, (2,), 4, steps=5)
    x_some, some = sample_with_likelihood(prior, (2,), 2, steps=5, items=order)
    torch.testing.assert_close((x_some, some), (x[order], value[order]))


def test_density_of_noisy_samples() -> None:
    prior = mixture(FLOW)
    level = FLOW.at_fraction(torch.tensor(0.3).double())
    values = log_likelihood_ito(prior, X.repeat(100, 1), level, steps=60).value.reshape(100, 4)
    error = (values.mean(0) - prior.log_density(X, level)).abs()
    assert bool((error < 5 * values.std(dim=0) / 10 + 0.05).all())


def test_bad_input() -> None:
    prior = mixture(ZERO_SNR)
    level, cleaner = ZERO_SNR.at_timestep(500), ZERO_SNR.at_timestep(400)
    with pytest.raises(ValueError, match="from cleaner to noisier"):
        ito_increment(prior(X, cleaner), X, level)
    with pytest.raises(ValueError, match="paths must be >= 1, got 0"):
        log_likelihood_ito(prior, X, paths=0)
    with pytest.raises(ValueError, match="n must be >= 1, got 0"):
        sample_with_likelihood(prior, (2,), 0)
    with pytest.raises(ValueError, match="items must name each of the"):
        sample_with_likelihood(prior, (2,), 3, items=[0])
