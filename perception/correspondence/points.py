"""Points as people give them: pixels (x, y) of a picture, for one pair of pictures or several."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

Points = Tensor | np.ndarray | Sequence[Any]
"""What `match` takes: pixels (x, y), those of all pairs or a list of those of each."""


def points_of_each(points: Points | None, pairs: int) -> list[Tensor | None]:
    """The points of each pair of images, from what `match` is given.

    Raises:
        ValueError: they are not (N, 2), or not of as many pairs as there are.
    """
    if points is None:
        return [None] * pairs
    if isinstance(points, Tensor | np.ndarray):
        shared = points.ndim < 3
    else:
        shared = all(_is_pixel(one) for one in points)
    if shared:
        return [_as_points(points)] * pairs
    if len(points) != pairs:
        raise ValueError(f"give points for each of the {pairs} pairs; got {len(points)}")
    return [None if some is None else _as_points(some) for some in points]


def _is_pixel(one: Any) -> bool:
    """Whether it is one pixel, rather than the pixels of a pair."""
    return isinstance(one, Sequence | Tensor | np.ndarray) and all(np.ndim(of) == 0 for of in one)


def _as_points(given: Any) -> Float[Tensor, "points 2"]:
    try:
        found = torch.as_tensor(
            given if isinstance(given, Tensor) else np.asarray(given, dtype=np.float32)
        )
    except (TypeError, ValueError):  # no numbers, or rows of several lengths
        found = torch.empty(0)
    if found.ndim != 2 or found.shape[1] != 2:
        shown = " ".join(repr(given).split())
        raise ValueError(f"points are (N, 2), x and y of each; got {shown:.80}")
    return found if found.is_floating_point() else found.float()
