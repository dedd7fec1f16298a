import math

import pytest
import torch
from torch import Tensor

from scorefield.priors.condition import Condition
from scorefield.priors.denoiser import Denoiser
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.guidance.classifier_free import (
    ClassifierFreeGuidance,
    GuidanceInterval,
    component_along,
)
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import DiscreteSchedule

SCHEDULE = DiscreteSchedule.scaled_linear().zero_terminal_snr()
MEANS = torch.tensor([[0.0, 1.0, 2.0], [1.0, -1.0, 0.5], [-2.0, 0.0, 0.3]], dtype=torch.float64)
PRIOR = GaussianMixturePrior(
    MEANS, torch.tensor([0.5, 0.4, 0.6]).double(), None, ["cat", "dog", "cow"], SCHEDULE
)
CAT, ANY = PRIOR.condition("cat"), PRIOR.unconditional
Z = keyed_noise(0, range(4), 0, (3,), torch.float64)
LEVEL = SCHEDULE.at_timestep(torch.tensor([50, 400, 700, 950]))


class Unreachable(Denoiser):
    schedule = SCHEDULE

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        raise AssertionError("must not be evaluated")


@pytest.mark.parametrize("scale", [-1.0, 0.0, 0.5, 1.0, 7.5])
def test_convention(scale: float) -> None:
    cond, uncond = CAT(Z, LEVEL), ANY(Z, LEVEL)
    guided = ClassifierFreeGuidance(CAT, ANY, scale)(Z, LEVEL)
    for read in ("eps", "x0", "v", "velocity", "score"):
        c, u = getattr(cond, read), getattr(uncond, read)
        torch.testing.assert_close(getattr(guided, read), u + scale * (c - u), rtol=1e-6, atol=1e-6)


def test_dreamfusion_100_is_101() -> None:
    omega = 100
    cond, uncond = CAT(Z, LEVEL).eps, ANY(Z, LEVEL).eps
    theirs = (1 + omega) * cond - omega * uncond
    torch.testing.assert_close(
        ClassifierFreeGuidance(CAT, ANY, 101)(Z, LEVEL).eps, theirs, rtol=1e-6, atol=1e-6
    )


def test_the_half_that_does_not_count_is_not_evaluated() -> None:
    unguided = ClassifierFreeGuidance(CAT, Unreachable(), 1.0, rescale=0.7)
    assert torch.equal(unguided(Z, LEVEL).v, CAT(Z, LEVEL).v)
    assert torch.equal(ClassifierFreeGuidance(Unreachable(), ANY, 0.0)(Z, LEVEL).v, ANY(Z, LEVEL).v)


def test_guided_density_is_the_tempered_quotient() -> None:
    """The guided score is the gradient of s log p(z|c) + (1 - s) log p(z)."""
    z = Z.clone().requires_grad_()
    log_density = 3 * CAT.log_density(z, LEVEL) - 2 * ANY.log_density(z, LEVEL)
    (gradient,) = torch.autograd.grad(log_density.sum(), z)
    torch.testing.assert_close(ClassifierFreeGuidance(CAT, ANY, 3.0).score(Z, LEVEL), gradient)


@pytest.mark.parametrize("scale", [0.5, 1.5, 4.0])
def test_two_gaussians_make_a_gaussian(scale: float) -> None:
    """Precisions s / v_c - (s - 1) / v_u add up, and so do means weighted by them."""
    pair = GaussianMixturePrior(
        torch.tensor([[0.6], [-0.4]]).double(),
        torch.tensor([0.5, 0.9]).double(),
        None,
        ["narrow", "wide"],
        SCHEDULE,
    )
    guided = ClassifierFreeGuidance(pair.condition("narrow"), pair.condition("wide"), scale)
    level = SCHEDULE.at_timestep(torch.tensor([100.0, 500.0, 999.0]).double())
    z = keyed_noise(1, range(3), 0, (1,), torch.float64)
    alpha, sigma = level.like(z)
    narrow, wide = alpha**2 * 0.25 + sigma**2, alpha**2 * 0.81 + sigma**2
    precision = scale / narrow - (scale - 1) / wide
    mean = (scale * alpha * 0.6 / narrow - (scale - 1) * alpha * -0.4 / wide) / precision
    torch.testing.assert_close(guided.score(z, level), -precision * (z - mean))


@pytest.mark.parametrize("scale", [math.nan, math.inf])
def test_scale_must_be_finite(scale: float) -> None:
    with pytest.raises(ValueError, match="scale must be a finite number, got"):
        ClassifierFreeGuidance(CAT, ANY, scale)


class Counting(Denoiser):
    """Counts the items it is asked about."""

    def __init__(self, inner: Denoiser) -> None:
        self.inner, self.schedule, self.items = inner, inner.schedule, 0

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        self.items += len(z)
        return self.inner(z, level)


def test_interval_is_guided_inside_and_conditional_outside() -> None:
    cond, uncond = Counting(CAT), Counting(ANY)
    low, high = (float(SCHEDULE.at_timestep(t).log_snr) for t in (800, 300))
    limited = GuidanceInterval(ClassifierFreeGuidance(cond, uncond, 4.0), cond, low, high)
    prediction = limited(Z, LEVEL)  # of the four levels, 400 and 700 are inside
    assert (cond.items, uncond.items) == (4, 2)
    everywhere = ClassifierFreeGuidance(CAT, ANY, 4.0)(Z, LEVEL)
    inside = torch.tensor([False, True, True, False])
    assert torch.equal(prediction.v[~inside], CAT(Z, LEVEL).v[~inside])
    torch.testing.assert_close(prediction.v[inside], everywhere.v[inside], rtol=0, atol=1e-12)
    assert torch.equal(prediction.z, Z)
    torch.testing.assert_close(prediction.eps[inside], everywhere.eps[inside])


def test_outside_the_interval_the_guided_one_is_not_evaluated() -> None:
    limited = GuidanceInterval(Unreachable(), CAT, 20.0, math.inf)
    assert torch.equal(limited(Z, LEVEL).v, CAT(Z, LEVEL).v)
    limited = GuidanceInterval(CAT, Unreachable(), -math.inf, math.inf)
    level = SCHEDULE.at_timestep(999)  # log-SNR -inf belongs to it
    assert torch.equal(limited(Z, level).v, CAT(Z, level).v)


def test_interval_is_closed_below_and_open_above() -> None:
    # sigma in (sigma_lo, sigma_hi], as the paper has it
    level = SCHEDULE.at_timestep(500)
    at = float(level.log_snr)
    assert torch.equal(GuidanceInterval(CAT, ANY, at, at + 1)(Z, level).v, CAT(Z, level).v)
    assert torch.equal(GuidanceInterval(CAT, ANY, at - 1, at)(Z, level).v, ANY(Z, level).v)


@pytest.mark.parametrize("ends", [(1.0, -1.0), (0.0, 0.0), (math.nan, 1.0), (0.0, math.nan)])
def test_interval_must_not_be_empty(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="needs low < high, got"):
        GuidanceInterval(CAT, ANY, *ends)


def test_interval_keeps_the_graph() -> None:
    z = Z.clone().requires_grad_()
    limited = GuidanceInterval(CAT, ANY, -1.0, 1.0)
    (gradient,) = torch.autograd.grad(limited(z, LEVEL).v.sum(), z)
    assert bool((gradient.abs().sum(dim=1) > 0).all())


def test_component_along() -> None:
    x = torch.tensor([[3.0, 4.0], [1.0, 2.0]])
    direction = torch.tensor([[10.0, 0.0], [0.0, 0.0]])
    expected = torch.tensor([[3.0, 0.0], [0.0, 0.0]])
    assert torch.equal(component_along(x, direction), expected)


def test_negative_prompt_leads_away() -> None:
    dog = PRIOR.condition("dog")
    level = SCHEDULE.at_timestep(999)
    x0 = ClassifierFreeGuidance(CAT, dog, 2.0)(Z, level).x0
    # without any signal the posterior means are the prior means: 2 cat - dog
    torch.testing.assert_close(x0, (2 * MEANS[0] - MEANS[1]).expand(4, 3))


def test_zero_terminal_snr() -> None:
    level = SCHEDULE.at_timestep(999)
    prediction = ClassifierFreeGuidance(CAT, ANY, 5.0, rescale=0.5)(Z, level)
    assert bool(prediction.x0.isfinite().all())
    torch.testing.assert_close(prediction.eps, Z)


@pytest.mark.parametrize("phi", [0.3, 1.0])
def test_rescale_restores_the_standard_deviation(phi: float) -> None:
    plain = ClassifierFreeGuidance(CAT, ANY, 7.5)(Z, LEVEL).v
    rescaled = ClassifierFreeGuidance(CAT, ANY, 7.5, rescale=phi)(Z, LEVEL).v
    target = CAT(Z, LEVEL).v.std(dim=1)
    expected = phi * target + (1 - phi) * plain.std(dim=1)
    torch.testing.assert_close(rescaled.std(dim=1), expected)
    # only the length changes
    torch.testing.assert_close(
        torch.cosine_similarity(plain, rescaled), torch.ones(4, dtype=torch.float64)
    )


def test_rescale_out_of_range() -> None:
    with pytest.raises(ValueError, match=r"rescale must lie in \[0, 1\], got 1.5"):
        ClassifierFreeGuidance(CAT, ANY, 2.0, rescale=1.5)


def test_rows_reach_both_halves() -> None:
    guided = ClassifierFreeGuidance(
        PRIOR.condition(["cat", "dog", "cow", "cat"]), PRIOR.condition("cow"), 3.0
    )
    part = guided.rows([1, 2])(Z[1:3], LEVEL[1:3])
    torch.testing.assert_close(part.x0, guided(Z, LEVEL).x0[1:3])


def test_conditions_concatenate_only_if_they_fit() -> None:
    a = Condition({"text": torch.zeros(1, 7), "mask": torch.ones(3, 2)})
    assert len(a) == 3
    assert len(Condition.cat([a, a])) == 6
    assert a.rows([2]).tensors["text"].shape == (1, 7)
    with pytest.raises(ValueError, match="conditions differ"):
        Condition.cat([a, Condition({"text": torch.zeros(1, 7)})])
    with pytest.raises(ValueError, match="must agree in batch size"):
        Condition({"text": torch.zeros(2, 7), "mask": torch.ones(3, 2)})
