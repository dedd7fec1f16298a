"""Where descriptors find landmarks, and the shares of them that are right."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from world_pairs import SemanticPair

from scorefield.intervals import percentiles
from scorefield.perception.correspondence.matching import Locate, NearestPixel, vectors_at
from scorefield.perception.correspondence.metrics import keypoint_accuracy, resampled_accuracy
from scorefield.rows import RowStore

Describe = Callable[[Tensor], Tensor]
"""Images (n, 3, h, w) to maps (n, channels, h, w)."""

ALPHAS = (0.1, 0.05)
PAIRS_AT_ONCE = 4
FIGURE = "pck@0.1 per point"
_NEAREST = NearestPixel()


def landmark_errors(
    pairs: Sequence[SemanticPair], describe: Describe, find: Locate = _NEAREST
) -> list[Float[Tensor, " points"]]:
    """The distances, in pixels, between the landmarks and where a descriptor finds them."""
    errors = []
    for first in range(0, len(pairs), PAIRS_AT_ONCE):
        chunk = pairs[first : first + PAIRS_AT_ONCE]
        maps = describe(torch.cat([pair.images for pair in chunk]))
        for pair, source, target in zip(chunk, maps[::2], maps[1::2], strict=True):
            size = (pair.images.shape[2], pair.images.shape[3])
            vectors = vectors_at(source, pair.source.to(source), size)
            found, _ = find(vectors, target, size, source)
            errors.append((found - pair.target.to(found)).norm(dim=1).cpu())
    return errors


def accuracy(pairs: Sequence[SemanticPair], describe: Describe) -> dict[str, float]:
    """PCK at both thresholds, per point and per image, as "pck@0.1 per point" and so on."""
    return accuracy_of(pairs, landmark_errors(pairs, describe))


def accuracy_of(pairs: Sequence[SemanticPair], errors: Sequence[Tensor]) -> dict[str, float]:
    sizes = [pair.size for pair in pairs]
    return {
        _name(alpha, how): value
        for alpha in ALPHAS
        for how, value in keypoint_accuracy(errors, sizes, alpha).items()
    }


def intervals_of(
    pairs: Sequence[SemanticPair], errors: Sequence[Tensor]
) -> dict[str, tuple[float, float]]:
    """95% of what other pairs of the world would have given, by name of the figure."""
    sizes = [pair.size for pair in pairs]
    return {
        _name(alpha, how): _middle(values)
        for alpha in ALPHAS
        for how, values in resampled_accuracy(errors, sizes, alpha).items()
    }


def _name(alpha: float, how: str) -> str:
    return f"pck@{alpha} {how.replace('_', ' ')}"


def _middle(values: np.ndarray) -> tuple[float, float]:
    low, high = percentiles(values)
    return round(low, 4), round(high, 4)


def ratios_of(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float] | None:
    """95% of the ratios over draws in which the baseline finds anything; None if in none."""
    some = theirs > 0
    return _middle(ours[some] / theirs[some]) if some.any() else None


def chunks_of(pairs: Sequence[SemanticPair]) -> list[tuple[int, Sequence[SemanticPair]]]:
    return [(i, pairs[i : i + PAIRS_AT_ONCE]) for i in range(0, len(pairs), PAIRS_AT_ONCE)]


def part_of(parts: RowStore, name: str, compute: Callable[[], Any]) -> Any:
    """The value of a named part, computed and kept if it is not there."""
    return parts.once(lambda: {"value": compute()}, part=name)["value"]


def kept_errors(
    parts: RowStore,
    name: str,
    pairs: Sequence[SemanticPair],
    describe: Describe,
    find: Locate = _NEAREST,
) -> list[Tensor]:
    """`landmark_errors`, some pairs at a time, each kept when it is done."""
    return [
        torch.tensor(errors)
        for first, chunk in chunks_of(pairs)
        for errors in part_of(
            parts,
            f"{name}, from pair {first}",
            lambda chunk=chunk: lists_of(landmark_errors(chunk, describe, find)),  # type: ignore[misc]
        )
    ]


def lists_of(errors: Sequence[Tensor]) -> list[list[float]]:
    return [[round(float(e), 4) for e in one] for one in errors]
