"""Adam for the parameters of a field, its rate falling over the run."""

import math
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["descend", "falling_rate", "field_optimizer"]


def field_optimizer(groups: list[dict[str, Any]], learning_rate: float) -> torch.optim.Adam:
    """Adam of Instant-NGP's epsilon: the gradient of a cell that is rarely seen counts in full.

    Args:
        groups: of parameters; "share" of a group is a factor of its rate, 1 if it has none.
        learning_rate: at the start.
    """
    return torch.optim.Adam(groups, lr=learning_rate, betas=(0.9, 0.99), eps=1e-15, fused=True)


def falling_rate(learning_rate: float, progress: float) -> float:
    """The rate when `progress` in [0, 1] of a run is done: it falls to a tenth along a cosine."""
    return learning_rate * (0.55 + 0.45 * math.cos(math.pi * progress))


def descend(
    optimizer: torch.optim.Adam, loss: Float[Tensor, ""], learning_rate: float, progress: float
) -> None:
    """One update down a loss, at the `falling_rate`.

    Args:
        optimizer: of `field_optimizer`.
        loss: with a graph to the parameters.
        learning_rate: at the start.
        progress: share of the run that is done, in [0, 1].
    """
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    falling = falling_rate(learning_rate, progress)
    for group in optimizer.param_groups:
        group["lr"] = falling * group.get("share", 1.0)
    optimizer.step()
