"""Policies: what a race may drop, how often it is wrong, and the paper's stages."""

import numpy as np
import pytest
import torch

from scorefield.perception.classification.noise_inflation import noise_inflation
from scorefield.perception.classification.stopping import (
    Race,
    Stages,
    StoppingRule,
    moderated_variances,
)
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.schedule import FlowSchedule


def run(policy: StoppingRule, errors: np.ndarray) -> tuple[np.ndarray, int]:
    """The labels left after all looks the draws allow, and the evaluations spent."""
    left, had, spent, look = np.arange(len(errors)), 0, 0, 0
    while len(left) > 1 and (draws := policy.draws(look)) and draws <= errors.shape[1]:
        spent += len(left) * (draws - had)
        left = left[policy.keep(errors[left, :draws, None], look, len(errors))]
        had, look = draws, look + 1
    return left, spent


@pytest.mark.parametrize("labels", [2, 12])
@pytest.mark.parametrize("noise", ["normal", "of levels", "unequal", "heavy"])
def test_the_best_label_is_dropped_less_often_than_stated(labels: int, noise: str) -> None:
    """Over 150 races at confidence 0.8: at most 0.2 and 3 standard errors of such a frequency.

    Rivals are behind by 0.1 to 1 standard deviations of a draw. "Of levels": mean and variance of
    the differences are those of a few levels only, which the draws meet in turn. "Unequal": labels
    scatter differently. "Heavy": Student's t of 4 degrees of freedom.
    """
    rng = np.random.default_rng([labels, len(noise)])
    wrong, races, draws = 0, 150, 60
    for _ in range(races):
        gaps = rng.uniform(0.1, 1, (labels, 1))
        gaps[0] = 0
        scatter = rng.normal(size=(labels, draws))
        if noise == "unequal":
            scatter *= rng.uniform(0.5, 3, (labels, 1))
        elif noise == "heavy":
            scatter = rng.standard_t(4, (labels, draws)) / 2**0.5
        elif noise == "of levels":
            u = (rng.random() + np.arange(draws) * (5**0.5 - 1) / 2) % 1
            weight = np.exp(-((u - 0.5) ** 2) / 0.045) / 0.376  # mean 1 over [0, 1]
            gaps, scatter = gaps * weight, scatter * np.sqrt(weight)
        shared = 10 * rng.normal(size=draws)
        left, _ = run(Race(0.8), gaps + scatter + shared)
        wrong += 0 not in left
    assert wrong / races <= 0.2 + 3 * (0.2 * 0.8 / races) ** 0.5


@pytest.mark.parametrize("inflation", [1, 4])
def test_parts_tell_how_far_noise_goes(inflation: int) -> None:
    """A first draw of many parts drops what is far behind, and the best label as rarely as stated.

    What noise does to neighbouring parts together is in `inflation`; how much farther behind rivals
    are at one level than at another is not.
    """
    rng = np.random.default_rng(inflation)
    labels, draws, parts = 20, 12, 64
    race = Race(0.8, inflation=inflation)
    wrong, spent, races = 0, 0, 150
    for _ in range(races):
        behind = rng.uniform(0.5, 40, labels)
        behind[0] = 0
        profile = rng.uniform(0.3, 1.7, draws)
        alike = rng.normal(size=(labels, draws, parts // inflation)).repeat(inflation, axis=2)
        errors = alike / np.sqrt(parts * inflation / 2) + 10 * rng.normal(size=(1, draws, parts))
        errors += (behind[:, None] * profile)[..., None] / parts
        left, had = np.arange(labels), 0
        for look in range(6):
            n = min(race.draws(look) or 0, draws)
            spent += len(left) * (n - had)
            left, had = left[race.keep(errors[left, :n], look, labels)], n
        wrong += 0 not in left
    assert wrong / races <= 0.2 + 3 * (0.2 * 0.8 / races) ** 0.5
    assert spent / races < 2.5 * labels


def test_a_race_spends_less_the_farther_the_rivals_are() -> None:
    rng = np.random.default_rng(1)
    spent = []
    for gap in (1, 2, 4):
        errors = rng.normal(size=(9, 400))
        errors[1:] += gap
        left, cost = run(Race(0.99), errors)
        assert left.tolist() == [0]
        spent.append(cost)
    assert spent == sorted(spent, reverse=True) and spent[-1] < spent[0] / 2


def test_equal_labels_are_never_dropped() -> None:
    errors = np.random.default_rng(0).normal(size=(1, 30, 1)).repeat(4, axis=0)
    assert Race(0.5).keep(errors, 3, 4).all()
    certain = errors + np.array([0.0, 1, 0, 2]).reshape(4, 1, 1)
    assert Race(0.5).keep(certain, 3, 4).tolist() == [True, False, True, False]


def test_moderated_variances_find_the_distribution_they_are_drawn_from() -> None:
    """s^2 ~ s0^2 F(d, d0): Smyth 2004, equation 7. 3000 groups, d = 4, d0 = 8."""
    rng = np.random.default_rng(0)
    variances = 2.5 * rng.chisquare(4, 3000) / 4 / (rng.chisquare(8, 3000) / 8)
    moderated, freedom = moderated_variances(variances, 4)
    assert freedom == pytest.approx(12, rel=0.2)
    scale = (moderated * freedom - 4 * variances) / (freedom - 4)
    np.testing.assert_allclose(scale, 2.5, rtol=0.1)
    same, pooled = moderated_variances(np.full(5, 3.0), 4)
    np.testing.assert_allclose(same, 3.0)
    assert pooled == 20


def test_stages_are_the_papers() -> None:
    errors = np.arange(20.0)[:, None] + np.random.default_rng(0).normal(size=(20, 250)) / 10
    left, spent = run(Stages((5, 1), (25, 250)), errors)
    assert left.tolist() == [0] and spent == 20 * 25 + 5 * 225


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Race(1.0), "confidence must lie in"),
        (lambda: Race(first=0), "first and growth must be >= 1"),
        (lambda: Stages((5, 1), (25,)), "as many of one as of the other"),
        (lambda: Stages((1, 5), (25, 250)), "keep_best must fall"),
    ],
)
def test_refuses(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("length", [0.01, 3.0])
def test_inflation_is_measured(length: float) -> None:
    """Two Gaussians of one covariance S at their mean m: what noise does is B eps, in closed form.

    At SNR 1, B = S (S + I)^-1, and differences have variance d' B B d, where parts say
    sum_i (B B)_ii d_i^2, with d = (I - B)(m - m'). Without correlation that is 1. The tolerance
    is five standard errors sqrt(2 / 59 / 8) of the mean of 8 ratios of variances of 60 draws.
    """
    place = torch.arange(64).double()
    covariance = (-((place[:, None] - place) ** 2) / (2 * length**2)).exp() + 1e-6 * torch.eye(64)
    means = torch.zeros(2, 64).double()
    means[1] = 0.05 * torch.cos(place / 9)
    prior = GaussianMixturePrior(
        means, covariance.repeat(2, 1, 1), labels=["a", "b"], schedule=FlowSchedule()
    )
    found = noise_inflation(
        prior, means[:1].repeat(8, 1), ["a", "b"], log_snrs=[0.0], draws=60, batch_size=1024
    )
    b = covariance @ torch.linalg.inv(covariance + torch.eye(64))
    d = means[1] - b @ means[1]
    exact = float(d @ b @ b @ d / ((b @ b).diagonal() * d**2).sum())
    assert (exact == pytest.approx(1)) == (length < 1)
    assert found == pytest.approx(exact, rel=5 * (2 / 59 / 8) ** 0.5)
