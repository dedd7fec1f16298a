"""Dense SIFT (Lowe 2004), and its fusion with the features of a prior.

They know different things: SIFT where exactly an edge is, the prior which part of an object it is
on, through noise as well.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from scorefield.perception.correspondence.matching import DualSoftmax

BIN_SIZES = (2, 4, 6, 8, 12)
"""Sides of the bins, pixels."""


@dataclass(frozen=True)
class SiftFusion:
    """How a prior's features and dense SIFT are matched together.

    Both are brought to unit length and joined, so that the cosine of the joined vectors is
    ``weight`` times the prior's and ``1 - weight`` times SIFT's; points are then found by
    `DualSoftmax`. What was chosen on which pairs: docs/correspondence.md.

    weight: the prior's share of the cosine, 0 to 1.
    temperature: of `DualSoftmax`, in cosines.

    Raises:
        ValueError: a weight outside [0, 1], or a temperature that is not positive.
    """

    weight: float | int = 0.35
    temperature: float | int = 0.015

    def __post_init__(self) -> None:
        if not 0 <= self.weight <= 1:
            raise ValueError(f"weight must lie in 0 to 1; got {self.weight}")
        DualSoftmax(self.temperature)

    @property
    def locate(self) -> DualSoftmax:
        """How points are found."""
        return DualSoftmax(self.temperature)

    def join(
        self, maps: Float[Tensor, "n c h w"], images: Float[Tensor, "n 3 height width"]
    ) -> Float[Tensor, "n c2 h w"]:
        """The prior's maps joined with SIFT of the images, at the cells of the maps.

        images: of any one size; where there are more pixels than cells, SIFT sees them.
        """
        sift = joined_sift(images)
        if sift.shape[-2:] != maps.shape[-2:]:
            sift = functional.interpolate(sift, maps.shape[-2:], mode="bilinear")
        parts = ((self.weight, maps), (1 - self.weight, sift))
        return torch.cat([share**0.5 * functional.normalize(m, dim=1) for share, m in parts], dim=1)


def dense_sift(images: Float[Tensor, "n 3 h w"], bin_size: int = 4) -> Float[Tensor, "n 128 h w"]:
    """SIFT descriptors around every pixel, by kornia.

    bin_size: side of each of the 4 x 4 bins, pixels, even.

    Raises:
        ValueError: bins of another size.
    """
    from kornia.color import rgb_to_grayscale
    from kornia.feature import DenseSIFTDescriptor

    if bin_size < 2 or bin_size % 2:
        raise ValueError(f"bin_size must be even and positive; got {bin_size}")
    # the sixteen bins are centred between pixels; the mean of four descriptors is on one
    sift = DenseSIFTDescriptor(spatial_bin_size=bin_size, padding=3 * bin_size // 2)
    return functional.avg_pool2d(sift.to(images.device)(rgb_to_grayscale(images)), 2, 1)


def joined_sift(
    images: Float[Tensor, "n 3 h w"], bin_sizes: tuple[int, ...] = BIN_SIZES
) -> Float[Tensor, "n c h w"]:
    """`dense_sift` of several sizes, each of unit length, joined: the cosine is their mean."""
    every = [functional.normalize(dense_sift(images, side), dim=1) for side in bin_sizes]
    return torch.cat(every, dim=1)
