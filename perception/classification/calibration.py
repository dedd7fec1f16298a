"""Whether a classifier's probabilities mean what they say, and the temperature that makes them."""

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy import optimize
from torch import Tensor


def fit_temperature(
    log_likelihoods: Float[Tensor, "images labels"], truth: Int[Tensor, " images"]
) -> float:
    """The temperature T that minimises the mean of -log softmax(log p / T)[truth].

    One number, fitted on labelled data that is not used to judge it (Guo et al. 2017, "On
    calibration of modern neural networks", section 4.2). A network is not the optimal denoiser and
    draws are few, so its likelihood ratios are too sure: T is then above 1.

    Args:
        log_likelihoods: relative ones, nats.
        truth: the index of the right label.
    """
    _check(log_likelihoods, truth)
    logits = log_likelihoods.double()

    def loss(log_temperature: float) -> float:
        scaled = logits / float(np.exp(log_temperature))
        return float(torch.nn.functional.cross_entropy(scaled, truth))

    found = optimize.minimize_scalar(loss, bounds=(-7, 14), method="bounded")
    return float(np.exp(found.x))


def expected_calibration_error(
    probabilities: Float[Tensor, "images labels"], truth: Int[Tensor, " images"], bins: int = 15
) -> float:
    """Mean over images of |accuracy - confidence| of their bin; bins of equal width in confidence.

    Guo et al. 2017, equation 3. It is not 0 in expectation for calibrated probabilities: a bin of m
    images contributes the sampling error of its accuracy.
    """
    _check(probabilities, truth)
    confidence, predicted = probabilities.double().max(dim=1)
    right = (predicted == truth).double()
    bin_of = (confidence * bins).ceil().clamp(1, bins).long() - 1
    gaps = torch.zeros(bins, dtype=torch.float64).index_add(0, bin_of, right - confidence)
    return float(gaps.abs().sum() / len(truth))


def brier_score(
    probabilities: Float[Tensor, "images labels"], truth: Int[Tensor, " images"]
) -> float:
    """Mean over images of the squared distance of the probabilities to the truth, in [0, 2].

    Brier 1950; for two labels it is twice scikit-learn's `brier_score_loss`.
    """
    _check(probabilities, truth)
    right = torch.nn.functional.one_hot(truth, probabilities.shape[1])
    return float((probabilities.double() - right).square().sum(dim=1).mean())


def _check(scores: Tensor, truth: Tensor) -> None:
    if len(truth) != len(scores) or len(truth) == 0:
        raise ValueError(f"truth must be one label per image: {len(scores)}, got {len(truth)}")
    if int(truth.min()) < 0 or int(truth.max()) >= scores.shape[1]:
        raise ValueError(f"truth must be indices below {scores.shape[1]}, the number of labels")
