"""The sampler's table: against diffusers, and against the exact flow of a Gaussian."""

import itertools

import pytest
import torch
from diffusers import DPMSolverMultistepScheduler
from torch import Tensor

from scorefield.control.networks.settings import Predicts
from scorefield.control.policies.solver import SolverStep, solve, solver_steps
from scorefield.priors.denoiser import Denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.sampling import sample
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule

KINDS: tuple[Predicts, ...] = ("eps", "x0", "v", "velocity")
MEAN, DEVIATION = 0.3, 0.2


def schedule_of(kind: Predicts) -> DiscreteSchedule | FlowSchedule:
    return FlowSchedule(100) if kind == "velocity" else DiscreteSchedule.cosine(100)


class Known(Denoiser):
    """Chunks whose numbers are all N(0.3, 0.2^2)."""

    def __init__(self, kind: Predicts) -> None:
        self.schedule, self.kind = schedule_of(kind), kind

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        alpha, sigma = level.like(z)
        gain = alpha * DEVIATION**2 / (alpha**2 * DEVIATION**2 + sigma**2)
        return Prediction.from_x0(z, level, MEAN + gain * (z - alpha * MEAN))

    def x0(self, z: Tensor, step: SolverStep) -> Tensor:
        prediction = self(z, step.level)
        out = {
            "eps": lambda: prediction.eps,
            "x0": lambda: prediction.x0,
            "v": lambda: prediction.v,
            "velocity": lambda: prediction.velocity,
        }[self.kind]()
        return step.x0_of_z * z + step.x0_of_out * out


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [1, 7, 10])
def test_the_first_order_is_what_priors_sample_draws(kind: Predicts, steps: int) -> None:
    denoiser, noise = Known(kind), keyed_noise(5, range(3), 0, (4, 2))
    chunk = solve(solver_steps(denoiser.schedule, kind, steps), noise, denoiser.x0)
    expected = sample(denoiser, (4, 2), 3, steps=steps, seed=5)
    # x0 from eps divides float32's rounding by the noisiest alpha, 5e-5.
    tolerance = 2e-3 if kind == "eps" else 1e-5
    torch.testing.assert_close(chunk, expected, rtol=0, atol=tolerance)


def test_noise_on_the_way_is_not_left_out() -> None:
    denoiser, noise = Known("x0"), keyed_noise(5, range(3), 0, (4, 2))
    table = solver_steps(denoiser.schedule, "x0", 5, sampler="ancestral")
    with pytest.raises(ValueError, match="give it as fresh"):
        solve(table, noise, denoiser.x0)
    assert torch.isfinite(
        solve(table, noise, denoiser.x0, fresh=noise[:, None].expand(-1, 5, -1, -1))
    ).all()


def test_the_second_order_is_dpm_solver_of_diffusers() -> None:
    denoiser, noise = Known("x0"), keyed_noise(5, range(3), 0, (4, 2))
    chunk = solve(solver_steps(denoiser.schedule, "x0", 10, order=2), noise, denoiser.x0)
    scheduler = denoiser.schedule.scheduler(DPMSolverMultistepScheduler)
    expected = sample(denoiser, (4, 2), 3, steps=10, seed=5, scheduler=scheduler)
    torch.testing.assert_close(chunk, expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_many_steps_are_the_exact_flow_and_the_second_order_is_nearer(kind: Predicts) -> None:
    # The probability flow takes N(0, 1) to N(m, s^2) by x = m + s z.
    denoiser, noise = Known(kind), keyed_noise(0, range(64), 0, (4, 2))
    exact = MEAN + DEVIATION * noise

    def error(steps: int, order: int) -> float:
        table = solver_steps(denoiser.schedule, kind, steps, order)  # type: ignore[arg-type]
        return float((solve(table, noise, denoiser.x0) - exact).abs().max())

    assert error(100, 1) < 0.05
    assert error(20, 2) < error(20, 1)


def test_levels_fall_and_a_later_beginning_leaves_steps_out() -> None:
    schedule = DiscreteSchedule.cosine(100)
    whole, half = solver_steps(schedule, "eps", 10), solver_steps(schedule, "eps", 10, begin=0.5)
    assert len(whole) == 10 and len(half) == 5
    assert [step.time for step in whole][5:] == [step.time for step in half]
    assert all(a.time > b.time for a, b in itertools.pairwise(whole))
    assert len(solver_steps(schedule, "eps", 10, begin=1e-6)) == 1


def test_what_is_out_of_range_is_refused() -> None:
    schedule = DiscreteSchedule.cosine(100)
    with pytest.raises(ValueError, match="begin"):
        solver_steps(schedule, "eps", 10, begin=0.0)
    with pytest.raises(ValueError, match="100"):
        solver_steps(schedule, "eps", 101)
