import math

import pytest
import torch
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.guidance.autoguidance import AutoGuidance
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule

VP = DiscreteSchedule.linear_beta()
Z = keyed_noise(0, range(4), 0, (3,), torch.float64)
LEVEL = VP.at_timestep(torch.tensor([50.0, 400.0, 700.0, 950.0]).double())
MEANS = torch.tensor([[0.0, 1.0, 2.0], [1.0, -1.0, 0.5]], dtype=torch.float64)


def prior(scale: float, schedule: NoiseSchedule = VP) -> GaussianMixturePrior:
    return GaussianMixturePrior(MEANS, torch.full((2,), scale).double(), schedule=schedule)


class Particular(Denoiser):
    """A network's manners: answers only at the amplitudes of its own schedule."""

    def __init__(self, inner: GaussianMixturePrior) -> None:
        self.inner, self.schedule = inner, inner.schedule

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        own = self.schedule.at_timestep(self.schedule.timestep(level))
        torch.testing.assert_close(level.alpha, own.alpha, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(level.sigma, own.sigma, rtol=1e-4, atol=1e-6)
        return self.inner(z, level)


@pytest.mark.parametrize("scale", [0.0, 0.5, 2.0])
def test_law(scale: float) -> None:
    good, bad = prior(0.4)(Z, LEVEL), prior(0.9)(Z, LEVEL)
    guided = AutoGuidance(prior(0.4), prior(0.9), scale)(Z, LEVEL)
    for read in ("eps", "x0", "v", "score"):
        a, b = getattr(good, read), getattr(bad, read)
        torch.testing.assert_close(getattr(guided, read), b + scale * (a - b), rtol=1e-6, atol=1e-6)


def test_led_by_itself_it_is_itself() -> None:
    good = prior(0.4)
    assert torch.equal(AutoGuidance(good, good, 3.0)(Z, LEVEL).v, good(Z, LEVEL).v)


def test_scale_one_does_not_ask_the_bad_one() -> None:
    class Unreachable(Denoiser):
        schedule = VP

        def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
            raise AssertionError("must not be evaluated")

    good = prior(0.4)
    assert torch.equal(AutoGuidance(good, Unreachable(), 1)(Z, LEVEL).v, good(Z, LEVEL).v)


@pytest.mark.parametrize("scale", [1.5, 3.0])
def test_a_blurred_bad_one_sharpens_a_gaussian(scale: float) -> None:
    """N(m, s^2) led away from N(m, b^2), b > s, has precision w / v_s - (w - 1) / v_b."""
    mean = MEANS[:1]
    good = GaussianMixturePrior(mean, torch.tensor([0.4]).double())
    bad = GaussianMixturePrior(mean, torch.tensor([0.8]).double(), schedule=good.schedule)
    alpha, sigma = LEVEL.like(Z)
    v_good, v_bad = alpha**2 * 0.16 + sigma**2, alpha**2 * 0.64 + sigma**2
    precision = scale / v_good - (scale - 1) / v_bad
    assert bool((precision > 1 / v_good).all())
    score = AutoGuidance(good, bad, scale).score(Z, LEVEL)
    torch.testing.assert_close(score, -precision * (Z - alpha * mean))


SCHEDULES = [
    VP,
    DiscreteSchedule.cosine(),
    DiscreteSchedule.scaled_linear().zero_terminal_snr(),
    FlowSchedule(),
]


@pytest.mark.parametrize("theirs", SCHEDULES)
def test_another_schedule_is_asked_at_equal_log_snr(theirs: NoiseSchedule) -> None:
    """Through any schedule a density is the same density."""
    mine = DiscreteSchedule.scaled_linear()  # within all of them but at the clean end
    mine = DiscreteSchedule(mine.alphas_cumprod[30:])
    level = mine.at_timestep(torch.tensor([20.0, 400.0, 700.0, 969.0]).double())
    guided = AutoGuidance(Particular(prior(0.4, mine)), Particular(prior(0.9, theirs)), 2.0)
    same = AutoGuidance(prior(0.4, mine), prior(0.9, mine), 2.0)
    torch.testing.assert_close(guided(Z, level).x0, same(Z, level).x0, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(guided(Z, level).eps, same(Z, level).eps, rtol=1e-6, atol=1e-6)


def test_a_flow_led_by_a_variance_preserving_one() -> None:
    flow, theirs = FlowSchedule(), DiscreteSchedule.cosine().zero_terminal_snr()
    guided = AutoGuidance(Particular(prior(0.4, flow)), Particular(prior(0.9, theirs)), 2.0)
    same = AutoGuidance(prior(0.4, flow), prior(0.9, flow), 2.0)
    level = flow.at_fraction(torch.tensor([0.1, 0.4, 0.7, 1.0], dtype=torch.float64))
    torch.testing.assert_close(guided(Z, level).x0, same(Z, level).x0, rtol=1e-6, atol=1e-6)


def test_a_schedule_that_does_not_reach_is_refused() -> None:
    with pytest.raises(ValueError, match=r"would be asked at log-SNR .* outside its"):
        AutoGuidance(prior(0.4, DiscreteSchedule.cosine()), prior(0.9), 2.0)


def test_priors_of_other_shapes_are_refused() -> None:
    flat = GaussianMixturePrior(torch.zeros(1, 2), torch.ones(1), schedule=VP)
    with pytest.raises(ValueError, match=r"shapes \(3,\) and \(2,\)"):
        AutoGuidance(prior(0.4), flat, 2.0)


def test_scale_must_be_finite() -> None:
    with pytest.raises(ValueError, match="scale must be a finite number, got nan"):
        AutoGuidance(prior(0.4), prior(0.9), math.nan)
