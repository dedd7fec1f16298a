"""Percentage of correct keypoints, and how far a homography puts the corners."""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.intervals import resampled


def keypoint_accuracy(
    errors: Sequence[Float[Tensor, " _points"]],
    sizes: Sequence[float | int],
    alpha: float | int,
) -> dict[str, float]:
    """PCK@alpha: the share of points that are found within alpha times their object's size.

    Both ways of counting, which differ where images have different numbers of points:
    ``per_point`` is all correct points of all points, ``per_image`` the mean of the images'
    shares.

    errors: of each pair, the distances in pixels between what was found and what is true.
    sizes: of each pair, the longer side of the target's bounding box, pixels.

    Raises:
        ValueError: no pairs, not one size per pair, or a pair without points.
    """
    right = _shares(errors, sizes, alpha)
    return {
        "per_point": float(torch.cat(right).mean()),
        "per_image": float(torch.stack([r.mean() for r in right]).mean()),
    }


def resampled_accuracy(
    errors: Sequence[Float[Tensor, " _points"]],
    sizes: Sequence[float | int],
    alpha: float | int,
    *,
    draws: int = 2000,
    seed: int = 0,
) -> dict[str, Float[np.ndarray, " draws"]]:
    """`keypoint_accuracy` of as many pairs drawn anew from these with replacement (bootstrap).

    Points of one pair are right or wrong together, so what is drawn is pairs. Of methods on the
    same pairs, a draw of one seed has the same pairs: their differences are paired.

    Raises:
        ValueError: as `keypoint_accuracy` does.
    """
    right = _shares(errors, sizes, alpha)
    correct = np.array([float(r.sum()) for r in right])
    counts = np.array([len(r) for r in right])
    rows = resampled(len(right), draws, seed)
    return {
        "per_point": correct[rows].sum(1) / counts[rows].sum(1),
        "per_image": (correct / counts)[rows].mean(1),
    }


def _shares(errors: Sequence[Tensor], sizes: Sequence[float | int], alpha: float) -> list[Tensor]:
    """Of each pair, 1 where a point is right."""
    if not errors or len(errors) != len(sizes) or any(len(e) == 0 for e in errors):
        raise ValueError(
            f"give at least one pair, each with points and a size; got {len(errors)} pairs and "
            f"{len(sizes)} sizes"
        )
    return [(e <= alpha * s).float() for e, s in zip(errors, sizes, strict=True)]


def corner_error(
    found: Float[Tensor, "3 3"], true: Float[Tensor, "3 3"], size: tuple[int, int]
) -> float:
    """Mean distance, in pixels, between where two homographies put an image's corners.

    size: height and width of the image.
    """
    height, width = size
    corners = torch.tensor(
        [[0.0, 0.0, 1.0], [width, 0.0, 1.0], [0.0, height, 1.0], [width, height, 1.0]],
        dtype=true.dtype,
        device=true.device,
    )
    ends = [corners @ matrix.to(true).T for matrix in (found, true)]
    a, b = (e[:, :2] / e[:, 2:] for e in ends)
    return float((a - b).norm(dim=1).mean())
