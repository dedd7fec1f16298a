"""Samplers on a Gaussian: every step is affine, so the whole chain has a closed form."""

import math
import warnings
import weakref
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HeunDiscreteScheduler,
    UniPCMultistepScheduler,
)
from torch import Tensor

from scorefield.priors.composition.compose import compose
from scorefield.priors.denoiser import Denoiser
from scorefield.priors.energy.mcmc import ULA
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.sampling import CollapseWarning, sample
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule

# calling set_timesteps ourselves: diffusers converts tensors in a way numpy 2 means to drop
pytestmark = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")

MEAN, SCALE = 0.3, 0.5
LINEAR = DiscreteSchedule.linear_beta()
ZERO_SNR = DiscreteSchedule.scaled_linear().zero_terminal_snr()
VP_CLASSES = [
    DDIMScheduler,
    DDPMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler,
    UniPCMultistepScheduler,
]


def gaussian(schedule: NoiseSchedule, shape: tuple[int, ...] = (3,)) -> GaussianMixturePrior:
    return GaussianMixturePrior(
        torch.full((1, *shape), MEAN), torch.tensor([SCALE]), schedule=schedule
    )


def amplitudes(schedule: DiscreteSchedule, t: int) -> tuple[float, float]:
    """(alpha, sigma) at a timestep, clean before the first."""
    a = 1.0 if t < 0 else float(schedule.alphas_cumprod[t])
    return math.sqrt(a), math.sqrt(1 - a)


@pytest.mark.parametrize("schedule", [LINEAR, DiscreteSchedule.cosine(), ZERO_SNR], ids=repr)
@pytest.mark.parametrize("set_alpha_to_one", [True, False])
def test_ddim_is_its_affine_map(schedule: DiscreteSchedule, set_alpha_to_one: bool) -> None:
    """z' = f (z - alpha m) + alpha' m, f = (alpha' alpha s^2 + sigma' sigma) / v."""
    scheduler = schedule.scheduler(DDIMScheduler, set_alpha_to_one=set_alpha_to_one)
    x = sample(gaussian(schedule), (3,), 4, scheduler=scheduler, steps=25)
    z = keyed_noise(0, range(4), 0, (3,), torch.float64)
    for t in range(999, -1, -40):
        a, s = amplitudes(schedule, t)
        # the last step lands on clean, or on the first level where the scheduler says so
        after = t - 40 if t >= 40 or set_alpha_to_one else 0
        a_next, s_next = amplitudes(schedule, after)
        v = a**2 * SCALE**2 + s**2
        z = (a_next * a * SCALE**2 + s_next * s) / v * (z - a * MEAN) + a_next * MEAN
    torch.testing.assert_close(x.double(), z, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("schedule", [LINEAR, ZERO_SNR], ids=repr)
def test_ddpm_follows_its_mean_and_variance(schedule: DiscreteSchedule) -> None:
    """z' = A x0(z) + B z + noise, x0 affine in z (Ho et al. 2020, equation 7)."""
    n, steps = 1500, 20
    x = sample(
        gaussian(schedule),
        (3,),
        n,
        scheduler=schedule.scheduler(DDPMScheduler),
        steps=steps,
        batch_size=n,
    ).double()
    mean, variance = 0.0, 1.0
    for t in range(999, -1, -1000 // steps):
        a, s = amplitudes(schedule, t)
        a_next, s_next = amplitudes(schedule, t - 1000 // steps)
        step = a / a_next
        beta = 1 - step**2
        gain = a * SCALE**2 / (a**2 * SCALE**2 + s**2)  # x0 = m + gain (z - a m)
        to_x0, to_z = a_next * beta / s**2, step * s_next**2 / s**2
        f = to_x0 * gain + to_z
        mean = f * mean + to_x0 * (MEAN - gain * a * MEAN)
        variance = f**2 * variance + s_next**2 / s**2 * beta
    # 5 standard errors of the mean and of the variance of N = 3 n draws
    assert float(x.mean()) == pytest.approx(mean, abs=5 * math.sqrt(variance / (3 * n)))
    assert float(x.var()) == pytest.approx(variance, abs=5 * variance * math.sqrt(2 / (3 * n)))


def karras_ode_gain(sigmas: list[float]) -> float:
    """Of Euler on y = x + sigma eps: y - m is multiplied by 1 + (s' - s) s / (SCALE^2 + s^2)."""
    gain = 1.0
    for s, s_next in pairwise(sigmas):
        gain *= 1 + (s_next - s) * s / (SCALE**2 + s**2)
    return gain


@pytest.mark.parametrize("schedule", [LINEAR, ZERO_SNR], ids=repr)
@pytest.mark.parametrize("karras", [False, True])
def test_euler_is_its_affine_map(schedule: DiscreteSchedule, karras: bool) -> None:
    scheduler = schedule.scheduler(EulerDiscreteScheduler, use_karras_sigmas=karras)
    x = sample(gaussian(schedule), (3,), 4, scheduler=scheduler, steps=20)
    scheduler.set_timesteps(20)
    start = keyed_noise(0, range(4), 0, (3,), torch.float64) * float(scheduler.init_noise_sigma)
    z = MEAN + karras_ode_gain(scheduler.sigmas.double().tolist()) * (start - MEAN)
    # from sigma = 4096 of zero SNR, float32 keeps about three digits of the unit scale
    atol = 1e-5 if schedule is LINEAR else 3e-3
    torch.testing.assert_close(x.double(), z, rtol=1e-4, atol=atol)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("schedule", [LINEAR, ZERO_SNR], ids=repr)
def test_dpm_solver_is_its_affine_map(schedule: DiscreteSchedule, order: int) -> None:
    """DPM-Solver++(2M), Lu et al. 2022, Algorithm 2, written for y = z / alpha and the exact D."""
    scheduler = schedule.scheduler(DPMSolverMultistepScheduler, solver_order=order)
    x = sample(gaussian(schedule), (3,), 4, scheduler=scheduler, steps=20)
    scheduler.set_timesteps(20)
    sigmas = scheduler.sigmas.double().tolist()
    y = keyed_noise(0, range(4), 0, (3,), torch.float64) * math.sqrt(1 + sigmas[0] ** 2)
    previous = None
    for i, (s, s_next) in enumerate(pairwise(sigmas)):
        denoised = MEAN + SCALE**2 / (SCALE**2 + s**2) * (y - MEAN)
        extrapolated = denoised
        if order == 2 and previous is not None and s_next > 0:
            r = math.log(sigmas[i - 1] / s) / math.log(s / s_next)
            extrapolated = denoised + (denoised - previous) / (2 * r)
        y = s_next / s * y + (1 - s_next / s) * extrapolated
        previous = denoised
    torch.testing.assert_close(x.double(), y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_flow_euler_is_its_affine_map(shift: float) -> None:
    """u = (sigma - alpha s^2) (z - alpha m) / v - m, and the shift is applied once."""
    schedule = FlowSchedule()
    scheduler = schedule.scheduler(FlowMatchEulerDiscreteScheduler, shift=shift)
    x = sample(gaussian(schedule), (3,), 4, scheduler=scheduler, steps=20)
    z = keyed_noise(0, range(4), 0, (3,), torch.float64)
    linear = [1 - i / 20 for i in range(21)]
    sigmas = [shift * s / (1 + (shift - 1) * s) for s in linear]
    for s, s_next in pairwise(sigmas):
        a = 1 - s
        v = a**2 * SCALE**2 + s**2
        z = z + (s_next - s) * ((s - a * SCALE**2) * (z - a * MEAN) / v - MEAN)
    torch.testing.assert_close(x.double(), z, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "scheduler_class",
    [DPMSolverMultistepScheduler, UniPCMultistepScheduler, HeunDiscreteScheduler],
)
def test_high_order_solvers_reach_the_exact_flow(scheduler_class: type) -> None:
    """The probability flow of a Gaussian multiplies y - m by s / sqrt(s^2 + sigma_max^2)."""
    x = sample(
        gaussian(LINEAR), (3,), 4, scheduler=LINEAR.scheduler(scheduler_class), steps=100
    ).double()
    top = LINEAR.at_timestep(torch.tensor(999.0).double())
    sigma = float(top.sigma / top.alpha)
    start = sigma * keyed_noise(0, range(4), 0, (3,), torch.float64)
    exact = MEAN + SCALE / math.hypot(SCALE, sigma) * (start - MEAN)
    torch.testing.assert_close(x, exact, rtol=0, atol=2e-2)


@pytest.mark.parametrize("scheduler_class", VP_CLASSES)
@pytest.mark.parametrize("schedule", [LINEAR, ZERO_SNR], ids=repr)
def test_every_scheduler_draws_the_gaussian(
    schedule: DiscreteSchedule, scheduler_class: type
) -> None:
    n = 1000
    scheduler = schedule.scheduler(scheduler_class)
    x = sample(gaussian(schedule), (3,), n, scheduler=scheduler, steps=100, batch_size=n)
    # 5 standard errors of 3 n draws, and up to 5 % of discretisation
    assert float(x.mean()) == pytest.approx(MEAN, abs=5 * SCALE / math.sqrt(3 * n) + 0.01)
    assert float(x.std()) == pytest.approx(SCALE, rel=5 / math.sqrt(6 * n) + 0.05)


@pytest.mark.parametrize("steps", [7, 25, 30])
def test_default_steps_need_not_divide_the_chain(steps: int) -> None:
    """DDIM as a first-order map that ends clean: a point is reached exactly, from any noise."""
    point = GaussianMixturePrior(
        torch.full((1, 3), MEAN), torch.tensor([0.0]), schedule=DiscreteSchedule.scaled_linear()
    )
    x = sample(point, (3,), 4, steps=steps)
    torch.testing.assert_close(x, torch.full((4, 3), MEAN), rtol=0, atol=1e-6)


MIXTURE = GaussianMixturePrior(
    torch.tensor([[-1.0, 0.5, 2.0], [1.0, -0.5, 0.0], [0.0, 2.0, 1.0]]),
    torch.tensor([0.2, 0.3, 0.1]),
    labels=["a", "b", "c"],
    schedule=LINEAR,
)


@pytest.mark.parametrize("scheduler_class", [*VP_CLASSES, HeunDiscreteScheduler])
def test_neither_batch_nor_order_changes_an_item(scheduler_class: type) -> None:
    scheduler = LINEAR.scheduler(scheduler_class)
    whole = sample(MIXTURE, (3,), 6, scheduler=scheduler, steps=10)
    small = sample(MIXTURE, (3,), 6, scheduler=scheduler, steps=10, batch_size=4)
    order = [5, 0, 3]
    shuffled = sample(MIXTURE, (3,), items=order, scheduler=scheduler, steps=10, batch_size=2)
    # elementwise work is equal to the bit; reductions may round differently with the shape
    torch.testing.assert_close(small, whole, rtol=0, atol=1e-5)
    torch.testing.assert_close(shuffled, whole[order], rtol=0, atol=1e-5)
    assert torch.equal(whole, sample(MIXTURE, (3,), 6, scheduler=scheduler, steps=10))
    other = sample(MIXTURE, (3,), 6, scheduler=scheduler, steps=10, seed=1)
    assert not torch.allclose(other, whole)


def test_conditions_follow_their_items() -> None:
    denoiser = MIXTURE.condition(["a", "b", "c", "a", "b"])
    whole = sample(denoiser, (3,), 5, steps=20)
    small = sample(denoiser, (3,), 5, steps=20, batch_size=2)
    torch.testing.assert_close(small, whole, rtol=0, atol=1e-5)
    nearest = torch.cdist(whole, MIXTURE.means).argmin(1)
    assert nearest.tolist() == [0, 1, 2, 0, 1]


@pytest.mark.parametrize("scheduler_class", [*VP_CLASSES, HeunDiscreteScheduler])
def test_the_scheduler_is_left_alone(scheduler_class: type) -> None:
    """A stateful scheduler that was used, or is in the middle of a run, gives the same samples."""
    fresh = sample(MIXTURE, (3,), 2, scheduler=LINEAR.scheduler(scheduler_class), steps=10)
    used = LINEAR.scheduler(scheduler_class)
    used.set_timesteps(7)
    used.scale_model_input(torch.zeros(1, 3), used.timesteps[0])
    used.step(torch.zeros(1, 3), used.timesteps[0], torch.zeros(1, 3))
    before = used.timesteps.clone()
    assert torch.equal(sample(MIXTURE, (3,), 2, scheduler=used, steps=10), fresh)
    assert torch.equal(used.timesteps, before)


def test_a_prior_is_sampled_along_another_schedule() -> None:
    """The denoiser is asked at the scheduler's log-SNR, whatever its own schedule."""
    along = LINEAR.scheduler(EulerDiscreteScheduler)
    reference = sample(gaussian(LINEAR), (3,), 4, scheduler=along, steps=20)
    flow = sample(gaussian(FlowSchedule()), (3,), 4, scheduler=along, steps=20)
    torch.testing.assert_close(flow, reference, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="log-SNR must lie in"):
        sample(gaussian(DiscreteSchedule.scaled_linear()), (3,), scheduler=along)


def test_flow_schedule_along_multistep_solvers() -> None:
    scheduler = FlowSchedule().scheduler(DPMSolverMultistepScheduler)
    x = sample(gaussian(FlowSchedule()), (3,), 500, scheduler=scheduler, steps=50, batch_size=500)
    assert float(x.std()) == pytest.approx(SCALE, rel=0.1)
    assert float(x.mean()) == pytest.approx(MEAN, abs=0.05)


def test_levels_are_the_native_ones_where_they_agree() -> None:
    """Networks are owed the integers and amplitudes they were trained on."""
    seen: list[float] = []
    sample(
        gaussian(LINEAR),
        (3,),
        steps=10,
        callback=lambda step, total, p: seen.append(float(LINEAR.timestep(p.level)[0])),
    )
    assert seen == [999 - 100 * i for i in range(10)]


def test_callback_counts_over_batches() -> None:
    calls: list[tuple[int, int, tuple[int, ...]]] = []
    sample(
        MIXTURE,
        (3,),
        5,
        steps=4,
        batch_size=2,
        callback=lambda step, total, p: calls.append((step, total, tuple(p.x0.shape))),
    )
    assert [call[:2] for call in calls] == [(i, 12) for i in range(1, 13)]
    assert calls[0][2] == (2, 3)
    assert calls[-1][2] == (1, 3)


def test_progress_is_shown_only_if_asked(capsys: pytest.CaptureFixture[str]) -> None:
    sample(MIXTURE, (3,), steps=2)
    assert capsys.readouterr().err == ""
    sample(MIXTURE, (3,), steps=2, progress=True)
    assert "sampling" in capsys.readouterr().err


def test_dtype_gradients_and_defaults() -> None:
    x = sample(MIXTURE, (3,), dtype=torch.float64, steps=2)
    assert x.shape == (1, 3)
    assert x.dtype == torch.float64
    assert not x.requires_grad
    assert sample(MIXTURE, (3,), 0).shape == (0, 3)


class Broken(Denoiser):
    schedule = LINEAR

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        return Prediction.from_v(z, level, z * math.nan)


def test_a_nan_raises() -> None:
    with pytest.raises(FloatingPointError, match="not finite at log-SNR"):
        sample(Broken(), (3,), steps=5)


@pytest.mark.parametrize(
    ("scheduler", "message"),
    [
        (DDIMScheduler(), "DDIMScheduler takes 'epsilon'.*schedule.scheduler"),
        (FlowMatchEulerDiscreteScheduler(invert_sigmas=True), "runs time backwards"),
    ],
)
def test_schedulers_that_take_something_else_are_refused(scheduler: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sample(MIXTURE, (3,), scheduler=scheduler)


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="n = 2 contradicts the 3 items"):
        sample(MIXTURE, (3,), 2, items=[0, 1, 2])
    with pytest.raises(ValueError, match="steps and batch_size must be >= 1"):
        sample(MIXTURE, (3,), 2, steps=0)


def test_noise_prediction_cannot_start_without_signal() -> None:
    class OnlyNoise(Denoiser):
        schedule = ZERO_SNR

        def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
            return Prediction.from_eps(z, level, z)

    with pytest.raises(ValueError, match="zero terminal SNR the noise says nothing"):
        sample(OnlyNoise(), (3,))


ONE_STEP_CLASSES = [
    DDIMScheduler,
    DDPMScheduler,
    EulerDiscreteScheduler,
    EulerAncestralDiscreteScheduler,
]


class ToTheMean:
    """A corrector that puts every sample on alpha m, and remembers the levels."""

    def __init__(self) -> None:
        self.log_snrs: list[float] = []

    def __call__(
        self,
        denoiser: Denoiser,
        z: Tensor,
        level: NoiseLevel,
        generators: Sequence[torch.Generator],
    ) -> tuple[Tensor, Tensor]:
        self.log_snrs.append(float(level.log_snr))
        alpha, _ = level.like(z)
        return alpha * MEAN + 0 * z, torch.ones(len(z), dtype=z.dtype)


@pytest.mark.parametrize("scheduler_class", ONE_STEP_CLASSES)
@pytest.mark.parametrize("own", [LINEAR, FlowSchedule()], ids=repr)
def test_a_corrector_works_in_the_amplitudes_of_the_denoiser(
    own: NoiseSchedule, scheduler_class: type
) -> None:
    """From alpha m, whatever the coordinates of the scheduler, the last step leads to m."""
    corrector = ToTheMean()
    scheduler = LINEAR.scheduler(scheduler_class)
    x = sample(gaussian(own), (3,), 2, scheduler=scheduler, corrector=corrector, steps=10)
    torch.testing.assert_close(x, torch.full((2, 3), MEAN), rtol=0, atol=1e-5)
    # at every level but the first, which no step reached, and the clean one
    reached = [float(LINEAR.at_timestep(999 - 100 * i).log_snr) for i in range(1, 10)]
    assert corrector.log_snrs == pytest.approx(reached, abs=2e-3)


def test_corrections_are_keyed_by_item_and_apart_from_the_noise_of_the_steps() -> None:
    def drawn(**options: Any) -> Tensor:
        return sample(MIXTURE, (3,), scheduler=LINEAR.scheduler(DDPMScheduler), steps=5, **options)

    corrector = ULA(2, 0.2)
    whole = drawn(n=5, corrector=corrector)
    torch.testing.assert_close(drawn(n=5, corrector=corrector, batch_size=2), whole)
    torch.testing.assert_close(drawn(items=[4, 1], corrector=corrector), whole[[4, 1]])
    assert not torch.allclose(drawn(n=5), whole)

    def idle(
        denoiser: Denoiser,
        z: Tensor,
        level: NoiseLevel,
        generators: Sequence[torch.Generator],
    ) -> tuple[Tensor, Tensor]:
        for generator in generators:
            torch.randn(7, generator=generator)
        return z, torch.ones(len(z))

    torch.testing.assert_close(drawn(n=5, corrector=idle), drawn(n=5))


@pytest.mark.parametrize(
    "scheduler_class",
    [DPMSolverMultistepScheduler, UniPCMultistepScheduler, HeunDiscreteScheduler],
)
def test_correctors_need_a_scheduler_without_memory(scheduler_class: type) -> None:
    scheduler = LINEAR.scheduler(scheduler_class)
    with pytest.raises(ValueError, match="builds each step on earlier states"):
        sample(MIXTURE, (3,), scheduler=scheduler, corrector=ULA(1, 0.1), steps=3)
    # the default for numbers of steps that do not divide the chain has none
    sample(MIXTURE, (3,), corrector=ULA(1, 0.1), steps=3)


def squared() -> Any:
    """N(0, 0.25) squared, in three dimensions: truly N(0, 0.125)."""
    return GaussianMixturePrior(torch.zeros(1, 3), torch.tensor([0.5]), schedule=LINEAR) ** 2


def test_a_composition_without_noise_collapses_as_computed() -> None:
    """DDIM is affine for S = -W z / v, too; it tends to the ODE of the reference, section 2.4.

    The ODE multiplies z by U prod_i (s_i / sqrt(s_i^2 + U^2))^{w_i}, here to 0.0016 of 0.354.
    """
    with pytest.warns(CollapseWarning, match="sum to 2 and DDIMScheduler draws no noise"):
        x = sample(squared(), (3,), 4, steps=100)
    gain = 1.0
    for t in range(999, -1, -10):
        a, s = amplitudes(LINEAR, t)
        a_next, s_next = amplitudes(LINEAR, t - 10)
        eps = 2 * s / (a**2 * SCALE**2 + s**2)
        gain *= a_next * (1 - s * eps) / a + s_next * eps
    start = keyed_noise(0, range(4), 0, (3,), torch.float64)
    torch.testing.assert_close(x.double(), gain * start, rtol=1e-3, atol=1e-6)
    assert 0 < gain < 0.01


def test_a_composition_with_noise_keeps_a_part_and_correctors_the_whole() -> None:
    """Reference 2.4: var s^2 / (2 W - 1) for the SDE; with ULA the product's own, s^2 / W."""
    n, shape = 20, (3, 25)
    squared_wide = gaussian(LINEAR, shape) ** 2
    ddpm = LINEAR.scheduler(DDPMScheduler)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        noisy = sample(squared_wide, shape, n, scheduler=ddpm, steps=250, batch_size=n)
        corrected = sample(squared_wide, shape, n, corrector=ULA(8, 0.3), steps=50, batch_size=n)
    # 5 standard errors of 75 n draws, and up to 6 % of discretisation and of ULA's step
    slack = 5 / math.sqrt(150 * n) + 0.06
    assert float(noisy.std()) == pytest.approx(SCALE / 3**0.5, rel=slack)
    assert float(corrected.std()) == pytest.approx(SCALE / 2**0.5, rel=slack)


@pytest.mark.parametrize("scheduler_class", [*VP_CLASSES, HeunDiscreteScheduler])
def test_the_collapse_is_foretold_for_schedulers_without_noise(scheduler_class: type) -> None:
    draws = scheduler_class in (DDPMScheduler, EulerAncestralDiscreteScheduler)
    scheduler = LINEAR.scheduler(scheduler_class)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        sample(squared(), (3,), scheduler=scheduler, steps=2)
        sample(squared() ** 0.5, (3,), scheduler=scheduler, steps=2)
    assert [w.category for w in caught] == [] if draws else [CollapseWarning]


def test_memory_does_not_grow_with_the_steps() -> None:
    """Of what the experts predicted, nothing outlives its step."""
    seen: list[weakref.ref[Any]] = []
    alive: list[int] = []

    class Watched(Denoiser):
        schedule = LINEAR

        def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
            prediction = MIXTURE(z, level)
            seen.extend([weakref.ref(prediction), weakref.ref(prediction.v), weakref.ref(z)])
            return prediction

    def count(step: int, total: int, prediction: Prediction) -> None:
        alive.append(sum(ref() is not None for ref in seen))

    field = compose([(Watched(), 0.5), (MIXTURE.condition("a"), 0.5)])
    sample(field, (3,), 2, steps=40, corrector=ULA(2, 0.1), callback=count)
    assert len(seen) > 300
    assert max(alive[20:]) <= max(alive[:3]) <= 6
