"""Views of a flat image: random crops in random perspective.

A prior that always saw the image as it is would find a few numbers that please it and no image
(Jain et al. 2022, "VectorFusion", section 4.2; Frans et al. 2021, "CLIPDraw").
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from kornia.geometry.linalg import transform_points
from torch import Tensor

from scorefield.devices import to_device


def warp(
    image: Float[Tensor, "3 height width"],
    homographies: Float[Tensor, "views 3 3"],
    size: int,
    background: Float[Tensor, "3"],
    *,
    samples: int = 1,
) -> Float[Tensor, "views 3 size size"]:
    """Views of an image in [0, 1], bilinear; beyond its edges they show the background.

    Differentiable in the image.

    Args:
        image: what is seen.
        homographies: as `Augmentation.draw` makes them.
        size: side of the views, pixels.
        background: RGB.
        samples: along each side of a pixel, averaged: more than 1 for an image with more pixels
            than the views.
    """
    fine = size * samples
    at = (torch.arange(fine, dtype=image.dtype, device=image.device) + 0.5) / fine
    grid = torch.stack(torch.meshgrid(at, at, indexing="xy"), dim=-1).view(1, -1, 2)
    places = transform_points(
        to_device(homographies.to(image.dtype), image.device),
        grid.expand(len(homographies), -1, -1),
    )
    places = (2 * places - 1).view(-1, fine, fine, 2)
    ground = to_device(background.to(image.dtype), image.device)[:, None, None]
    above = (image - ground).expand(len(homographies), -1, -1, -1)
    seen = F.grid_sample(above, places, align_corners=False, padding_mode="zeros")
    return F.avg_pool2d(seen, samples) + ground
