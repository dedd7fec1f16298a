"""Clusters of feature maps, and low-resolution labels as labels of pixels."""

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from scorefield.perception.correspondence.matches import Size
from scorefield.priors.levels import NoiseLevel

Upsample = Callable[[Tensor, Tensor, int], Tensor]
"""From labels (lh, lw), the image (3, h, w) and k to scores (k, h, w)."""


@dataclass(frozen=True)
class KMeansClusters:
    """k-means on the vectors of the cells (scikit-learn; k-means++, Lloyd).

    restarts: the best of so many is kept.
    unit: whether vectors are first brought to unit length.
    """

    restarts: int = 10
    unit: bool = False

    def __call__(
        self, maps: Float[Tensor, "n c h w"], k: int, seed: int = 0
    ) -> Int[Tensor, "n h w"]:
        """Labels of the cells of all maps, clustered together.

        Raises:
            ValueError: fewer cells than clusters, or fewer than one cluster.
        """
        from sklearn.cluster import KMeans
        from sklearn.exceptions import ConvergenceWarning

        vectors = _vectors(maps, k, self.unit)
        with warnings.catch_warnings():
            # cells that are all equal give fewer clusters, which is no mistake
            warnings.simplefilter("ignore", ConvergenceWarning)
            means = KMeans(k, n_init=self.restarts, random_state=seed)
            labels = means.fit_predict(vectors)
        return _labels(labels, maps)


@dataclass(frozen=True)
class NormalisedCut:
    """Normalised cut of the cells of maps, joined by max(cosine, 0) ** sharpness.

    The relaxation by eigenvectors (Shi and Malik 2000) in scikit-learn, rounded by a pivoted QR
    decomposition, which draws nothing. The affinity is that of DiffCut (Couairon et al. 2024),
    whose own cuts are recursive and choose k.

    sharpness: the exponent, 10 in DiffCut.
    centred: whether the mean vector is taken off first.
    """

    sharpness: float | int = 10.0
    centred: bool = True

    def __call__(
        self, maps: Float[Tensor, "n c h w"], k: int, seed: int = 0
    ) -> Int[Tensor, "n h w"]:
        """Labels of the cells of all maps, cut together.

        Raises:
            ValueError: fewer cells than clusters, or fewer than one cluster.
        """
        from sklearn.cluster import SpectralClustering

        if k == 1:
            return torch.zeros(len(maps), *maps.shape[2:], dtype=torch.long)
        if self.centred:
            maps = maps - maps.mean((0, 2, 3), keepdim=True)
        vectors = _vectors(maps, k, unit=True)
        affinity = np.clip(vectors @ vectors.T, 0, 1) ** float(self.sharpness)
        # the graph is connected, or there would be no smallest cut
        affinity = np.maximum(affinity, 1e-6)
        cut = SpectralClustering(
            k, affinity="precomputed", assign_labels="cluster_qr", random_state=seed
        )
        return _labels(cut.fit_predict(affinity), maps)


def _vectors(maps: Tensor, k: int, unit: bool) -> np.ndarray:
    vectors = maps.detach().float().permute(0, 2, 3, 1).flatten(0, 2).cpu().double()
    if not 1 <= k <= len(vectors):
        raise ValueError(
            f"k must lie in 1 ... {len(vectors)}, the cells of {len(maps)} maps of "
            f"{maps.shape[2]}x{maps.shape[3]}; got {k}"
        )
    if not bool(vectors.isfinite().all()):
        raise ValueError("the features are not finite; use a higher precision")
    found: np.ndarray = (functional.normalize(vectors, dim=1) if unit else vectors).numpy()
    return found


def _labels(labels: np.ndarray, maps: Tensor) -> Tensor:
    grid = (len(maps), *maps.shape[2:])
    return torch.from_numpy(labels.astype(np.int64)).reshape(grid)


def largest_first(labels: Int[Tensor, "h w"]) -> Int[Tensor, "h w"]:
    """The same regions, numbered by their cells: 0 is the largest."""
    names, places, counts = labels.unique(return_inverse=True, return_counts=True)
    order = counts.argsort(descending=True, stable=True)
    rank = torch.empty_like(names)
    rank[order] = torch.arange(len(names))
    return rank[places]


def one_hot(labels: Int[Tensor, "h w"], k: int) -> Float[Tensor, "k h w"]:
    """Labels as k masks of zeros and ones."""
    return functional.one_hot(labels, k).permute(2, 0, 1).float()


def resized_argmax(scores: Float[Tensor, "k h w"], size: Size) -> Int[Tensor, "height width"]:
    """The best label of every pixel, scores interpolated bilinearly between the places they have.

    One mask is enlarged at a time: large images with many masks need the memory of two.
    """
    best: Tensor | None = None
    labels = torch.zeros(size, dtype=torch.long)
    for i, score in enumerate(scores.detach().float().cpu()):
        if score.shape != size:
            score = functional.interpolate(
                score[None, None], size=size, mode="bilinear", align_corners=False
            )[0, 0]
        if best is None:
            best = score
        else:
            labels[score > best] = i
            best = torch.maximum(best, score)
    return labels


def nearest_masks(
    labels: Int[Tensor, "h w"], image: Float[Tensor, "3 height width"], k: int
) -> Float[Tensor, "k height width"]:
    """Masks whose cells are squares of the image's pixels."""
    size = (image.shape[1], image.shape[2])
    return functional.interpolate(one_hot(labels, k)[None], size=size, mode="nearest-exact")[0]


def bilinear_masks(
    labels: Int[Tensor, "h w"], image: Float[Tensor, "3 height width"], k: int
) -> Float[Tensor, "k height width"]:
    """Masks interpolated between the centres of the cells, the baseline of EmerDiff's authors."""
    size = (image.shape[1], image.shape[2])
    return functional.interpolate(one_hot(labels, k)[None], size=size, mode="bilinear")[0]


def guided_masks(
    labels: Int[Tensor, "h w"],
    image: Float[Tensor, "3 height width"],
    k: int,
    radius: int = 8,
    eps: float = 1e-3,
) -> Float[Tensor, "k height width"]:
    """Masks enlarged to an image by a guided filter (He et al. 2010): their edges follow its own.

    radius: of the windows, pixels.
    eps: squared contrast, of colours in [0, 1], below which an edge of the image is none.
    """
    from kornia.filters import guided_blur

    masks = bilinear_masks(labels, image, k)[None]
    guide = image.detach().float().cpu()[None]
    return guided_blur(guide, masks, 2 * radius + 1, eps)[0]


@dataclass(frozen=True, eq=False)
class FeatureClusters:
    """Segmentation by the clusters of a layer's features alone, for any prior of images.

    queries: the layer whose features are clustered.
    query_level: of noise at which it is tapped.
    clusters: how.
    upsample: how the labels of the cells become those of pixels.
    ensemble: draws of noise over which the features are averaged.
    size: side of the square that the prior sees; None is the prior's own.
    source: where the numbers come from.
    """

    queries: str
    query_level: NoiseLevel
    clusters: KMeansClusters | NormalisedCut
    upsample: Upsample = bilinear_masks
    ensemble: int = 8
    size: int | None = None
    source: str = ""
