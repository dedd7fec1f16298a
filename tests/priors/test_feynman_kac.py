"""Weighted particles against products of Gaussians, which are Gaussian."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from scorefield.priors.composition.compose import compose
from scorefield.priors.composition.feynman_kac import (
    WeightedParticles,
    sample_fkc,
    systematic_resampling,
)
from scorefield.priors.denoiser import Composition
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.expert_weights import Window
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule

LINEAR = DiscreteSchedule.linear_beta()


def gaussian(
    mean: float, scale: float, schedule: NoiseSchedule = LINEAR, dims: int = 1
) -> GaussianMixturePrior:
    return GaussianMixturePrior(
        torch.full((1, dims), mean), torch.tensor([scale]), schedule=schedule
    )


def two(weights: tuple[float, float], schedule: NoiseSchedule = LINEAR) -> Composition:
    experts = (gaussian(-1.0, 1.0, schedule), gaussian(1.0, 0.5, schedule))
    return compose(list(zip(experts, weights, strict=True)))


def moments(particles: WeightedParticles) -> tuple[float, float]:
    w = particles.log_weights.exp()[:, None]
    mean = (w * particles.samples).sum(dim=0)
    return float(mean), float((w * (particles.samples - mean) ** 2).sum() ** 0.5)


@pytest.mark.parametrize(
    ("weights", "schedule"),
    [
        ((0.5, 0.5), LINEAR),
        ((1.0, 1.0), FlowSchedule()),
        ((-0.5, 1.5), LINEAR),
        ((-0.5, 1.5), DiscreteSchedule.scaled_linear().zero_terminal_snr()),
    ],
    ids=str,
)
def test_the_product_is_exact(weights: tuple[float, float], schedule: NoiseSchedule) -> None:
    """Reference 2.3, no. 9: P = sum w_i / s_i^2, M = sum w_i m_i / s_i^2 / P."""
    n = 2000
    particles = sample_fkc(two(weights, schedule), (1,), n, steps=200, batch_size=n)
    precision = weights[0] / 1 + weights[1] / 0.25
    expected = (-weights[0] + weights[1] / 0.25) / precision
    scale = precision**-0.5
    mean, std = moments(particles)
    # 5 standard errors at the smallest effective sample size, and 0.03 of discretisation
    effective = float(particles.ess.min())
    assert effective > 0.3 * n
    assert mean == pytest.approx(expected, abs=5 * scale / math.sqrt(effective) + 0.03)
    assert std == pytest.approx(scale, abs=5 * scale / math.sqrt(2 * effective) + 0.03)


def test_a_square_has_half_the_variance() -> None:
    """W = 2: the SDE alone gives a third of it, and the deterministic one nothing."""
    n = 2000
    particles = sample_fkc(gaussian(0.0, 0.5) ** 2, (1,), n, steps=200, batch_size=n)
    mean, std = moments(particles)
    effective = float(particles.ess.min())
    assert mean == pytest.approx(0.0, abs=5 * 0.354 / math.sqrt(effective))
    assert std == pytest.approx(0.354, abs=5 * 0.354 / math.sqrt(2 * effective) + 0.02)


def test_standard_normals_need_no_weights() -> None:
    """The linear drift is there for this: whatever W, the weights stay, and var is 1 / W."""
    n = 2000
    particles = sample_fkc(gaussian(0.0, 1.0) ** 3, (1,), n, steps=100, batch_size=n)
    torch.testing.assert_close(particles.ess, torch.full((100,), float(n)).double())
    _, std = moments(particles)
    assert std == pytest.approx(3**-0.5, abs=5 * 3**-0.5 / math.sqrt(2 * n) + 0.01)


def test_one_density_needs_no_weights() -> None:
    """|S|^2 = sum w_i |s_i|^2: all particles weigh the same, and nothing is resampled."""
    particles = sample_fkc(gaussian(0.3, 0.5) ** 1, (1,), 64, steps=20, resample_below=1.0)
    torch.testing.assert_close(particles.ess, torch.full((20,), 64.0).double())
    assert particles.log_weights.exp().sum() == pytest.approx(1.0)


def test_a_population_depends_on_its_seed_alone() -> None:
    q = two((0.5, 0.5))
    options: dict[str, Any] = {"particles": 40, "steps": 20}
    whole = sample_fkc(q, (1,), **options)
    parts = sample_fkc(q, (1,), batch_size=7, **options)
    torch.testing.assert_close(parts.samples, whole.samples)
    assert torch.equal(sample_fkc(q, (1,), **options).samples, whole.samples)
    assert not torch.allclose(sample_fkc(q, (1,), seed=1, **options).samples, whole.samples)
    assert sample_fkc(q, (1,), dtype=torch.float64, **options).samples.dtype == torch.float64


def test_systematic_resampling() -> None:
    """Every particle is taken n w_i times, rounded up or down."""
    weights = torch.tensor([0.5, 0.3, 0.15, 0.05]).double()
    taken = systematic_resampling(weights.log() + 3, 10).bincount(minlength=4)
    assert int(taken.sum()) == 10
    assert bool(((taken - 10 * weights).abs() < 1).all())
    counts = torch.stack(
        [
            systematic_resampling(weights.log(), 10, seed).bincount(minlength=4)
            for seed in range(500)
        ]
    )
    torch.testing.assert_close(counts.double().mean(dim=0), 10 * weights, rtol=0, atol=0.1)


def test_draw_takes_the_weights_along() -> None:
    samples = torch.arange(3.0)[:, None]
    particles = WeightedParticles(samples, torch.tensor([0.0, 0.5, 0.5]).log(), torch.zeros(0))
    assert particles.draw(4)[:, 0].tolist() == [1.0, 1.0, 2.0, 2.0]


MIXTURE = GaussianMixturePrior(torch.zeros(2, 1), torch.ones(2), labels=["a", "b"])


@pytest.mark.parametrize(
    ("run", "message"),
    [
        (
            lambda: sample_fkc(compose([(MIXTURE, Window(-1, 1))]), (1,)),
            "needs weights that are numbers",
        ),
        (
            lambda: sample_fkc(MIXTURE.condition(["a", "b"]) ** 2, (1,)),
            "one condition, got one with 2 items",
        ),
        (lambda: sample_fkc(gaussian(0.0, 1.0) ** -1, (1,)), "not normalisable"),
        (lambda: sample_fkc(MIXTURE**2, (1,), 1), "particles must be >= 2"),
        (lambda: sample_fkc(MIXTURE**2, (1,), resample_below=2), "0 to 1; got 2"),
    ],
)
def test_refused(run: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run()
