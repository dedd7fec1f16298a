from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule

KINDS = ["eps", "x0", "v", "velocity", "score"]
MAKERS: dict[str, Callable[[Tensor, NoiseLevel, Tensor], Prediction]] = {
    kind: getattr(Prediction, f"from_{kind}") for kind in KINDS
}
SCHEDULES: list[NoiseSchedule] = [
    DiscreteSchedule.linear_beta(),
    DiscreteSchedule.scaled_linear().zero_terminal_snr(),
    FlowSchedule(),
]


def random_pair(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x, eps = torch.randn(2, 3, 2, 4, generator=generator, dtype=torch.float64)
    return x, eps


def truth(x: Tensor, eps: Tensor, level: NoiseLevel) -> dict[str, Tensor]:
    alpha, sigma = level.like(x)
    return {
        "eps": eps,
        "x0": x,
        "v": alpha * eps - sigma * x,
        "velocity": eps - x,
        "score": -eps / sigma,
    }


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("kind", KINDS)
@given(u=st.floats(0.001, 0.999))
def test_every_kind_gives_every_other(schedule: NoiseSchedule, kind: str, u: float) -> None:
    x, eps = random_pair()
    level = schedule.at_fraction(torch.tensor(u, dtype=torch.float64))
    values = truth(x, eps, level)
    prediction = MAKERS[kind](level.add_noise(x, eps), level, values[kind])
    for other in KINDS:
        # alpha and sigma are down to 1e-3 here, which costs as many digits of 1e-16
        torch.testing.assert_close(getattr(prediction, other), values[other], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_own_kind_is_untouched(kind: str) -> None:
    x, eps = random_pair()
    level = FlowSchedule().at_fraction(0.3)
    value = truth(x, eps, level)[kind]
    assert getattr(MAKERS[kind](x, level, value), kind) is value


@pytest.mark.parametrize("schedule", [SCHEDULES[1], FlowSchedule()], ids=repr)
@pytest.mark.parametrize("kind", ["x0", "v", "velocity"])
def test_zero_terminal_snr_is_exact(schedule: NoiseSchedule, kind: str) -> None:
    x, eps = random_pair()
    level = schedule.at_fraction(1.0)
    prediction = MAKERS[kind](eps, level, truth(x, eps, level)[kind])
    torch.testing.assert_close(prediction.x0, x)
    torch.testing.assert_close(prediction.eps, eps)
    torch.testing.assert_close(prediction.score, -eps)
    torch.testing.assert_close(prediction.v, -x)


@pytest.mark.parametrize("kind", ["eps", "score"])
def test_noise_says_nothing_about_x0_at_zero_terminal_snr(kind: str) -> None:
    _, eps = random_pair()
    level = SCHEDULES[1].at_fraction(1.0)
    prediction = MAKERS[kind](eps, level, eps)
    for read in ("x0", "v", "velocity"):
        with pytest.raises(ValueError, match=r"alpha = 0.*zero terminal SNR.*predicts v"):
            getattr(prediction, read)


def test_one_item_at_the_end_is_enough_to_refuse() -> None:
    x, _ = random_pair()
    level = FlowSchedule().at_fraction(torch.tensor([0.1, 1.0, 0.2]))
    with pytest.raises(ValueError, match="alpha = 0"):
        _ = Prediction.from_eps(x, level, x).x0


@pytest.mark.parametrize("kind", ["eps", "v", "velocity"])
def test_clean_end_is_exact(kind: str) -> None:
    x, eps = random_pair()
    level = FlowSchedule().at_fraction(0.0)
    prediction = MAKERS[kind](x, level, truth(x, eps, level)[kind])
    torch.testing.assert_close(prediction.x0, x)
    torch.testing.assert_close(prediction.eps, eps)
    with pytest.raises(ValueError, match="score is -eps / sigma, and sigma = 0"):
        _ = prediction.score


def test_clean_sample_says_nothing_about_the_noise() -> None:
    x, _ = random_pair()
    with pytest.raises(ValueError, match=r"sigma = 0.*holds no noise"):
        _ = Prediction.from_x0(x, FlowSchedule().at_fraction(0.0), x).eps


def test_half_precision_values_are_converted_in_float32() -> None:
    x, eps = (t.half() for t in random_pair())
    prediction = Prediction.from_eps(x, DiscreteSchedule.linear_beta().at_timestep(900), eps)
    assert prediction.eps.dtype == torch.float16
    assert prediction.x0.dtype == torch.float32


def test_chunk_splits_values_and_levels() -> None:
    x = torch.arange(12.0).reshape(4, 3)
    level = FlowSchedule().at_fraction(torch.tensor([0.1, 0.2, 0.3, 0.4]))
    first, second = Prediction.from_v(x, level, 2 * x).chunk(2)
    assert torch.equal(second.v, 2 * x[2:])
    assert torch.equal(second.level.sigma, level.sigma[2:])
    torch.testing.assert_close(first.x0, Prediction.from_v(x, level, 2 * x).x0[:2])
    with pytest.raises(ValueError, match="batch of 4 does not split into 3"):
        Prediction.from_v(x, level, x).chunk(3)


@pytest.mark.parametrize("schedule", SCHEDULES, ids=repr)
@pytest.mark.parametrize("other_kind", KINDS)
@pytest.mark.parametrize("kind", KINDS)
def test_weights_that_sum_to_one_mean_the_same_in_every_kind(
    kind: str, other_kind: str, schedule: NoiseSchedule
) -> None:
    level = schedule.at_fraction(torch.tensor([0.3, 0.5, 0.7], dtype=torch.float64))
    (x, eps), (other_x, _) = random_pair(0), random_pair(1)
    z = level.add_noise(x, eps)
    a = MAKERS[kind](z, level, truth(x, eps, level)[kind])
    alpha, sigma = level.like(z)
    other_eps = (z - alpha * other_x) / sigma  # another split of the same z
    b = MAKERS[other_kind](z, level, truth(other_x, other_eps, level)[other_kind])
    torch.testing.assert_close(a.towards(b, 7.5).x0, x + 7.5 * (other_x - x))
    torch.testing.assert_close(a.towards(b, 7.5).eps, eps + 7.5 * (other_eps - eps))
