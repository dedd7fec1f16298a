"""The classifier on a network: the embedded prior of handwritten digits, beside other classifiers.

What the first 60 held-out images show here, `benchmarks/perception/classification/digits.py`
measures on all.
"""

import pytest
import torch
from classifier_cases import digits_baselines, digits_cases
from sklearn.metrics import roc_auc_score

from scorefield.perception import Classification, ErrorMeasure, Race, classify, text_scores
from scorefield.priors import FrozenPrior, load_prior

LABELS = [str(digit) for digit in range(10)]
RACE = Race(0.9, inflation=1)


@pytest.fixture(scope="module")
def prior() -> FrozenPrior:
    return load_prior("digits")


@pytest.fixture(scope="module")
def pictures() -> tuple[torch.Tensor, torch.Tensor]:
    images, truth = digits_cases().draw(range(60))
    return images, torch.tensor(truth)


@pytest.fixture(scope="module")
def found(prior: FrozenPrior, pictures: tuple[torch.Tensor, torch.Tensor]) -> Classification:
    return classify(prior, pictures[0], LABELS, policy=RACE, batch_size=256)


def test_held_out_digits_are_recognised(
    found: Classification, pictures: tuple[torch.Tensor, torch.Tensor]
) -> None:
    right = (found.log_likelihoods.argmax(dim=1) == pictures[1]).double().mean()
    # 0.97 are asked for; three standard errors for 60 of them
    assert float(right) >= 0.97 - 3 * (0.97 * 0.03 / 60) ** 0.5
    assert float(found.evaluations.double().mean()) < 100
    assert bool(found.decided.double().mean() > 0.9)


def test_other_classifiers_of_the_same_images() -> None:
    scores = digits_baselines()
    assert min(scores.values()) > 0.9 and len(scores) == 3


def test_neither_batch_nor_order_matter_to_a_network(
    prior: FrozenPrior, found: Classification, pictures: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """To the rounding of sums that a network takes in another order in another batch."""
    order = [11, 3, 7, 0, 5]
    again = classify(prior, pictures[0][order], LABELS, policy=RACE, items=order, batch_size=7)
    torch.testing.assert_close(
        again.log_likelihoods, found.log_likelihoods[order], rtol=1e-3, atol=1e-3
    )
    assert again.evaluations.tolist() == found.evaluations[order].tolist()


def test_half_precision_stays_inside_the_network(
    found: Classification, pictures: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """bfloat16 rounds what the network says to 3 digits; sums and differences add nothing."""
    half = load_prior("digits", dtype=torch.bfloat16)
    assert half.dtype == torch.bfloat16
    images = pictures[0][:20]
    again = classify(half, images.bfloat16(), LABELS, policy=RACE, batch_size=256)
    assert again.log_likelihoods.dtype == torch.float64
    same = sum(a == b for a, b in zip(again.best, found.best[:20], strict=True))
    assert same >= 19
    near = (again.log_likelihoods - found.log_likelihoods[:20]).abs() < 1.5
    assert float(near.double().mean()) > 0.8


@pytest.mark.parametrize("loss", ["l1", "huber"])
@pytest.mark.parametrize("quantity", ["x0", "v"])
def test_other_measures_work_too(
    prior: FrozenPrior, pictures: tuple[torch.Tensor, torch.Tensor], quantity: str, loss: str
) -> None:
    measure = ErrorMeasure(quantity, loss)  # type: ignore[arg-type]
    found = classify(prior, pictures[0][:20], LABELS, measure=measure, policy=RACE, batch_size=256)
    assert int((found.log_likelihoods.argmax(dim=1) == pictures[1][:20]).sum()) >= 17


def test_images_are_ranked_for_a_text(
    prior: FrozenPrior, pictures: tuple[torch.Tensor, torch.Tensor]
) -> None:
    """By the gain over no prompt, images of a digit come before others: by far most pairs."""
    images, truth = pictures[0][:30], pictures[1][:30]
    digit = int(truth.mode().values)
    scores = text_scores(prior, images, [str(digit)], draws=8, batch_size=256).values[:, 0]
    assert roc_auc_score((truth == digit).numpy(), scores.numpy()) > 0.9
