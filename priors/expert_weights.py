"""Weights of experts: numbers, or functions of the log-SNR, and their arithmetic."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

Weight = float | int | Callable[[Tensor], Tensor]
"""A number, or a function of log-SNRs of any shape to weights of that shape, such as a `Window`.

Log-SNR and not a fraction of the steps: it means the same noise in every schedule.
"""


@dataclass(frozen=True)
class Window:
    """A weight where low <= log-SNR < high, and zero elsewhere.

    Attributes:
        low: log-SNR of its noisiest level; may be -inf.
        high: log-SNR it ends at, towards clean; may be inf.
        weight: the weight inside.
    """

    low: float | int
    high: float | int
    weight: float | int = 1.0

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"a window needs low < high in log-SNR, got {self.low}, {self.high}")

    def __call__(self, log_snr: Float[Tensor, "*levels"]) -> Float[Tensor, "*levels"]:
        """The weight at each log-SNR."""
        inside = (log_snr >= self.low) & (log_snr < self.high)
        # not a product, for 0 * nan would hide a weight that is not finite
        return torch.where(inside, torch.full_like(log_snr, self.weight), 0.0)


def value(weight: Weight, log_snr: Tensor) -> Tensor:
    """A weight at each log-SNR.

    Raises:
        ValueError: a function that does not keep the shape.
    """
    if not callable(weight):
        return torch.full_like(log_snr, weight)
    found = weight(log_snr)
    if found.shape != log_snr.shape:
        raise ValueError(
            f"a weight must map log-SNRs of shape {tuple(log_snr.shape)} to that shape, "
            f"got {tuple(found.shape)}"
        )
    return found


def times(a: Weight, b: Weight) -> Weight:
    """The product of two weights."""
    if not callable(a) and not callable(b):
        return a * b
    return lambda log_snr: value(a, log_snr) * value(b, log_snr)


def plus(a: Weight, b: Weight) -> Weight:
    """The sum of two weights."""
    if not callable(a) and not callable(b):
        return a + b
    return lambda log_snr: value(a, log_snr) + value(b, log_snr)


def reciprocal(a: Weight) -> Weight:
    """1 over a weight, which must not be 0."""
    if not callable(a):
        return 1 / a
    return lambda log_snr: 1 / value(a, log_snr)
