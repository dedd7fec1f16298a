"""Images of any size as a prior sees them."""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from scorefield.priors.frozen_prior import FrozenPrior


def resize_to_prior(
    images: Float[Tensor, "b 3 h w"], prior: FrozenPrior, size: int | None = None
) -> Float[Tensor, "b 3 side side"]:
    """Images brought to the prior's device and to a square, its own (None) or of `size` pixels.

    The whole image is kept, and so stretched if it is no square.
    """
    side = prior.image_size if size is None else size
    images = images.to(prior.device, torch.float32)
    if images.shape[2:] == (side, side):
        return images
    resized = functional.interpolate(images, (side, side), mode="bicubic", antialias=True)
    return resized.clamp(0, 1)
