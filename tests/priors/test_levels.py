import math

import numpy as np
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
from hypothesis import given
from hypothesis import strategies as st

from scorefield.priors.levels import NoiseLevel
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule

DISCRETE = [
    DiscreteSchedule.linear_beta(),
    DiscreteSchedule.scaled_linear(),
    DiscreteSchedule.cosine(),
    DiscreteSchedule.cosine(100),
    DiscreteSchedule.scaled_linear().zero_terminal_snr(),
]
# set_timesteps of diffusers converts tensors in a way numpy 2 means to drop
diffusers_meets_numpy = pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
SCHEDULES: list[NoiseSchedule] = [*DISCRETE, FlowSchedule()]


@pytest.mark.parametrize("schedule", DISCRETE, ids=repr)
def test_integer_timesteps_are_exact(schedule: DiscreteSchedule) -> None:
    t = torch.arange(schedule.num_timesteps)
    double = schedule.at_timestep(t.double())
    assert torch.equal(double.alpha, schedule.alphas_cumprod.sqrt())
    assert torch.equal(double.sigma, (1 - schedule.alphas_cumprod).sqrt())
    single = schedule.at_timestep(t)
    assert single.alpha.dtype == torch.float32
    assert torch.equal(single.alpha, schedule.alphas_cumprod.sqrt().float())


def test_float32_alphas_of_a_scheduler_are_kept_to_the_bit() -> None:
    alphas = DDIMScheduler(beta_schedule="scaled_linear").alphas_cumprod
    level = DiscreteSchedule(alphas).at_timestep(torch.arange(1000))
    # numpy's square root is correctly rounded, torch's vectorised one need not be
    assert level.alpha.numpy().tolist() == np.sqrt(alphas.numpy()).tolist()


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@given(u=st.floats(0, 1))
def test_fraction_and_timestep_are_inverted(schedule: NoiseSchedule, u: float) -> None:
    level = schedule.at_fraction(torch.tensor(u, dtype=torch.float64))
    # integers are restored, so a timestep within 0.001 of one may move to it
    assert float(schedule.fraction(level)) == pytest.approx(u, abs=1.1e-5)
    assert float(schedule.timestep(level)) == pytest.approx(
        float(schedule.timestep(schedule.at_timestep(schedule.timestep(level)))), abs=2e-3
    )


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_integers_come_back_from_float32_levels(schedule: NoiseSchedule) -> None:
    last = 100 if schedule is DISCRETE[3] else 1000
    t = torch.arange(last, dtype=torch.float32)
    recovered = schedule.timestep(schedule.at_timestep(t))
    exact = isinstance(schedule, DiscreteSchedule)
    torch.testing.assert_close(recovered, t, rtol=0, atol=0 if exact else 1e-4)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@given(log_snr=st.floats(-5.3, 7))
def test_log_snr_is_inverted(schedule: NoiseSchedule, log_snr: float) -> None:
    level = schedule.at_log_snr(torch.tensor(log_snr, dtype=torch.float64))
    assert float(level.log_snr) == pytest.approx(log_snr, abs=1e-12)
    native = schedule.at_timestep(schedule.timestep(level))
    # steepest, one timestep is about 1 of log-SNR, so rounding to an integer moves it by < 2e-3
    assert float(native.log_snr) == pytest.approx(log_snr, abs=2e-3)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@given(s=st.floats(0.1, 0.9))
def test_flow_sigma_is_inverted(schedule: NoiseSchedule, s: float) -> None:
    level = schedule.at_flow_sigma(torch.tensor(s, dtype=torch.float64))
    assert float(level.flow_sigma) == pytest.approx(s, abs=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
def test_noise_grows_along_the_schedule(schedule: NoiseSchedule) -> None:
    level = schedule.at_fraction(torch.linspace(0, 1, 3001, dtype=torch.float64))
    assert bool((level.log_snr.diff() < 0).all())


@pytest.mark.parametrize("schedule", DISCRETE, ids=repr)
def test_discrete_levels_preserve_variance(schedule: DiscreteSchedule) -> None:
    level = schedule.at_fraction(torch.linspace(0, 1, 777, dtype=torch.float64))
    torch.testing.assert_close(level.alpha**2 + level.sigma**2, torch.ones(777).double())


def test_log_snr_is_linear_between_timesteps() -> None:
    schedule = DiscreteSchedule.cosine()
    low, mid, high = schedule.at_timestep(torch.tensor([500.0, 500.25, 501.0]).double()).log_snr
    assert float(mid) == pytest.approx(0.75 * float(low) + 0.25 * float(high), abs=1e-10)


def test_flow_and_discrete_ends() -> None:
    ends = FlowSchedule().at_log_snr(torch.tensor([math.inf, -math.inf]))
    assert ends.alpha.tolist() == [1, 0]
    assert ends.sigma.tolist() == [0, 1]
    schedule = DiscreteSchedule.cosine().zero_terminal_snr()
    last = schedule.at_log_snr(-math.inf)
    assert float(last.alpha) == 0
    assert float(schedule.timestep(last)) == 999
    assert float(schedule.at_timestep(999).log_snr) == -math.inf


def test_zero_terminal_snr_follows_algorithm_1() -> None:
    before, after = (
        schedule.alphas_cumprod.sqrt()
        for schedule in (DISCRETE[1], DISCRETE[1].zero_terminal_snr())
    )
    assert float(after[-1]) == 0
    assert float(after[0]) == pytest.approx(float(before[0]), abs=1e-15)
    # affine: the ratio of increments is constant
    ratio = after.diff() / before.diff()
    torch.testing.assert_close(ratio, ratio[:1].expand(999))
    reference = DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        rescale_betas_zero_snr=True,
    )
    torch.testing.assert_close(
        DISCRETE[1].zero_terminal_snr().alphas_cumprod.float(),
        reference.alphas_cumprod,
        rtol=0,
        atol=2e-6,
    )


@pytest.mark.parametrize(
    ("ours", "options"),
    [
        (DISCRETE[0], {"beta_schedule": "linear"}),
        (
            DISCRETE[1],
            {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        ),
        (DISCRETE[2], {"beta_schedule": "squaredcos_cap_v2"}),
    ],
)
def test_named_schedules_are_those_of_diffusers(
    ours: DiscreteSchedule, options: dict[str, object]
) -> None:
    theirs = DDPMScheduler(**options).alphas_cumprod
    torch.testing.assert_close(ours.alphas_cumprod.float(), theirs, rtol=0, atol=2e-6)


@diffusers_meets_numpy
@pytest.mark.parametrize("schedule", DISCRETE, ids=repr)
@pytest.mark.parametrize(
    "scheduler_class",
    [
        DDIMScheduler,
        DDPMScheduler,
        DPMSolverMultistepScheduler,
        EulerDiscreteScheduler,
        EulerAncestralDiscreteScheduler,
        UniPCMultistepScheduler,
    ],
)
def test_schedulers_have_our_alphas(schedule: DiscreteSchedule, scheduler_class: type) -> None:
    scheduler = schedule.scheduler(scheduler_class)
    torch.testing.assert_close(
        scheduler.alphas_cumprod.double(), schedule.alphas_cumprod, rtol=0, atol=1e-6
    )
    assert scheduler.config.prediction_type == "v_prediction"
    assert not scheduler.config.get("clip_sample")
    scheduler.set_timesteps(25)
    assert float(scheduler.timesteps[0]) == schedule.num_timesteps - 1


def test_scheduler_options_overrule_ours() -> None:
    scheduler = DISCRETE[0].scheduler(DDIMScheduler, clip_sample=True, set_alpha_to_one=False)
    assert scheduler.config.clip_sample
    assert isinstance(DISCRETE[0].scheduler(), DDIMScheduler)
    assert isinstance(FlowSchedule().scheduler(), FlowMatchEulerDiscreteScheduler)


def test_scheduler_that_divides_by_zero_alpha_is_refused() -> None:
    with pytest.raises(ValueError, match=r"HeunDiscreteScheduler cannot follow .* zero terminal"):
        DISCRETE[4].scheduler(HeunDiscreteScheduler)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_fractions_outside_are_errors(schedule: NoiseSchedule, value: float) -> None:
    with pytest.raises(ValueError, match=r"fraction must lie in \[0, 1\]"):
        schedule.at_fraction(value)
    with pytest.raises(ValueError, match="timestep must lie in"):
        schedule.at_timestep(1000 * value if value == value else value)


def test_log_snr_outside_is_an_error_that_names_the_range() -> None:
    with pytest.raises(ValueError, match=r"log-SNR must lie in \[-10\.1177, 9\.21024\].*got 12"):
        DISCRETE[0].at_log_snr(12.0)
    with pytest.raises(ValueError, match="log-SNR must lie in"):
        DISCRETE[0].timestep(FlowSchedule().at_fraction(1.0))


def test_bad_alphas_are_errors() -> None:
    for alphas in ([0.5], [0.5, 0.6], [1.0, 0.5], [0.5, -0.1]):
        with pytest.raises(ValueError, match="alphas_cumprod must"):
            DiscreteSchedule(torch.tensor(alphas))


def test_level_shapes_and_dtypes() -> None:
    level = FlowSchedule().at_fraction(torch.tensor([0.25, 0.5]))
    assert level.expand(2).alpha.shape == (2,)
    assert level[1].expand(3).sigma.tolist() == [0.5] * 3
    with pytest.raises(ValueError, match="2 entries does not fit a batch of 3"):
        level.expand(3)
    with pytest.raises(ValueError, match="must both have shape"):
        NoiseLevel(torch.ones(2, 2), torch.ones(2, 2))
    for dtype, expected in ((torch.float16, torch.float32), (torch.float64, torch.float64)):
        alpha, sigma = level.like(torch.zeros(2, 3, 4, 4, dtype=dtype))
        assert alpha.dtype == sigma.dtype == expected
        assert alpha.shape == (2, 1, 1, 1)
    x, eps = torch.randn(2, 2, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(level.add_noise(x, eps)[1], 0.5 * x[1] + 0.5 * eps[1])


def test_precision_follows_the_question() -> None:
    schedule = DISCRETE[0]
    assert schedule.at_timestep(3).alpha.dtype == torch.float32
    assert schedule.at_timestep(torch.tensor(3.0).double()).alpha.dtype == torch.float64
    assert schedule.at_timestep(torch.tensor(3)).alpha.dtype == torch.float32


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("factor", [0.25, 1.0, 3.0])
def test_rescaling_leads_to_the_schedules_own_amplitudes(
    schedule: NoiseSchedule, factor: float
) -> None:
    own = schedule.at_fraction(torch.linspace(0.1, 0.9, 5, dtype=torch.float64))
    away = NoiseLevel(factor * own.alpha, factor * own.sigma)
    scale = schedule.rescaling(away)
    torch.testing.assert_close(scale * away.alpha, own.alpha)
    torch.testing.assert_close(scale * away.sigma, own.sigma)
    torch.testing.assert_close(scale, NoiseSchedule.rescaling(schedule, away))
