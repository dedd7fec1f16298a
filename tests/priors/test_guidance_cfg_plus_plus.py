import math
from itertools import pairwise

import pytest
import torch

from scorefield.priors.exact.gaussian_mixture import ConditionedMixture, GaussianMixturePrior
from scorefield.priors.guidance.cfg_plus_plus import CFGPlusPlus
from scorefield.priors.guidance.classifier_free import ClassifierFreeGuidance
from scorefield.priors.noise import keyed_noise
from scorefield.priors.sampling import sample
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule
from scorefield.priors.steps import ddim_step, level_path

MEANS = torch.tensor([[0.0, 1.0, 2.0], [1.0, -1.0, 0.5], [-2.0, 0.0, 0.3]], dtype=torch.float64)
Z = keyed_noise(0, range(4), 0, (3,), torch.float64)
SCHEDULES = [
    DiscreteSchedule.linear_beta(),
    DiscreteSchedule.scaled_linear().zero_terminal_snr(),
    FlowSchedule(),
]


def halves(schedule: NoiseSchedule) -> tuple[ConditionedMixture, ConditionedMixture]:
    scales = torch.tensor([0.5, 0.4, 0.6]).double()
    prior = GaussianMixturePrior(MEANS, scales, None, ["cat", "dog", "cow"], schedule)
    return prior.condition("cat"), prior.unconditional


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("scale", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("steps", [1, 7, 20])
def test_every_step_is_the_literal_update(
    schedule: NoiseSchedule, scale: float, steps: int
) -> None:
    """x0 from the guided noise, renoised with the unconditional noise (Chung et al., Alg. 2)."""
    cond, uncond = halves(schedule)
    guided = CFGPlusPlus(cond, uncond, scale, steps)
    z = Z
    for level, to in pairwise(level_path(schedule, steps)):
        c, u = cond(z, level), uncond(z, level)
        x0 = u.x0 + scale * (c.x0 - u.x0)
        literal = to.alpha * x0 + to.sigma * u.eps
        torch.testing.assert_close(ddim_step(guided(z, level), to), literal, rtol=1e-9, atol=1e-9)
        z = literal


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [10, 12])  # of which 12 does not divide 1000
def test_sample_walks_it(schedule: NoiseSchedule, steps: int) -> None:
    cond, uncond = halves(schedule)
    z = keyed_noise(3, range(4), 0, (3,), torch.float64)
    for level, to in pairwise(level_path(schedule, steps)):
        c, u = cond(z, level), uncond(z, level)
        z = to.alpha * (u.x0 + 0.7 * (c.x0 - u.x0)) + to.sigma * u.eps
    guided = CFGPlusPlus(cond, uncond, 0.7, steps)
    sampled = sample(guided, (3,), 4, steps=steps, seed=3, dtype=torch.float64)
    # diffusers computes its coefficients in float32
    torch.testing.assert_close(sampled, z, rtol=0, atol=5e-4)


@pytest.mark.parametrize("schedule", SCHEDULES[:2])
def test_float32_levels_of_the_schedule_are_on_the_walk(schedule: DiscreteSchedule) -> None:
    cond, uncond = halves(schedule)
    guided = CFGPlusPlus(cond, uncond, 0.5, schedule.num_timesteps)
    timesteps = torch.arange(schedule.num_timesteps).flip(0)
    omega = guided.guidance_scale(schedule.at_timestep(timesteps))
    path = level_path(schedule, schedule.num_timesteps)
    u = [float(level.sigma) / max(float(level.alpha), 1e-12) for level in path]
    expected = [0.5 * a / (a - b) for a, b in pairwise(u)]
    torch.testing.assert_close(omega, torch.tensor(expected).double(), rtol=1e-6, atol=0)


def test_the_ends() -> None:
    schedule = SCHEDULES[1]
    guided = CFGPlusPlus(*halves(schedule), 0.6, 25)
    path = level_path(schedule, 25)
    assert float(guided.guidance_scale(path[0])) == 0.6
    assert float(guided.guidance_scale(path[-2])) == 0.6
    assert float(guided.guidance_scale(path[12])) > 1
    prediction = guided(Z, path[0])
    expected = ClassifierFreeGuidance(*halves(schedule), 0.6)(Z, path[0])
    torch.testing.assert_close(prediction.x0, expected.x0)


def test_items_may_be_at_different_steps() -> None:
    schedule = SCHEDULES[0]
    guided = CFGPlusPlus(*halves(schedule), 0.6, 10)
    level = schedule.at_timestep(torch.tensor([999, 599, 299, 99]))
    together = guided(Z, level).v
    for item in range(4):
        alone = guided(Z[item : item + 1], level[item : item + 1]).v
        torch.testing.assert_close(alone[0], together[item])


def test_levels_off_the_walk_are_refused() -> None:
    schedule = SCHEDULES[1]
    guided = CFGPlusPlus(*halves(schedule), 0.6, 10)
    with pytest.raises(
        ValueError, match=r"not on the trajectory of 10 steps .* sample with steps=10"
    ):
        guided(Z, schedule.at_timestep(950))
    with pytest.raises(ValueError, match=r"log-SNR .* is not on the trajectory"):
        sample(guided, (3,), 1, steps=11)


@pytest.mark.parametrize("scale", [7.5, -0.1, math.nan])
def test_scale_interpolates(scale: float) -> None:
    with pytest.raises(ValueError, match=r"in \[0, 1\], got .* those of ClassifierFreeGuidance"):
        CFGPlusPlus(*halves(SCHEDULES[0]), scale, 10)


def test_steps_are_those_of_the_schedule() -> None:
    with pytest.raises(ValueError, match="steps must be at most the schedule's 1000"):
        CFGPlusPlus(*halves(SCHEDULES[0]), 0.5, 1001)
