"""Policies replayed over stored errors, and what a table says of their difference."""

from pathlib import Path

import numpy as np
import pytest
import torch
from classifier_cases import Cases, digits_cases, world_cases
from classifier_evaluation import evaluate_classifier
from classifier_report import table_of
from error_store import StoredErrors
from scipy import stats

from scorefield.perception import ErrorMeasure, Race, Stages
from scorefield.perception.classification.classify import Classification, run_races
from scorefield.perception.classification.paired_errors import PairedErrors, Request
from scorefield.priors import EmpiricalPrior, ImagePrior, PixelCodec

SHADES = ("dark", "light", "middle")


def prior() -> ImagePrior:
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand(30, 3, 8, 8, generator=generator) * 0.3
    pictures += torch.tensor([0.0, 0.7, 0.35]).repeat_interleave(10).reshape(30, 1, 1, 1)
    names = [name for name in SHADES for _ in range(10)]
    return ImagePrior(EmpiricalPrior(2 * pictures - 1, names), PixelCodec(), image_size=8)


def cases(limit: int | None = 7) -> Cases:
    def draw(indices: object) -> tuple[torch.Tensor, list[int]]:
        rows = [
            torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(i)) * 0.3
            + (0.0, 0.7, 0.35)[i % 3]
            for i in indices  # type: ignore[attr-defined]
        ]
        return torch.stack(rows), [i % 3 for i in indices]  # type: ignore[attr-defined]

    shrunk = {"1/10": Stages((2, 1), (1, 4))}
    return Cases("shades", SHADES, draw, Stages((2, 1), (3, 12)), shrunk, limit=limit, at_once=3)


class Counting:
    def __init__(self, source: PairedErrors) -> None:
        self.source, self.spent = source, 0

    def evaluate(self, requests: list[Request]) -> list[np.ndarray]:
        self.spent += sum(request.evaluations for request in requests)
        return self.source.evaluate(requests)


def test_a_replay_is_exact_and_evaluates_nothing_twice(tmp_path: Path) -> None:
    x = prior().encode(cases().draw(range(3))[0])
    direct = PairedErrors(prior().condition(SHADES), x, ErrorMeasure(), seed=3)
    counting = Counting(direct)
    store = StoredErrors(counting, tmp_path / "errors.npz", 3, 3)
    groups, policies = [[0], [1], [2]], (Race(0.9), Stages((2, 1), (2, 9)), Race(0.99))
    for policy in policies:
        options = {"policy": policy, "budget": 100}
        one = run_races(store, 3, SHADES, groups, **options)
        other = run_races(direct, 3, SHADES, groups, **options)
        torch.testing.assert_close(one.log_likelihoods, other.log_likelihoods, atol=1e-3, rtol=1e-4)
        assert one.evaluations.tolist() == other.evaluations.tolist()
    store.save()
    before = counting.spent
    assert before <= 3 * 3 * 33
    again = StoredErrors(counting, tmp_path / "errors.npz", 3, 3)
    for policy in policies:
        run_races(again, 3, SHADES, groups, policy=policy, budget=100)
    assert counting.spent == before
    assert [path.name for path in tmp_path.iterdir()] == ["errors.npz"]


def test_an_evaluation_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images added later, and the schedule in full, come to the figures of one go."""
    options = {"seed": 5, "budget": 60}
    whole = evaluate_classifier(
        prior(), cases(), tmp_path / "whole", n=7, published=True, **options
    )
    part = tmp_path / "part"
    evaluate_classifier(prior(), cases(), part, n=2, **options)
    assert evaluate_classifier(prior(), cases(), part, n=7, published=True, **options) == whole
    assert {row["way"] for row in whole["table"]} >= {"stages as published", "race 0.9"}
    for name in ("table.md", "results.json", "curve.png"):
        assert (part / name).stat().st_size > 100
    with pytest.raises(ValueError, match="other settings"):
        evaluate_classifier(prior(), cases(), part, n=2, seed=6, budget=60)
    with pytest.raises(ValueError, match="at most 7"):
        evaluate_classifier(prior(), cases(), part, n=8, **options)


def test_a_table_says_what_is_left_open() -> None:
    """Intervals and p values are scipy's for the same counts."""
    truth = [0] * 40

    def way(wrong: set[int], cost: int) -> list[Classification]:
        likelihoods = torch.tensor([[-1.0, 0] if i in wrong else [0, -1.0] for i in range(40)])
        n = torch.full((40,), cost)
        yes, nan = torch.ones(40, dtype=torch.bool), torch.full((40,), torch.nan)
        return [
            Classification(("a", "b"), likelihoods, likelihoods, likelihoods.long(), n, yes, nan)
        ]

    found = [("old", "x", way(set(range(10)), 100)), ("new", "y", way({0, 39}, 25))]
    old, new = table_of(found, truth, reference="old")
    assert (old["accuracy"], new["accuracy"]) == (0.75, 0.95)
    interval = stats.binomtest(38, 40).proportion_ci(method="wilson")
    assert (new["low"], new["high"]) == (interval.low, interval.high)
    assert new["gain"] == pytest.approx(0.2) and new["gain_low"] > 0.02
    assert new["mcnemar"] == pytest.approx(stats.binomtest(1, 10).pvalue)
    assert new["saving"] == 4 and old["gain"] == 0 and old["mcnemar"] == 1


def test_cases_are_fresh() -> None:
    assert len(world_cases(2).prompts) == 96
    with pytest.raises(ValueError, match="give another from 2 on"):
        world_cases(100)
    images, truth = digits_cases().draw([0, 1])
    assert images.shape == (2, 3, 8, 8) and len(truth) == 2
