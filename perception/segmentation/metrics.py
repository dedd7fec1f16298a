"""How well clusters without names agree with regions that are known.

Clusters have to be matched to regions before an overlap can be measured, and the literature does so
in several ways whose figures cannot be compared. Every function here says which is meant.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

IGNORED = -1
"""In the truth: pixels that count nowhere."""


def overlaps(found: Int[Tensor, "h w"], truth: Int[Tensor, "_h _w"]) -> np.ndarray:
    """Pixels by (cluster, region); both numbered from 0, ignored pixels left out.

    Raises:
        ValueError: label maps of different sizes.
    """
    from sklearn.metrics import confusion_matrix

    if found.shape != truth.shape:
        raise ValueError(
            f"labels of {tuple(found.shape)} pixels cannot be compared with {tuple(truth.shape)}"
        )
    counted = truth != IGNORED
    a, b = found[counted].cpu().numpy(), truth[counted].cpu().numpy()
    k, n = int(found.max()) + 1, int(truth.max()) + 1
    square: np.ndarray = confusion_matrix(a, b, labels=np.arange(max(k, n)))
    return square[:k, :n]


def _ious(table: np.ndarray) -> np.ndarray:
    union = table.sum(1, keepdims=True) + table.sum(0, keepdims=True) - table
    return table / np.maximum(union, 1)


def _hungarian(table: np.ndarray) -> np.ndarray:
    """By cluster, the region it is matched to, or -1: one to one, the largest sum of IoUs.

    A cluster that only regions without a common pixel are left for is matched to none.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(_ious(table), maximize=True)
    matched = np.full(len(table), -1)
    matched[rows] = np.where(table[rows, columns] > 0, columns, -1)
    return matched


def _majority(table: np.ndarray) -> np.ndarray:
    """By cluster, the region that most of its pixels are in."""
    best = table.argmax(1)
    best[table.sum(1) == 0] = -1
    return best


def _counts(table: np.ndarray, matched: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Intersection and union of every region with the clusters matched to it."""
    inside = np.zeros(table.shape[1])
    given = np.zeros(table.shape[1])
    for cluster, region in enumerate(matched):
        if region >= 0:
            inside[region] += table[cluster, region]
            given[region] += table[cluster].sum()
    return inside, given + table.sum(0) - inside


def image_miou(
    found: Int[Tensor, "h w"], truth: Int[Tensor, "_h _w"], *, many_to_one: bool = False
) -> float:
    """Mean IoU of the regions that an image has, clusters matched within this image.

    One to one by the Hungarian method, so that a region without a cluster has IoU 0 and clusters
    left over help nobody.

    many_to_one: each cluster goes to the region that most of its pixels are in, and a region's mask
        is all of its clusters. This does not punish a region in pieces, grows with the number of
        clusters, and only compares methods of equally many. (The protocol of EmerDiff's authors is
        of this kind, but matches by the similarity of features to the mean of a true class.)
    """
    table = overlaps(found, truth)
    return mean_iou(np.stack(_counts(table, (_majority if many_to_one else _hungarian)(table))))


def class_counts(
    found: Int[Tensor, "h w"], truth: Int[Tensor, "_h _w"], classes: int
) -> Float[np.ndarray, "2 classes"]:
    """Intersections and unions of classes with clusters matched one to one within an image.

    Summed over images, their ratios are IoUs over a set. A cluster that is matched to nothing
    takes its pixels from the classes they are of, and gives them to none.
    """
    table = overlaps(found, truth)
    inside, union = _counts(table, _hungarian(table))
    missing = classes - table.shape[1]
    return np.pad(np.stack([inside, union]), ((0, 0), (0, missing)))


def mean_iou(counts: Float[np.ndarray, "2 classes"]) -> float:
    """The mean of intersection over union, of the classes that have a union."""
    inside, union = counts
    there = union > 0
    return float((inside[there] / union[there]).mean()) if there.any() else float("nan")


def set_miou(
    found: Sequence[Int[Tensor, "h w"]], truth: Sequence[Int[Tensor, "h w"]], *, shared: bool
) -> float:
    """Mean IoU of the classes of a set, intersections and unions summed over all images.

    The regions are classes: number c means the same in all images.

    shared: clusters mean the same in all images, too, and are matched once for the whole set, one
        to one (as PiCIE and STEGO do). Otherwise they are matched within each image (as DiffSeg
        and DiffCut do).
    """
    classes = max(int(labels.max()) for labels in truth) + 1
    if not shared:
        counts = [class_counts(a, b, classes) for a, b in zip(found, truth, strict=True)]
        return mean_iou(np.sum(counts, axis=0))
    tables = [overlaps(a, b) for a, b in zip(found, truth, strict=True)]
    k = max(map(len, tables))
    padded = [np.pad(t, ((0, k - len(t)), (0, classes - t.shape[1]))) for t in tables]
    total = np.sum(padded, axis=0)
    return mean_iou(np.stack(_counts(total, _hungarian(total))))


def same_names(found: Int[Tensor, "h w"], truth: Int[Tensor, "_h _w"]) -> Int[Tensor, "h w"]:
    """Clusters renamed to the regions they are matched to, one to one; others come after."""
    table = overlaps(found, truth)
    names = _hungarian(table)
    alone = names < 0
    names[alone] = table.shape[1] + np.arange(alone.sum())
    return torch.from_numpy(names)[found.cpu()]


def boundary_f(
    found: Int[Tensor, "h w"], truth: Int[Tensor, "_h _w"], tolerance: float | int = 1.0
) -> float:
    """The F-score of boundaries: of precision and recall of boundary pixels.

    A boundary pixel's right or lower neighbour has another label. It is right if one of the other
    map's is within the tolerance; which labels they part does not matter. Without boundaries in
    either map the score is 1, without in one of them 0.

    tolerance: pixels.
    """
    from scipy.ndimage import distance_transform_edt

    a, b = (_boundary(labels) for labels in (found, truth))
    if not a.any() or not b.any():
        return float(a.any() == b.any())
    precision = float((distance_transform_edt(~b)[a] <= tolerance).mean())
    recall = float((distance_transform_edt(~a)[b] <= tolerance).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _boundary(labels: Tensor) -> np.ndarray:
    values = labels.cpu()
    edge = torch.zeros_like(values, dtype=torch.bool)
    edge[:, :-1] |= values[:, :-1] != values[:, 1:]
    edge[:-1] |= values[:-1] != values[1:]
    return edge.numpy()
