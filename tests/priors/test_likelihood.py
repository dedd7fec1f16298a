"""The likelihood of the probability-flow ODE, against the densities of mixtures."""

import math

import pytest
import torch
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.energy.likelihood import bits_per_dim, level_grid, log_likelihood_ode
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.loading import load_prior
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule
from scorefield.world import draw_scene, render

ZERO_SNR = DiscreteSchedule.cosine().zero_terminal_snr()
LINEAR = DiscreteSchedule.linear_beta()
FLOW = FlowSchedule()


def mixture(schedule: NoiseSchedule = ZERO_SNR) -> GaussianMixturePrior:
    means = torch.tensor([[-1.0, 0.5], [1.2, -0.4], [0.3, 1.0]]).double()
    scales = torch.tensor([0.4, 0.5, 0.4]).double()
    weights = torch.tensor([0.3, 0.3, 0.4]).double()
    return GaussianMixturePrior(means, scales, weights, schedule=schedule)


X = torch.tensor([[0.0, 0.0], [-1.0, 0.5], [1.0, 1.0], [3.0, -2.0]]).double()


def exact(prior: GaussianMixturePrior, x: Tensor) -> Tensor:
    """log p(x) under the noise of the cleanest level, in the units of x."""
    level = level_grid(prior.schedule, 1)[-1]
    alpha = float(level.alpha)
    return prior.log_density(alpha * x, level) + x.shape[1] * math.log(alpha)


@pytest.mark.parametrize("schedule", [ZERO_SNR, FLOW])
def test_exact_trace_and_exact_terminal_density(schedule: NoiseSchedule) -> None:
    """These schedules end in pure noise: nothing is left but the error of the method."""
    prior = mixture(schedule)
    estimate = log_likelihood_ode(prior, X, steps=64, probes=None)
    torch.testing.assert_close(estimate.value, exact(prior, X), rtol=0, atol=1e-5)
    torch.testing.assert_close(estimate.energy, -estimate.value)
    assert not bool(estimate.standard_error.any())


def test_a_schedule_that_keeps_signal_has_a_prior_mismatch() -> None:
    """log-SNR -10.1 is left: errors of 1e-4 to 1e-2, unless the density there is given."""
    prior = mixture(LINEAR)
    told = log_likelihood_ode(prior, X, steps=64, probes=None, terminal=prior.log_density)
    torch.testing.assert_close(told.value, exact(prior, X), rtol=0, atol=1e-5)
    assumed = log_likelihood_ode(prior, X, steps=64, probes=None)
    mismatch = (assumed.value - exact(prior, X)).abs().max()
    assert 1e-4 < float(mismatch) < 1e-2


def test_the_method_has_order_4() -> None:
    prior = mixture()
    errors = [
        (log_likelihood_ode(prior, X, steps=n, probes=None).value - exact(prior, X)).norm()
        for n in (24, 48)
    ]
    assert 3.7 < math.log2(float(errors[0] / errors[1]))


@pytest.mark.parametrize("schedule", [ZERO_SNR, FLOW])
def test_density_of_noisy_samples(schedule: NoiseSchedule) -> None:
    """In the units of z, whatever alpha^2 + sigma^2 is."""
    prior = mixture(schedule)
    level = schedule.at_flow_sigma(torch.tensor(0.3).double())
    estimate = log_likelihood_ode(prior, X, level, steps=32, probes=None)
    torch.testing.assert_close(estimate.value, prior.log_density(X, level), rtol=0, atol=1e-5)


def test_hutchinson_is_unbiased_and_knows_its_error() -> None:
    """Over 400 items at each point; 5 standard errors, that of an error estimate included."""
    prior = mixture()
    truth = log_likelihood_ode(prior, X, steps=4, probes=None).value
    estimate = log_likelihood_ode(prior, X.repeat(400, 1), steps=4, probes=4)
    values = estimate.value.reshape(400, 4)
    error = values.std(dim=0) / 20
    assert bool(((values.mean(0) - truth).abs() < 5 * error).all())
    squares = estimate.standard_error.square().reshape(400, 4)
    believed = squares.mean(0) / 400
    assert bool((believed / error**2).log().abs().max() < 5 * 2**0.5 / 400**0.5 + 0.1)
    assert bool(log_likelihood_ode(prior, X, steps=1).standard_error.isnan().all())


def test_an_item_does_not_depend_on_its_batch() -> None:
    prior = mixture()
    whole = log_likelihood_ode(prior, X, steps=4, probes=2, seed=3).value
    order = [2, 0]
    some = log_likelihood_ode(prior, X[order], steps=4, probes=2, seed=3, items=order).value
    torch.testing.assert_close(some, whole[order])
    other = log_likelihood_ode(prior, X, steps=4, probes=2, seed=4).value
    assert not torch.allclose(other, whole)


def test_any_event_shape_and_float32() -> None:
    x = keyed_noise(0, range(2), 0, (1, 2, 3))
    prior = GaussianMixturePrior(torch.zeros(1, 1, 2, 3), torch.ones(1), schedule=ZERO_SNR)
    estimate = log_likelihood_ode(prior, x, steps=2, probes=None)
    # v = 0: standard normal data does not move, and blurring adds what alpha = 1 / cosh takes
    variance = 1 + math.exp(-10)
    normal = -0.5 * (x.flatten(1) ** 2 / variance + math.log(2 * math.pi * variance)).sum(1)
    torch.testing.assert_close(estimate.value, normal)
    assert estimate.value.dtype == torch.float32


@pytest.mark.parametrize("schedule", [ZERO_SNR, LINEAR, FLOW])
def test_grid(schedule: NoiseSchedule) -> None:
    grid = level_grid(schedule, 5)
    s = torch.stack([(level.alpha / level.sigma).asinh() for level in grid])
    torch.testing.assert_close(s.diff(), s.diff()[:1].expand(5))
    assert len(grid) == 6 and float(grid[-1].log_snr) <= 10 + 1e-9
    assert float(grid[0].alpha) == float(schedule.at_fraction(1.0).alpha.double()) or s[0] < 0.01
    last = schedule.at_flow_sigma(0.5)
    assert float(level_grid(schedule, 3, last)[-1].log_snr) == pytest.approx(0, abs=1e-6)


def test_bits_per_dim() -> None:
    """Uniform 8-bit data in [-1, 1] costs 8 bits: density 2^-D, 256 bins of 2 / 256."""
    uniform = torch.tensor([-12 * math.log(2)])
    torch.testing.assert_close(bits_per_dim(uniform, (3, 2, 2)), torch.tensor([1.0]))
    torch.testing.assert_close(bits_per_dim(uniform, (3, 2, 2), 2 / 256), torch.tensor([8.0]))
    with pytest.raises(ValueError, match="bin_width must be > 0"):
        bits_per_dim(uniform, (12,), 0)


@pytest.mark.slow
def test_a_network_finds_its_images_likelier_than_noise() -> None:
    """By more than a bit per latent dimension; measured: 3 bits."""
    prior = load_prior("shapes").with_network_gradient()
    pictures = render([draw_scene(77, 0)]).images
    static = torch.rand(pictures.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        z = prior.encode(torch.cat([pictures, static]))
    estimate = log_likelihood_ode(prior.condition(None), z, steps=6)
    bits = bits_per_dim(estimate.value, prior.latent_shape)
    assert float(bits[1] - bits[0]) > 1


def test_bad_input() -> None:
    class Frozen(Denoiser):
        schedule = ZERO_SNR

        def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
            return mixture().predict(z.detach(), level)

    class Broken(Denoiser):
        schedule = ZERO_SNR

        def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
            return Prediction.from_v(z, level, z * torch.nan)

    with pytest.raises(ValueError, match=r"take prior\.with_network_gradient\(\)"):
        log_likelihood_ode(Frozen(), X)
    with pytest.raises(FloatingPointError, match="not finite"):
        log_likelihood_ode(Broken(), X, steps=1)
    with pytest.raises(ValueError, match="None for the exact trace; got 0"):
        log_likelihood_ode(mixture(), X, probes=0)
    with pytest.raises(ValueError, match="steps must be >= 1, got 0"):
        log_likelihood_ode(mixture(), X, steps=0)
    with pytest.raises(ValueError, match="leave the level of clean samples out"):
        log_likelihood_ode(mixture(FLOW), X, FLOW.at_fraction(0.0))
    with pytest.raises(ValueError, match="one level for the whole batch is needed, got 4"):
        log_likelihood_ode(mixture(), X, ZERO_SNR.at_timestep(300).expand(4))
