"""Matched points of two images, and what can be said of them together."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Size = tuple[int, int]
"""Height and width of an image."""


@dataclass(frozen=True)
class Matches:
    """Points of one image and the points of another that resemble them most.

    similarity: cosine at the target, -1 to 1.
    cycle_error: from a source point to the best match of its match, pixels: 0 where both agree.
    ratio: of the distance to the target over that to the most similar cell elsewhere, at least an
        eighth of the target's longer side away: towards 0 the match is distinct, from 1 on another
        place is as similar. (Lowe 2004, section 7.1; elsewhere as by Mishkin et al. 2015.)
    """

    source: Float[Tensor, "points 2"]
    target: Float[Tensor, "points 2"]
    similarity: Float[Tensor, " points"]
    cycle_error: Float[Tensor, " points"]
    ratio: Float[Tensor, " points"]

    def __len__(self) -> int:
        """The number of points."""
        return len(self.source)

    def select(self, keep: Bool[Tensor, " points"] | Int[Tensor, " chosen"]) -> "Matches":
        """Those where `keep` is true, or those of its indices."""
        return Matches(
            self.source[keep],
            self.target[keep],
            self.similarity[keep],
            self.cycle_error[keep],
            self.ratio[keep],
        )

    def spread(
        self,
        source_size: Size,
        target_size: Size,
        *,
        squares: int = 16,
        margin: float | int = 0.125,
        most: int | None = None,
    ) -> "Matches":
        """The most distinct match of each square of the source, the most distinct first.

        The most similar matches of two photographs crowd at their borders, where the network sees
        its own padding; these are spread over the image.

        source_size, target_size: height and width of the images.
        squares: along the longer side of the source.
        margin: share of both sides of either image, from each border, that is left out: what a
            cell of the deepest layer covers.
        most: how many at most.
        """
        inside = torch.ones(len(self), dtype=torch.bool, device=self.source.device)
        for points, size in ((self.source, source_size), (self.target, target_size)):
            extent = points.new_tensor([size[1], size[0]])
            inside &= ((points >= margin * extent) & (points <= (1 - margin) * extent)).all(1)
        left = inside.nonzero()[:, 0]
        left = left[self.ratio[left].argsort(stable=True)]
        side = max(source_size) / squares
        seen, keep = set[tuple[int, ...]](), []
        for index, place in zip(
            left.tolist(), (self.source[left] / side).long().tolist(), strict=True
        ):
            if tuple(place) not in seen:
                seen.add(tuple(place))
                keep.append(index)
        return self.select(torch.tensor(keep[:most], dtype=torch.long, device=self.source.device))

    def homography(
        self, threshold: float | int = 3.0, seed: int = 0
    ) -> tuple[Float[Tensor, "3 3"], Bool[Tensor, " points"]]:
        """The homography from source to target that most matches agree with, and which they are.

        RANSAC by kornia, then refitted to the inliers.

        threshold: how far, in pixels of the target, an inlier's target may be.

        Raises:
            ValueError: fewer than 4 matches, or no homography agrees with 4.
        """
        if len(self) < 4:
            raise ValueError(f"a homography needs at least 4 matches; got {len(self)}")
        from kornia.geometry import RANSAC

        ransac = RANSAC("homography", inl_th=float(threshold), seed=seed)
        matrix, inliers = ransac(self.source.float(), self.target.float())
        if int(inliers.sum()) < 4:
            raise ValueError(
                f"no homography agrees with 4 of {len(self)} matches within {threshold} pixels; "
                "raise the threshold, or match other points"
            )
        return matrix, inliers.bool().reshape(-1)
