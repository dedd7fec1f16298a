"""Intervals against their formulas, and how often they hold what they should."""

import math

import numpy as np
import pytest
from scipy import stats

from scorefield.intervals import bootstrap, percentiles, resampled, wilson


@pytest.mark.parametrize("confidence", [0.8, 0.95])
@pytest.mark.parametrize(("successes", "trials"), [(8, 10), (1, 240), (0, 10), (10, 10)])
def test_wilson_is_its_formula(successes: int, trials: int, confidence: float) -> None:
    z, p = stats.norm.ppf((1 + confidence) / 2), successes / trials
    centre = (p + z**2 / (2 * trials)) / (1 + z**2 / trials)
    half = z / (1 + z**2 / trials) * math.sqrt(p * (1 - p) / trials + z**2 / (4 * trials**2))
    found = wilson(successes, trials, confidence)
    assert found == pytest.approx((centre - half, centre + half), abs=1e-12)
    # Its ends are where the hypothesis is just not rejected: |p - q| = z sqrt(q (1 - q) / n).
    for end in found:
        assert abs(p - end) == pytest.approx(z * math.sqrt(end * (1 - end) / trials), abs=1e-9)


def test_wilson_mirrors_failures() -> None:
    low, high = wilson(3, 17)
    assert wilson(14, 17) == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2)])
def test_shares_of_nothing_are_refused(successes: int, trials: int) -> None:
    with pytest.raises(ValueError):
        wilson(successes, trials)


def test_percentiles_are_the_middle() -> None:
    assert percentiles(np.arange(101)) == pytest.approx((2.5, 97.5))
    assert percentiles(np.arange(101)[::-1], 0.5) == pytest.approx((25, 75))


def test_an_item_is_drawn_as_often_as_a_binomial_says() -> None:
    rows = resampled(20, 5000, seed=1)
    assert rows.shape == (5000, 20) and set(rows.ravel()) == set(range(20))
    counts = (rows == 7).sum(axis=1)
    # 5 standard errors of the mean and the variance of 5,000 draws of Binomial(20, 1/20).
    variance = 20 * 0.05 * 0.95
    assert counts.mean() == pytest.approx(1, abs=5 * math.sqrt(variance / 5000))
    assert counts.var() == pytest.approx(variance, rel=5 * math.sqrt(3 / 5000))


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap(values, seed=0)
    # Of a normal sample's mean: 1.96 s / sqrt(n); its ends from 2,000 resamples have an error of
    # about 3 % of that.
    exact = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - exact, abs=0.15 * exact)
    assert high == pytest.approx(values.mean() + exact, abs=0.15 * exact)


def test_intervals_of_means_hold_them_19_times_in_20() -> None:
    rng = np.random.default_rng(3)
    trials = 400
    hits = 0
    for seed in range(trials):
        low, high = bootstrap(rng.normal(2.0, 1.0, size=80), seed, resamples=400)
        hits += low <= 2.0 <= high
    # 5 standard errors of 400 trials are 0.055; a percentile interval of 80 values covers 94.2 %.
    assert abs(hits / trials - 0.942) < 0.055


def test_it_moves_and_scales_with_the_values_and_is_a_point_of_equal_ones() -> None:
    values = np.random.default_rng(4).exponential(size=30)
    low, high = bootstrap(values, seed=5)
    assert bootstrap(3 * values - 1, seed=5) == pytest.approx((3 * low - 1, 3 * high - 1))
    assert bootstrap(np.full(9, 0.25)) == (0.25, 0.25)


def test_pairs_are_resampled_together() -> None:
    """A difference that is the same on every item has no interval, whatever the items are."""
    items = np.random.default_rng(6).normal(scale=10, size=50)
    better, worse = items + 0.5, items
    assert bootstrap(better - worse) == pytest.approx((0.5, 0.5))
    rows = resampled(50)
    medians = [np.median(one[rows], axis=1) for one in (better, worse)]
    assert percentiles(medians[0] - medians[1]) == pytest.approx((0.5, 0.5))
    assert bootstrap(better)[0] < bootstrap(worse)[1]  # apart, they could not be told apart


def test_nothing_has_no_interval() -> None:
    with pytest.raises(ValueError, match="at least one value"):
        bootstrap([])
