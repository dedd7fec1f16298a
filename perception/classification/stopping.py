"""Which labels of an image are evaluated further: a race with a stated confidence, or stages.

Both look at paired errors, (labels, draws, parts): their sum over parts and mean over draws ranks
the labels.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float
from scipy import optimize, special, stats


@runtime_checkable
class StoppingRule(Protocol):
    """Decides how often labels are evaluated and which are kept."""

    def draws(self, look: int) -> int | None:
        """The draws that all labels kept have at look number `look` = 0, 1, ...; None: no more."""
        ...

    def keep(
        self, errors: Float[np.ndarray, "labels draws parts"], look: int, labels: int
    ) -> Bool[np.ndarray, " labels"]:
        """Which of the labels in the race stay; `labels` is how many began."""
        ...

    def confidence_in(self, errors: Float[np.ndarray, "labels draws parts"]) -> float:
        """How sure the best of the labels left is the best of all; nan if nothing is claimed."""
        ...


@dataclass(frozen=True)
class Race:
    """Drops a label once it is behind the leader by more than noise explains.

    At each look the paired differences to the leader have a mean d over draws and a standard error
    e; a label is dropped if d > t e, where t is the quantile of Student's distribution for an error
    of (1 - confidence) 6 / (pi^2 (look + 1)^2) over the number of rivals. By the union over rivals
    and looks, however many there are, the label that unlimited draws would find best is dropped
    with a probability of at most 1 - confidence, as far as d is normal and e is right.

    Where errors come in parts, e^2 is `inflation` times what independent parts would have: a single
    draw tells most labels apart, for its noise has as many dimensions as the sample, and what
    differences owe to the level, which is no noise, stays out. An error in one piece (densities in
    few dimensions) has the moderated variance of draws (`moderated_variances`) for e^2, from the
    second draw on; draws spread evenly over the levels scatter less around their mean than that.

    confidence: in (0, 1).
    first: draws at the first look.
    growth: the draws of a look over those of the one before, >= 1; one more at least.
    inflation: variance of a difference over that of a sum of independent parts. Noise moves what a
        network says of neighbouring dimensions together: 4 times on the embedded `shapes`, 1 on
        `digits`. `noise_inflation` measures it.
    """

    confidence: float | int = 0.99
    first: int = 1
    growth: float | int = 1.25
    inflation: float | int = 4.0

    def __post_init__(self) -> None:
        if not 0 < self.confidence < 1:
            raise ValueError(f"confidence must lie in (0, 1); got {self.confidence}")
        if self.first < 1 or self.growth < 1 or self.inflation <= 0:
            raise ValueError(
                "first and growth must be >= 1 and inflation positive; got "
                f"{self.first}, {self.growth} and {self.inflation}"
            )

    def draws(self, look: int) -> int | None:
        """The draws at a look; there is always another."""
        n = self.first
        for _ in range(look):
            n = max(n + 1, math.ceil(n * self.growth))
        return n

    def keep(
        self, errors: Float[np.ndarray, "labels draws parts"], look: int, labels: int
    ) -> Bool[np.ndarray, " labels"]:
        """All but those that are behind by more than noise explains."""
        leader, behind, freedom = self._standing(errors)
        risk = (1 - self.confidence) * 6 / (math.pi * (look + 1)) ** 2 / max(labels - 1, 1)
        kept: np.ndarray = behind <= stats.t.isf(risk, freedom)
        kept[leader] = True
        return kept

    def confidence_in(self, errors: Float[np.ndarray, "labels draws parts"]) -> float:
        """The stated confidence less the chances that a label left is better than the best."""
        leader, behind, freedom = self._standing(errors)
        chances = np.delete(stats.t.sf(behind, freedom), leader)
        return max(0.0, float(self.confidence - chances.sum()))

    def _standing(
        self, errors: Float[np.ndarray, "labels draws parts"]
    ) -> tuple[int, Float[np.ndarray, " labels"], float]:
        """The leader, how many standard errors each label is behind it, degrees of freedom."""
        _, draws, parts = errors.shape
        leader = int(errors.sum(axis=2).mean(axis=1).argmin())
        gaps = errors - errors[leader]
        behind = gaps.sum(axis=2).mean(axis=1)
        freedom = float(draws * (parts - 1))
        if parts > 1:
            squares = self.inflation * parts * gaps.var(axis=2, ddof=1).mean(axis=1) / draws
        elif draws > 1:
            squares = np.zeros(len(errors))
            rivals = np.arange(len(errors)) != leader
            variances = gaps[rivals, :, 0].var(axis=1, ddof=1)
            squares[rivals], freedom = moderated_variances(variances, draws - 1)
            squares /= draws
        else:
            return leader, np.zeros(len(errors)), 1.0
        # equal prompts tie; a difference that never varies is certain
        certain = np.where(behind > 0, np.inf, 0.0)
        sure = squares == 0
        return (
            leader,
            np.where(sure, certain, behind / np.sqrt(np.where(sure, 1, squares))),
            freedom,
        )


@dataclass(frozen=True)
class Stages:
    """The fixed schedule of Li et al. 2023: after `samples[i]` draws keep the `keep_best[i]` best.

    ``Stages(keep_best=(5, 1), samples=(25, 250))`` is the published one for 37 classes. Here a
    stage goes on with the draws of the one before, of which any number covers the levels; the
    published code draws anew.

    Raises:
        ValueError: not one number of draws per stage, or stages that do not narrow down.
    """

    keep_best: Sequence[int] = (5, 1)
    samples: Sequence[int] = (25, 250)

    def __post_init__(self) -> None:
        fewer = all(a > b for a, b in zip(self.keep_best, self.keep_best[1:], strict=False))
        more = all(a < b for a, b in zip(self.samples, self.samples[1:], strict=False))
        positive = bool(self.keep_best) and min(*self.keep_best, *self.samples) >= 1
        if len(self.keep_best) != len(self.samples) or not (fewer and more and positive):
            raise ValueError(
                "keep_best must fall and samples rise, as many of one as of the other, all >= 1; "
                f"got {tuple(self.keep_best)} and {tuple(self.samples)}"
            )

    def draws(self, look: int) -> int | None:
        """The draws of a stage."""
        return self.samples[look] if look < len(self.samples) else None

    def keep(
        self, errors: Float[np.ndarray, "labels draws parts"], look: int, labels: int
    ) -> Bool[np.ndarray, " labels"]:
        """The stage's number of best."""
        kept = np.zeros(len(errors), dtype=bool)
        kept[errors.sum(axis=2).mean(axis=1).argsort(kind="stable")[: self.keep_best[look]]] = True
        return kept

    def confidence_in(self, errors: Float[np.ndarray, "labels draws parts"]) -> float:
        """Nothing is claimed."""
        return math.nan


def moderated_variances(
    variances: Float[np.ndarray, " groups"], freedom: int
) -> tuple[Float[np.ndarray, " groups"], float]:
    """Sample variances of many groups drawn towards their common scale, and degrees of freedom.

    The empirical Bayes estimate of Smyth 2004, "Linear models and empirical Bayes methods", section
    6.2: variances that are inverse chi-square around s_0^2 with d_0 degrees of freedom have
    posterior means (d_0 s_0^2 + d s^2) / (d_0 + d), and the t statistic has d_0 + d degrees of
    freedom; s_0 and d_0 are fitted to the log-variances. With few draws and many labels this is
    what makes early looks worth taking.

    Args:
        variances: unbiased sample variances s^2.
        freedom: d, of each.
    """
    positive = variances[variances > 0]
    if len(positive) < 3:
        return variances, float(freedom)
    half = freedom / 2
    logs = np.log(positive) - special.digamma(half) + math.log(half)
    centre, spread = logs.mean(), logs.var(ddof=1) - special.polygamma(1, half)
    # the groups' draws are paired and so not independent: no more freedom than one group's, pooled
    most = freedom * len(positive)
    if spread <= special.polygamma(1, most / 2):
        return np.full_like(variances, positive.mean()), float(most)
    prior = 2 * optimize.brentq(lambda x: special.polygamma(1, x) - spread, 1e-6, most)
    scale = math.exp(centre + special.digamma(prior / 2) - math.log(prior / 2))
    return (prior * scale + freedom * variances) / (prior + freedom), float(prior + freedom)
