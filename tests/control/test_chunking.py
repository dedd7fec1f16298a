"""Real-time chunking against Gaussian priors of chunks, whose conditionals are known."""

import math

import pytest
import torch
from torch import Tensor

from scorefield.control.policies.chunking import Continuing, continue_chunk, soft_mask
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import noise_generator
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule

STEPS, FROZEN, EXECUTED = 12, 3, 4
SCHEDULES = [DiscreteSchedule.cosine(100), FlowSchedule()]
PLACES = torch.arange(STEPS).float()
# What a policy plans hangs together: each action is near the one before it.
COVARIANCE = 0.25 * 0.9 ** (PLACES[:, None] - PLACES).abs()
MEAN = torch.linspace(-0.3, 0.3, STEPS)


def prior(schedule: NoiseSchedule, covariance: Tensor = COVARIANCE) -> GaussianMixturePrior:
    return GaussianMixturePrior(MEAN[None, :, None], covariance[None], schedule=schedule)


def given_the_frozen(frozen: Tensor) -> Tensor:
    """(B, Tp - FROZEN): the conditional mean of the rest given (B, FROZEN)."""
    gain = COVARIANCE[FROZEN:, :FROZEN] @ torch.linalg.inv(COVARIANCE[:FROZEN, :FROZEN])
    return MEAN[FROZEN:] + (frozen - MEAN[:FROZEN]) @ gain.T


def noise(batch: int, seed: int = 0) -> Tensor:
    return torch.randn(batch, STEPS, 1, generator=noise_generator(seed))


def test_the_mask_is_the_formula() -> None:
    mask = soft_mask(8, 2, 5)
    assert mask[:2].tolist() == [1, 1] and mask[5:].tolist() == [0, 0, 0]
    for i in range(2, 5):
        c = (5 - i) / (5 - 2 + 1)
        assert float(mask[i]) == pytest.approx(c * (math.exp(c) - 1) / (math.e - 1), rel=1e-6)
    assert soft_mask(4, 4, 4).tolist() == [1, 1, 1, 1]
    assert soft_mask(4, 0, 0).tolist() == [0, 0, 0, 0]
    with pytest.raises(ValueError, match="must not decrease"):
        soft_mask(8, 6, 5)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("fraction", [0.2, 0.6, 0.95])
def test_independent_standard_actions_have_the_exact_posterior(
    schedule: NoiseSchedule, fraction: float
) -> None:
    """Frozen x0 is the plan; the half bound ones move half way; the free ones not at all."""
    denoiser = prior(schedule, torch.eye(STEPS))
    mask = torch.zeros(STEPS)
    mask[0], mask[1] = 1, 0.5
    planned, z = noise(3, 1), noise(3, 2)
    level = schedule.at_fraction(fraction)
    free = denoiser(z, level).x0
    found = Continuing(denoiser, planned, mask, math.inf)(z, level).x0
    assert torch.allclose(found[:, 0], planned[:, 0])
    assert torch.allclose(found[:, 1], (free + planned)[:, 1] / 2, atol=1e-5)
    assert torch.allclose(found[:, 2:], free[:, 2:], atol=1e-6)


@pytest.mark.parametrize("tau", [0.05, 0.5, 0.9])
def test_a_flow_gains_the_papers_velocity(tau: float) -> None:
    """dv = min(beta, (1 - tau) / (tau r^2)) J^T W (Y - x1), and J in closed form."""
    schedule = FlowSchedule()
    denoiser = prior(schedule)
    level = NoiseLevel(torch.tensor(tau), torch.tensor(1 - tau))
    mask = soft_mask(STEPS, 0, 8)  # nothing frozen: the guidance alone
    planned, z = noise(2, 1), noise(2, 2)
    free = denoiser(z, level)
    noisy = tau**2 * COVARIANCE + (1 - tau) ** 2 * torch.eye(STEPS)
    jacobian = tau * COVARIANCE @ torch.linalg.inv(noisy)
    spread = (1 - tau) ** 2 / (tau**2 + (1 - tau) ** 2)
    weight = min(5.0, (1 - tau) / (tau * spread))
    error = mask * (planned - free.x0)[:, :, 0]
    # towards the data, the paper's sense; ours points towards the noise
    expected = -free.velocity[:, :, 0] + weight * error @ jacobian
    found = -Continuing(denoiser, planned, mask)(z, level).velocity[:, :, 0]
    assert torch.allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_rest_approaches_its_conditional_mean(schedule: NoiseSchedule) -> None:
    """Over plans drawn from the prior, with only the frozen actions bound.

    The guidance is an approximation for actions that hang together; it must close half of the way.
    With 4,000 chunks the sampling error of a ratio of mean squares is below 0.03.
    """
    denoiser = prior(schedule)
    present = denoiser.sample(4000, seed=1)
    # nothing beyond the frozen actions was planned
    executed = STEPS - FROZEN
    found = continue_chunk(
        denoiser, present, noise(4000), executed=executed, frozen=FROZEN, bound=None
    )
    frozen = present[:, executed:, 0]
    assert torch.equal(found[:, :FROZEN, 0], frozen)
    free = continue_chunk(denoiser, present, noise(4000), executed=STEPS, frozen=0, bound=None)
    # The regression of the rest on the frozen actions is the mean that the sampler believes in.
    inputs = torch.cat([frozen, torch.ones(4000, 1)], dim=1)

    def believed(chunks: Tensor) -> Tensor:
        return inputs @ torch.linalg.lstsq(inputs, chunks[:, FROZEN:, 0]).solution

    exact = given_the_frozen(frozen)
    left = (believed(found) - exact).square().mean() / (believed(free) - exact).square().mean()
    assert float(left) < 0.25


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_jump_at_the_seam_shrinks(schedule: NoiseSchedule) -> None:
    """Against chunks drawn without regard to the present one; within a chunk, for comparison."""
    denoiser = prior(schedule)
    present = denoiser.sample(1000, seed=2)

    def jump(chunks: Tensor) -> float:
        seam = chunks[:, FROZEN] - present[:, EXECUTED + FROZEN - 1]
        return float(seam.square().mean().sqrt())

    independent = continue_chunk(denoiser, present, noise(1000), executed=STEPS, frozen=0)
    joined = continue_chunk(
        denoiser, present, noise(1000), executed=EXECUTED, frozen=FROZEN, bound=None
    )
    steps = float(present.diff(dim=1).square().mean().sqrt())
    assert jump(joined) < 1.5 * steps < 2 * steps < jump(independent)


def test_bounds_hold_and_refusals_say_why() -> None:
    denoiser = prior(SCHEDULES[0])
    present = denoiser.sample(4, seed=3).clamp(-0.2, 0.2)
    inside = continue_chunk(
        denoiser, present, noise(4), executed=EXECUTED, frozen=FROZEN, bound=0.2
    )
    assert float(inside.abs().max()) <= 0.2 + 1e-6
    with pytest.raises(ValueError, match=r"executed must lie in \[0, 12\]"):
        continue_chunk(denoiser, present, noise(4), executed=13, frozen=0)
    with pytest.raises(ValueError, match="must not decrease"):
        continue_chunk(denoiser, present, noise(4), executed=10, frozen=3)
    with pytest.raises(ValueError, match="limit must be at least 0"):
        Continuing(denoiser, present, torch.zeros(STEPS), -1.0)


def test_rows_are_the_rows() -> None:
    denoiser = prior(SCHEDULES[0])
    steered = Continuing(denoiser, noise(5, 1), soft_mask(STEPS, 2, 6))
    z, level = noise(5, 2), SCHEDULES[0].at_fraction(0.5)
    assert torch.allclose(steered.rows([3, 1])(z[[3, 1]], level).x0, steered(z, level).x0[[3, 1]])
