"""Algorithm 1 against a literal restatement and the closed forms of Gaussians."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from diffusers import DDPMScheduler

from scorefield.priors.composition.video_adapter import (
    convex_video_adapter,
    inverse_video_adapter,
    video_adapter,
)
from scorefield.priors.denoiser import Composition
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.noise import keyed_noise
from scorefield.priors.sampling import sample
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule

LINEAR = DiscreteSchedule.linear_beta()
VIDEO = (4, 1, 2, 2)
"""Frames, channels, height, width."""


def clips(seed: int, *labels: str) -> GaussianMixturePrior:
    generator = torch.Generator().manual_seed(seed)
    means = torch.randn(len(labels), *VIDEO, generator=generator, dtype=torch.float64)
    return GaussianMixturePrior(means, torch.full((len(labels),), 0.5).double(), None, labels)


SMALL, PRIOR = clips(0, "left", "right"), clips(1, "left", "right", "up")
TEXT, NONE, BROAD = SMALL.condition("left"), SMALL.unconditional, PRIOR.condition("left")
BROAD_NONE = PRIOR.unconditional
Z = keyed_noise(0, range(4), 0, VIDEO, torch.float64)
LEVEL = LINEAR.at_timestep(torch.tensor([50.0, 400.0, 700.0, 950.0]).double())
S, N, P, PN = (d(Z, LEVEL).eps for d in (TEXT, NONE, BROAD, BROAD_NONE))


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5])
@pytest.mark.parametrize("alpha", [1.0, 2.5])
def test_algorithm_1_literally(gamma: float, alpha: float) -> None:
    eps_text = S + gamma * P
    eps = N
    eps_cfg = eps + alpha * (eps_text - eps)
    adapted = video_adapter(TEXT, NONE, BROAD, gamma, alpha)
    torch.testing.assert_close(adapted(Z, LEVEL).eps, eps_cfg)
    total = adapted.weight_sum(LEVEL.log_snr)
    torch.testing.assert_close(total, torch.full((4,), 1 + alpha * gamma).double())


def test_normalised() -> None:
    adapted = video_adapter(TEXT, NONE, BROAD, 0.5, 2.5, normalize=True)
    expected = N + 2.5 * ((S + 0.5 * P) / 1.5 - N)
    torch.testing.assert_close(adapted(Z, LEVEL).eps, expected)


def test_inverse() -> None:
    adapted = inverse_video_adapter(TEXT, BROAD, BROAD_NONE, 0.2, 2.5)
    torch.testing.assert_close(adapted(Z, LEVEL).eps, PN + 2.5 * (P + 0.2 * S - PN))


def test_convex() -> None:
    adapted = convex_video_adapter(TEXT, BROAD, 0.4)
    torch.testing.assert_close(adapted(Z, LEVEL).eps, 0.6 * P + 0.4 * S)
    normalised = video_adapter(TEXT, NONE, BROAD, 1.5, 1.0, normalize=True)
    torch.testing.assert_close(adapted(Z, LEVEL).eps, normalised(Z, LEVEL).eps)
    # theirs: the last, cleanest steps are the prior's alone
    early = convex_video_adapter(TEXT, BROAD, 0.4, window=(-math.inf, 0))
    clean = (LEVEL.log_snr >= 0).reshape(-1, 1, 1, 1, 1)
    expected = torch.where(clean, P, 0.6 * P + 0.4 * S)
    torch.testing.assert_close(early(Z, LEVEL).eps, expected)


@pytest.mark.parametrize("normalize", [False, True])
def test_window(normalize: bool) -> None:
    """Outside the window the prior has no part in anything, the normalisation included."""
    low, high = -2.0, 3.0
    adapted = video_adapter(TEXT, NONE, BROAD, 0.5, 2.5, normalize=normalize, window=(low, high))
    inside = ((LEVEL.log_snr >= low) & (LEVEL.log_snr < high)).reshape(-1, 1, 1, 1, 1)
    assert 0 < int(inside.sum()) < 4
    gamma = 0.5 * inside
    eps_text = (S + gamma * P) / (1 + gamma if normalize else 1)
    torch.testing.assert_close(adapted(Z, LEVEL).eps, N + 2.5 * (eps_text - N))


def test_a_prior_of_another_schedule() -> None:
    flow = GaussianMixturePrior(
        PRIOR.means, PRIOR.scales, PRIOR.weights, PRIOR.labels, FlowSchedule()
    )
    adapted = video_adapter(TEXT, NONE, flow.condition("left"), 0.5, 2.5)
    plain = video_adapter(TEXT, NONE, BROAD, 0.5, 2.5)
    torch.testing.assert_close(adapted(Z, LEVEL).eps, plain(Z, LEVEL).eps, rtol=1e-6, atol=1e-6)


def gaussian(mean: float, scale: float, schedule: DiscreteSchedule) -> GaussianMixturePrior:
    return GaussianMixturePrior(
        torch.tensor([[mean]]).double(), torch.tensor([scale]).double(), schedule=schedule
    )


def spreads(field: Composition) -> tuple[float, float]:
    """Standard deviations that 1000 steps of DDPM and of DDIM end at: both are affine in z.

    x0 and eps have slopes in z; z' = slope z + noise, from variance 1.
    """
    levels = LINEAR.at_timestep(torch.arange(999, -1, -1).double())
    zeros = torch.zeros(1000, 1).double()
    low, high = field(zeros, levels), field(zeros + 1, levels)
    to_x0, to_eps = (high.x0 - low.x0)[:, 0], (high.eps - low.eps)[:, 0]
    one = torch.ones(1).double()
    alpha, sigma = torch.cat([levels.alpha, one]), torch.cat([levels.sigma, 0 * one])
    beta = 1 - (alpha[:-1] / alpha[1:]) ** 2
    posterior = sigma[1:] ** 2 / sigma[:-1] ** 2 * beta
    kept = (sigma[1:] ** 2 - posterior).clamp(min=0).sqrt()
    slope = alpha[1:] * to_x0 + kept * to_eps
    ddpm = 1.0
    for factor, variance in zip(slope.tolist(), posterior.tolist(), strict=True):
        ddpm = factor**2 * ddpm + variance
    ddim = float((alpha[1:] * to_x0 + sigma[1:] * to_eps).prod().abs())
    return math.sqrt(ddpm), ddim


@pytest.mark.parametrize(
    ("gamma", "normalize", "expected"),
    [
        (0.0, False, (0.274, 0.226, 0.140)),
        (0.1, False, (0.272, 0.221, 0.039)),
        (0.5, False, (0.262, 0.207, 0.0002)),
        (0.5, True, (0.335, 0.312, 0.302)),
    ],
)
def test_the_closed_form_table(
    gamma: float, normalize: bool, expected: tuple[float, float, float]
) -> None:
    """Reference 2.4: standard deviation exact, of DDPM and of DDIM at 1000 steps, alpha = 2.5."""
    small, prior, none = (gaussian(m, s, LINEAR) for m, s in ((0.8, 0.4), (0.0, 1.0), (0.3, 0.8)))
    field = video_adapter(small, none, prior, gamma, 2.5, normalize=normalize)
    weights = field.weights(torch.zeros(1).double())[:, 0]
    scales = torch.tensor([float(d.scales) for d in field.denoisers]).double()
    exact = float((weights / scales**2).sum() ** -0.5)
    assert exact == pytest.approx(expected[0], abs=6e-4)
    ddpm, ddim = spreads(field)
    assert ddpm == pytest.approx(expected[1], abs=1e-3)
    assert ddim == pytest.approx(expected[2], abs=1e-3)


def test_videos_are_sampled_with_and_without_noise() -> None:
    adapted = video_adapter(TEXT, NONE, BROAD, 0.3, 1.5, normalize=True)
    ddim = sample(adapted, VIDEO, 2, steps=10)
    ddpm = sample(adapted, VIDEO, 2, steps=10, scheduler=LINEAR.scheduler(DDPMScheduler))
    assert ddim.shape == ddpm.shape == (2, *VIDEO)
    assert bool(ddim.isfinite().all() and ddpm.isfinite().all())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: video_adapter(TEXT, NONE, BROAD, -0.1, 1.0), "prior_strength must be >= 0"),
        (
            lambda: video_adapter(TEXT, NONE, BROAD, math.nan, 1.0),
            "prior_strength must be a finite",
        ),
        (lambda: video_adapter(TEXT, NONE, BROAD, 0.1, math.inf), "inverse_temperature must be a"),
        (lambda: video_adapter(TEXT, NONE, BROAD, 0.1, 1.0, window=(1, 0)), "needs low < high"),
        (lambda: convex_video_adapter(TEXT, BROAD, 1.2), r"small_weight must lie in \[0, 1\]"),
        (
            lambda: video_adapter(
                TEXT, NONE, GaussianMixturePrior(torch.zeros(1, 8, 1, 2, 2), torch.ones(1)), 0.1, 1
            ),
            r"their videos have 4 and 8 \(latent\) frames",
        ),
    ],
)
def test_refused(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
