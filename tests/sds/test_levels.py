"""The ranges of noise levels that distillation draws from."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from scorefield.priors import DiscreteSchedule
from scorefield.sds import LevelRange
from scorefield.sds.levels import DreamTime

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


@pytest.mark.parametrize("levels", [DreamTime(), DreamTime(0.1, 0.9, 0.3, 0.3, 0.2, 0.05)])
def test_dreamtime_spends_the_run_as_its_weight_says(levels: DreamTime) -> None:
    """The share of the weight above its level is the progress; by the midpoint rule."""
    n = 4000
    step = (levels.high - levels.low) / n
    points = [levels.low + (i + 0.5) * step for i in range(n)]
    weights = [levels.weight(point) for point in points]
    for progress in (0.0, 0.1, 0.3, 0.5, 0.9, 0.999):
        level = levels.at(progress)
        above = sum(w for w, point in zip(weights, points, strict=True) if point > level)
        assert above / sum(weights) == pytest.approx(progress, abs=2e-3)
    assert levels.at(0.0) == pytest.approx(levels.high)
    assert levels.at(1.0) == pytest.approx(levels.low, abs=1e-6)


@given(st.floats(0, 1), st.floats(0, 1))
def test_dreamtime_never_rises(one: float, other: float) -> None:
    early, late = sorted((one, other))
    levels = DreamTime()
    assert levels.low <= levels.at(late) <= levels.at(early) <= levels.high + 1e-12


def test_dreamtime_is_one_level_for_all() -> None:
    level = DreamTime().draw(SCHEDULE, 0.5, 3, torch.Generator())
    assert len(level) == 3 and level.alpha.unique().numel() == 1
    assert SCHEDULE.fraction(level)[0].item() == pytest.approx(DreamTime().at(0.5), abs=1e-4)


@pytest.mark.parametrize(
    "numbers", [{"low": 0.6}, {"high": 0.7}, {"lower": 0.9}, {"lower_width": 0.0}]
)
def test_impossible_dreamtimes_are_refused(numbers: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"DreamTime|lower_width must be above 0"):
        DreamTime(**numbers)
