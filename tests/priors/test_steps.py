from itertools import pairwise

import diffusers
import pytest
import torch

from scorefield.priors import DiscreteSchedule, FlowSchedule, GaussianMixturePrior, sample
from scorefield.priors.noise import START, keyed_noise
from scorefield.priors.sampling import levels_of
from scorefield.priors.steps import ddim_step, denoise_loop, level_path

MEAN, SCALE = 0.7, 0.5
SCHEDULES = [
    DiscreteSchedule.linear_beta(),
    DiscreteSchedule.scaled_linear().zero_terminal_snr(),
    FlowSchedule(),
    FlowSchedule(shift=3.0),
]


def gaussian(schedule) -> GaussianMixturePrior:
    means = torch.full((1, 3), MEAN, dtype=torch.float64)
    return GaussianMixturePrior(means, torch.tensor([SCALE]).double(), schedule=schedule)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 7, 25])
def test_the_walk_is_that_of_the_default_sampler(schedule, steps) -> None:
    prior = gaussian(schedule)
    start = keyed_noise(3, range(4), START, (3,), torch.float64)
    levels = level_path(schedule, steps)
    z = denoise_loop(start, levels, lambda z, here, to, _: ddim_step(prior(z, here), to))
    expected = sample(prior, (3,), 4, steps=steps, seed=3, dtype=torch.float64)
    # diffusers computes its coefficients in float32, and keeps the last alpha above zero
    torch.testing.assert_close(z, expected, rtol=0, atol=2e-4)


def test_the_walk_sets_out_from_the_terminal_level_of_a_schedule() -> None:
    schedule = FlowSchedule(shift=1.7, shift_terminal=0.1)
    expected = levels_of(schedule.scheduler(), 7, schedule)
    found = [level.flow_sigma for level in level_path(schedule, 7)[:-1]]
    torch.testing.assert_close(
        torch.stack(found), torch.stack([level.flow_sigma.double() for level in expected]),
        rtol=0, atol=1e-6,
    )  # fmt: skip
    assert float(found[-1]) == pytest.approx(0.1)


@pytest.mark.parametrize("kind", ["DDIM", "EulerDiscrete", "UniPCMultistep"])
def test_no_step_is_taken_beyond_the_schedule(kind) -> None:
    # diffusers makes 62 timesteps of 61 where they are spaced "trailing", and the last is -1
    schedule = DiscreteSchedule.scaled_linear()
    scheduler = schedule.scheduler(getattr(diffusers, f"{kind}Scheduler"))
    found = levels_of(scheduler, 61, schedule)
    assert len(found) == 61
    assert float(found[-1].log_snr) == pytest.approx(float(schedule.at_timestep(15).log_snr))
    samples = sample(gaussian(schedule), (3,), 200, steps=61, scheduler=scheduler, seed=0)
    assert samples.std() == pytest.approx(SCALE, rel=0.15)
    assert samples.mean() == pytest.approx(MEAN, abs=0.08)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_step_is_affine_with_the_closed_form_of_a_gaussian(schedule) -> None:
    prior = gaussian(schedule)
    level, to = level_path(schedule, 10)[3:5]
    z = keyed_noise(0, range(5), 0, (3,), torch.float64)
    variance = level.alpha**2 * SCALE**2 + level.sigma**2
    factor = (to.alpha * level.alpha * SCALE**2 + to.sigma * level.sigma) / variance
    expected = factor * (z - level.alpha * MEAN) + to.alpha * MEAN
    torch.testing.assert_close(ddim_step(prior(z, level), to), expected)


def test_the_ancestral_step_has_the_variance_of_the_posterior() -> None:
    # q(z' | z, x0) of Ho et al. 2020, equation 7, on a prior of one point
    schedule = DiscreteSchedule.linear_beta()
    point = GaussianMixturePrior(torch.zeros(1, 1).double(), torch.zeros(1).double())
    level, to = schedule.at_timestep(500.0), schedule.at_timestep(400.0)
    z = torch.ones(1, 1, dtype=torch.float64)
    quiet = ddim_step(point(z, level), to, 1, torch.zeros_like(z))
    loud = ddim_step(point(z, level), to, 1, torch.ones_like(z))
    ratio = level.alpha.double() / to.alpha.double()
    variance = to.sigma.double() ** 2 / level.sigma.double() ** 2 * (1 - ratio**2)
    torch.testing.assert_close((loud - quiet).squeeze() ** 2, variance, rtol=1e-5, atol=0)
    mean = ratio * to.sigma.double() ** 2 / level.sigma.double() ** 2
    torch.testing.assert_close(quiet.squeeze(), mean, rtol=1e-5, atol=0)


def test_the_first_ancestral_step_from_zero_terminal_snr_is_all_new_noise() -> None:
    schedule = DiscreteSchedule.scaled_linear().zero_terminal_snr()
    prior = gaussian(schedule)
    z, noise = keyed_noise(0, [0, 1], 0, (3,), torch.float64)
    level, to = level_path(schedule, 5)[:2]
    stepped = ddim_step(prior(z[None], level), to, 1, noise[None])
    torch.testing.assert_close(stepped[0], to.alpha * MEAN + to.sigma * noise)


def test_a_step_back_and_forth_between_two_levels_returns() -> None:
    schedule = DiscreteSchedule.linear_beta()
    point = GaussianMixturePrior(torch.full((1, 2), MEAN).double(), torch.zeros(1).double())
    z = keyed_noise(0, [0], 0, (2,), torch.float64)
    low, high = schedule.at_timestep(300.0), schedule.at_timestep(320.0)
    back = ddim_step(point(ddim_step(point(z, low), high), high), low)
    torch.testing.assert_close(back, z, rtol=1e-6, atol=1e-6)


def test_refusals() -> None:
    schedule = DiscreteSchedule.linear_beta()
    prior = gaussian(schedule)
    z = torch.zeros(1, 3).double()
    low, high = schedule.at_timestep(10.0), schedule.at_timestep(20.0)
    with pytest.raises(ValueError, match="steps must be >= 1"):
        level_path(schedule, 0)
    with pytest.raises(ValueError, match="at most the schedule's 1000"):
        level_path(schedule, 1001)
    with pytest.raises(ValueError, match="eta must lie"):
        ddim_step(prior(z, high), low, 1.5)
    with pytest.raises(ValueError, match="give the noise"):
        ddim_step(prior(z, high), low, 1)
    with pytest.raises(ValueError, match="less noise only"):
        ddim_step(prior(z, low), high, 1, z)


def test_the_loop_goes_from_level_to_level_whatever_the_direction() -> None:
    schedule = DiscreteSchedule.linear_beta()
    levels = level_path(schedule, 3)
    visited = [levels[place] for place in (0, 1, 2, 0, 1)]
    seen = []

    def step(z, here, to, i):
        seen.append((i, here, to))
        return z + 1

    z = denoise_loop(torch.zeros(2, 3), visited, step)
    assert torch.equal(z, torch.full((2, 3), 4.0))
    assert seen == [(i, *pair) for i, pair in enumerate(pairwise(visited))]


def test_the_loop_stops_where_z_is_not_finite() -> None:
    levels = level_path(FlowSchedule(), 4)
    visited = []

    def step(z, here, to, i):
        visited.append(i)
        return z / (i - 1)

    with pytest.raises(FloatingPointError, match="not finite at log-SNR 0"):
        denoise_loop(torch.ones(1, 2), levels, step)
    assert visited == [0, 1]
