"""Probabilities mean what they say: on a mixture, and on handwritten digits."""

import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.metrics import brier_score_loss
from sklearn.model_selection import train_test_split

from scorefield.perception.classification.calibration import (
    brier_score,
    expected_calibration_error,
    fit_temperature,
)
from scorefield.perception.classification.classify import classify
from scorefield.perception.classification.error_measure import ErrorMeasure
from scorefield.perception.classification.stopping import Race, Stages
from scorefield.priors.exact.empirical import EmpiricalPrior
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.schedule import FlowSchedule


def test_a_mixtures_probabilities_are_calibrated() -> None:
    """Reliability of 250 samples within sampling error, and a fitted temperature near 1."""
    prior = GaussianMixturePrior(
        torch.tensor([[-0.6, 0.0], [0.6, 0.0]]), torch.ones(2), labels=["a", "b"],
        schedule=FlowSchedule(),
    )  # fmt: skip
    n = 250
    x = prior.sample(n, seed=6)
    clean = prior.schedule.at_fraction(0.0)
    joint = torch.stack([prior.condition(c).log_density(x, clean) for c in ("a", "b")], dim=1)
    truth = torch.multinomial(
        joint.softmax(dim=1), 1, generator=torch.Generator().manual_seed(0)
    ).squeeze(1)
    found = classify(
        prior, x, ["a", "b"], policy=Stages((2,), (64,)), budget=128, batch_size=16_384,
        measure=ErrorMeasure(log_snr=(-10, 10)),
    )  # fmt: skip
    p = found.probabilities
    torch.testing.assert_close(p.sum(dim=1), torch.ones(n).double())
    # a bin of m images adds about sqrt(m / 4) / n: five bins of 50, and the estimator's own noise
    assert expected_calibration_error(p, truth, bins=5) < 0.12
    assert 0.6 < fit_temperature(found.log_likelihoods, truth) < 1.7


def test_temperature_undoes_a_scale() -> None:
    logits = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0)).double() * 2
    truth = torch.multinomial(
        logits.softmax(dim=1), 1, generator=torch.Generator().manual_seed(1)
    ).squeeze(1)
    assert fit_temperature(7 * logits, truth) == pytest.approx(7, rel=0.1)


def test_scores_of_known_cases() -> None:
    p = torch.tensor([[0.85, 0.15], [0.65, 0.35], [0.25, 0.75]])
    truth = torch.tensor([0, 1, 1])
    assert brier_score(p, truth) == pytest.approx(2 * brier_score_loss(truth, p[:, 1]))
    # alone in their bins: |1 - 0.85|, |0 - 0.65|, |1 - 0.75|
    assert expected_calibration_error(p, truth, bins=10) == pytest.approx(1.05 / 3)
    with pytest.raises(ValueError, match="indices below 2"):
        brier_score(p, truth + 1)


def test_digits_by_the_exact_denoiser_of_the_training_split() -> None:
    """A kernel density per digit has a closed-form denoiser: what no training can better."""
    images, names = load_digits(return_X_y=True)
    x = torch.tensor(images / 8 - 1, dtype=torch.float32).reshape(-1, 1, 8, 8)
    train, test, known, truth = train_test_split(x, names, test_size=60, random_state=0)
    prior = EmpiricalPrior(train, [str(name) for name in known], FlowSchedule())
    labels = [str(digit) for digit in range(10)]
    # errors of eps grow with the log-SNR without bound here, for exemplars are never quite met
    measure = ErrorMeasure("x0", log_snr=(-3, 4))
    options = {"measure": measure, "budget": 160, "batch_size": 4096}
    full = classify(prior, test, labels, policy=Stages((10,), (16,)), **options)
    race = classify(prior, test, labels, policy=Race(0.9), **options)
    right = torch.tensor(truth)
    for found in (full, race):
        accuracy = (found.log_likelihoods.argmax(dim=1) == right).double().mean()
        # 0.985 of the whole set is expected; three standard errors for 60 of them
        assert float(accuracy) >= 0.985 - 3 * (0.985 * 0.015 / 60) ** 0.5
    assert sum(a == b for a, b in zip(full.best, race.best, strict=True)) >= 59
    assert race.evaluations.double().mean() < 0.5 * full.evaluations.double().mean()
