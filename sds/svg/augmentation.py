"""Views of a flat picture: random crops in random perspective.

A prior that always saw the picture as it is would find a few numbers that please it and no picture
(Jain et al. 2022, "VectorFusion", section 4.2; Frans et al. 2021, "CLIPDraw").
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from kornia.geometry.linalg import transform_points
from kornia.geometry.transform import get_perspective_transform
from torch import Tensor

_CORNERS = ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))


@dataclass(frozen=True)
class Augmentation:
    """Random perspective, then a random crop; the defaults are VectorFusion's.

    crop: side of the crop, a share of the picture's; 1 crops nothing.
    distortion: how far a corner of the picture moves inwards at most, a share of half its side.
    probability: of a perspective; without it the crop is as the picture is.

    Raises:
        ValueError: a share outside its range.
    """

    crop: float = 512 / 600
    distortion: float = 0.5
    probability: float = 0.7

    def __post_init__(self) -> None:
        if not 0 < self.crop <= 1:
            raise ValueError(f"crop must be in (0, 1]; got {self.crop}")
        for name in ("distortion", "probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in [0, 1]; got {getattr(self, name)}")

    def draw(self, views: int, generator: torch.Generator) -> Float[Tensor, "views 3 3"]:
        """Homographies from a view's unit square to the picture's, (0, 0) the upper left."""
        corners = torch.tensor(_CORNERS).expand(views, 4, 2)
        inwards = torch.rand(views, 4, 2, generator=generator) * self.distortion / 2
        chosen = torch.rand(views, 1, 1, generator=generator) < self.probability
        moved = corners + torch.where(chosen, inwards * (1 - 2 * corners), 0.0)
        warp = get_perspective_transform(moved, corners)
        shift = (1 - self.crop) * torch.rand(views, 2, generator=generator)
        crop = torch.eye(3).repeat(views, 1, 1)
        crop[:, 0, 0] = crop[:, 1, 1] = self.crop
        crop[:, :2, 2] = shift
        return warp @ crop


def warp(
    picture: Float[Tensor, "3 height width"],
    homographies: Float[Tensor, "views 3 3"],
    size: int,
    background: Float[Tensor, "3"],
    *,
    samples: int = 1,
) -> Float[Tensor, "views 3 size size"]:
    """Views of a picture in [0, 1], bilinear; beyond its edges they show the background.

    Differentiable in the picture.

    Args:
        picture: what is seen.
        homographies: as `Augmentation.draw` makes them.
        size: side of the views, pixels.
        background: RGB.
        samples: along each side of a pixel, averaged: more than 1 for a picture with more pixels
            than the views.
    """
    fine = size * samples
    at = (torch.arange(fine, dtype=picture.dtype, device=picture.device) + 0.5) / fine
    grid = torch.stack(torch.meshgrid(at, at, indexing="xy"), dim=-1).view(1, -1, 2)
    places = transform_points(homographies.to(picture), grid.expand(len(homographies), -1, -1))
    places = (2 * places - 1).view(-1, fine, fine, 2)
    ground = background.to(picture)[:, None, None]
    above = (picture - ground).expand(len(homographies), -1, -1, -1)
    seen = F.grid_sample(above, places, align_corners=False, padding_mode="zeros")
    return F.avg_pool2d(seen, samples) + ground
