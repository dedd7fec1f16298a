"""Masks: 1 where an image is to be made anew, 0 where it is known."""

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from scorefield.images import Images, as_images


def read_mask(mask: Images, size: int) -> Float[Tensor, "b 1 h w"]:
    """A mask in any of the forms of an image, or of truth values; colours count by their brightest.

    size: side of the square that files give.

    Raises:
        ValueError: one that cannot be read.
    """
    if isinstance(mask, Tensor | np.ndarray):
        mask = torch.as_tensor(mask)
        mask = mask.float() if mask.dtype == torch.bool else mask
        if mask.ndim == 4 and mask.shape[1] == 1 and mask.is_floating_point():
            return mask
    return as_images(mask, size).amax(dim=1, keepdim=True)


def check_mask(mask: Tensor, images: Tensor) -> None:
    """Refuse a mask that does not fit the images.

    Raises:
        ValueError: another size or number than the images, values outside [0, 1], or a mask of an
            image that leaves nothing to make.
    """
    batch, _, height, width = images.shape
    accepted = [(n, 1, height, width) for n in dict.fromkeys((1, batch))]
    if tuple(mask.shape) not in accepted:
        shapes = " or ".join(map(str, accepted))
        raise ValueError(
            f"the mask must have shape {shapes}, as the images; got {tuple(mask.shape)}"
        )
    # Written so that it also refuses NaN.
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise ValueError(
            "mask values must lie in [0, 1], 1 where the image is made anew; "
            f"got {float(mask.min()):.4g} to {float(mask.max()):.4g}"
        )
    if not bool((mask > 0).flatten(1).any(dim=1).all()):
        raise ValueError("the mask is zero everywhere; set it to 1 where the image is made anew")


def mask_cells(mask: Float[Tensor, "b 1 h w"], factor: int) -> Float[Tensor, "b 1 lh lw"]:
    """The latent cells of factor x factor pixels that hold any pixel to be made anew: 0 or 1.

    A cell is known only if all its pixels are.
    """
    return functional.max_pool2d((mask > 0).to(mask.dtype), factor)


def composite(
    images: Float[Tensor, "b 3 h w"],
    made: Float[Tensor, "b 3 h w"],
    mask: Float[Tensor, "m 1 h w"],
) -> Float[Tensor, "b 3 h w"]:
    """``mask made + (1 - mask) images``: at mask 0 the images' own pixels, bit for bit."""
    return torch.lerp(images, made, mask.to(images))
