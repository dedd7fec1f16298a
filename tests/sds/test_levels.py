"""The ranges of noise levels that distillation draws from."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scorefield.priors import DiscreteSchedule
from scorefield.sds import LevelRange

SCHEDULE = DiscreteSchedule.scaled_linear()


def test_default_is_dreamfusions_range_throughout() -> None:
    assert LevelRange().bounds(0.0) == LevelRange().bounds(1.0) == (0.02, 0.98)


def test_draws_are_uniform_in_the_fraction() -> None:
    """Mean and variance of U(0.02, 0.98) within five standard errors."""
    n = 20_000
    level = LevelRange().draw(SCHEDULE, 0.5, n, torch.Generator().manual_seed(0))
    fraction = SCHEDULE.fraction(level)
    assert fraction.min() >= 0.02 - 1e-5 and fraction.max() <= 0.98 + 1e-5
    sd = 0.96 / 12**0.5
    assert abs(fraction.mean().item() - 0.5) < 5 * sd / n**0.5
    # the variance of the sample variance of a uniform is 0.8 var^2 / n
    assert abs(fraction.var().item() - sd**2) < 5 * sd**2 * (0.8 / n) ** 0.5


def test_annealing_follows_hifa() -> None:
    """t = t_max - (t_max - t_min) sqrt(progress), HiFA; deterministic at width 0."""
    levels = LevelRange(0.3, 0.98, 0.3, width=0.0)
    for progress in (0.0, 0.25, 1.0):
        expected = 0.98 - 0.68 * progress**0.5
        assert levels.bounds(progress) == pytest.approx((expected, expected))


@given(st.floats(0, 1))
def test_bounds_stay_ordered_and_inside(progress: float) -> None:
    low, high = LevelRange(0.1, 0.9, 0.2, width=0.3).bounds(progress)
    assert 0.1 <= low <= high <= 0.9


@pytest.mark.parametrize(
    "given_range", [(-0.1, 0.5), (0.5, 0.4), (0.2, 1.2), (0.3, 0.9, 0.2), (0.1, 0.9, 0.5, -1.0)]
)
def test_impossible_ranges_are_refused(given_range: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"low|width"):
        LevelRange(*given_range)
