"""Intervals of what a sample leaves open: Wilson's of shares, the bootstrap's of everything else.

Two methods that were judged on the same items are compared in pairs: take the interval of the
items' differences, or, for what is no mean, the `percentiles` of the difference of replicates that
were computed from the same `resampled` rows.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def wilson(successes: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a probability (1927), which stays in [0, 1].

    Args:
        successes: How many of the trials succeeded.
        trials: Independent trials, at least one.
        confidence: How often such an interval holds the probability, between 0 and 1.

    Raises:
        ValueError: No trial, or more successes than trials.
    """
    from scipy import stats  # late: it takes longer to load than the rest of a metric

    interval = stats.binomtest(successes, trials).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def resampled(items: int, resamples: int = 2000, seed: int = 0) -> NDArray[np.int64]:
    """Rows of the bootstrap: `resamples` times as many items drawn with replacement.

    The rows depend on these numbers alone, so that methods judged on the same items are resampled
    in pairs.

    Returns:
        Indices of items, (resamples, items).

    Raises:
        ValueError: There is no item.
    """
    if items < 1:
        raise ValueError("an interval needs at least one value, got none")
    return np.random.default_rng(seed).integers(items, size=(resamples, items))


def percentiles(replicates: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """The middle share of the bootstrap's replicates (Efron 1979): the percentile interval.

    Args:
        replicates: Values of a statistic, one for each resample.
        confidence: The share, between 0 and 1.
    """
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.asarray(replicates), [tail, 1 - tail])
    return float(low), float(high)


def bootstrap(
    values: ArrayLike, seed: int = 0, confidence: float = 0.95, resamples: int = 2000
) -> tuple[float, float]:
    """The percentile interval of a mean.

    Args:
        values: One for each independent item; of two methods on the same items, the differences.
        seed: Seed of the resampling.
        confidence: How often such an interval holds the mean, about, between 0 and 1.
        resamples: How many resamples are drawn.

    Raises:
        ValueError: There is no value.
    """
    given: NDArray[Any] = np.asarray(values)
    means = given[resampled(len(given), resamples, seed)].mean(axis=1)
    return percentiles(means, confidence)
