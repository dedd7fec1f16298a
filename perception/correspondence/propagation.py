"""Carrying edits and labels over from one image to others by their correspondence."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from scorefield.images import Images, as_image
from scorefield.perception.correspondence.matches import Matches, Size


def propagate_edit(
    edit: Float[Tensor, "4 h w"],
    target: Images,
    matches: Matches,
    *,
    threshold: float | int = 3.0,
    seed: int = 0,
) -> Float[Tensor, "3 h2 w2"]:
    """Lay an edit of one image over another, under the homography of their matches.

    As Tang et al. 2023, section 5.4: an edit drawn on one image lands on the same object in
    another. The matches that count are those of points under the edit.

    edit: colours and opacity in [0, 1] on the source image.
    target: one image, as `scorefield.images.as_images` takes it.
    matches: from the source image to the target.
    threshold: of the homography's inliers, pixels.

    Raises:
        ValueError: the edit is empty, or fewer than 4 matches lie under it or agree.
    """
    from kornia.geometry import warp_perspective

    image = as_image(target).to(edit)
    opaque = edit[3] > 0
    if not bool(opaque.any()):
        raise ValueError("the edit is transparent everywhere; mark what to carry over")
    matrix, _ = matches.select(_under(opaque, matches.source)).homography(threshold, seed)
    # kornia's pixels have their centres at whole numbers
    shift = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    shift[:2, 2] = 0.5
    matrix = torch.linalg.inv(shift) @ matrix @ shift
    # premultiplied, or the colours of transparent pixels would bleed in
    premultiplied = torch.cat([edit[:3] * edit[3:], edit[3:]])[None]
    size = (image.shape[1], image.shape[2])
    warped = warp_perspective(premultiplied, matrix[None].to(edit), size)[0]
    return warped[:3] + (1 - warped[3:]) * image


def _under(mask: Bool[Tensor, "h w"], points: Float[Tensor, "points 2"]) -> Bool[Tensor, " points"]:
    height, width = mask.shape
    x = points[:, 0].long().clamp(0, width - 1)
    y = points[:, 1].long().clamp(0, height - 1)
    return mask.to(points.device)[y, x]


def propagate_labels(
    labels: Float[Tensor, "k h w"],
    features: Float[Tensor, "frames c _h _w"],
    *,
    context: int = 28,
    nearest: int = 15,
    reach: int = 15,
    temperature: float | int = 0.2,
) -> Float[Tensor, "frames k h w"]:
    """The labels of a video's first frame on all frames, by the similarity of their features.

    Each cell takes the mean label of the `nearest` most similar cells of the first frame and the
    last `context` frames, no further than `reach` cells away, weighted by exp(cosine /
    temperature): the rule and the numbers of Tang et al. 2023 for DAVIS (after Jabri et al. 2020).

    labels: shares of k labels in the cells of the first frame, summing to one.
    reach: side of the square of cells that is searched, odd.

    Raises:
        ValueError: labels and features of different grids, or numbers that are too small.
    """
    if labels.shape[1:] != features.shape[2:]:
        raise ValueError(
            f"labels must be on the features' grid of {tuple(features.shape[2:])} cells; "
            f"got {tuple(labels.shape[1:])}"
        )
    if min(context, nearest, reach) < 1 or reach % 2 == 0 or not temperature > 0:
        raise ValueError(
            "context and nearest must be at least 1, reach odd and temperature positive; got "
            f"{context}, {nearest}, {reach} and {temperature}"
        )
    unit = functional.normalize(features, dim=1).flatten(2)
    far = _further(features.shape[2], features.shape[3], reach // 2).to(features.device)
    known = [labels.flatten(1).to(features.device)]
    for t in range(1, len(features)):
        frames = _sources(t, context)
        similarity = torch.cat(
            [(unit[t].T @ unit[s]).masked_fill(far, -torch.inf) for s in frames], dim=1
        )
        best, where = similarity.topk(min(nearest, similarity.shape[1]), dim=1)
        weights = (best / temperature).softmax(1)  # those out of reach weigh nothing
        candidates = torch.cat([known[s] for s in frames], dim=1)
        known.append((candidates[:, where] * weights).sum(-1))
    return torch.stack(known).unflatten(2, labels.shape[1:])


def _sources(t: int, context: int) -> Sequence[int]:
    """The first frame and the last ones before t."""
    return sorted({0, *range(max(0, t - context), t)})


def _further(height: int, width: int, reach: int) -> Bool[Tensor, "cells cells"]:
    rows = torch.arange(height).repeat_interleave(width)
    columns = torch.arange(width).repeat(height)
    apart = (rows[:, None] - rows).abs().maximum((columns[:, None] - columns).abs())
    return apart > reach


def resize_labels(
    labels: Float[Tensor, "frames k h w"], size: Size
) -> Float[Tensor, "frames k height width"]:
    """Shares of labels in pixels, interpolated between cells; their argmax is the label."""
    return functional.interpolate(labels, size=size, mode="bilinear", align_corners=False)
