"""What happens to images before they are matched."""

import io
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor

Damage = Callable[[Tensor, int], Tensor]
"""From the two images of a pair and a seed to what is left of them."""


def noisy(images: Float[Tensor, "2 3 h w"], seed: int) -> Float[Tensor, "2 3 h w"]:
    """Gaussian noise of 0.1 on both."""
    noise = np.random.default_rng([seed, 1]).standard_normal(images.shape)
    return (images + 0.1 * torch.from_numpy(noise).float()).clamp(0, 1)


def blurred(
    images: Float[Tensor, "2 3 h w"], _: int = 0, sigma: float = 1.5
) -> Float[Tensor, "2 3 h w"]:
    """A Gaussian blur of both, by 1.5 pixels unless told."""
    from kornia.filters import gaussian_blur2d

    side = 2 * int(3 * sigma + 0.5) + 1
    return gaussian_blur2d(images, (side, side), (sigma, sigma), border_type="replicate")


def compressed(images: Float[Tensor, "2 3 h w"], _: int = 0) -> Float[Tensor, "2 3 h w"]:
    """JPEG of quality 10 of both."""
    found = []
    for image in (255 * images + 0.5).byte().permute(0, 2, 3, 1).numpy():
        file = io.BytesIO()
        Image.fromarray(image).save(file, "jpeg", quality=10)
        found.append(torch.from_numpy(np.array(Image.open(file))))
    return torch.stack(found).permute(0, 3, 1, 2).float() / 255


def dark(images: Float[Tensor, "2 3 h w"], seed: int) -> Float[Tensor, "2 3 h w"]:
    """A tenth of the light on both, with the sensor's noise of 0.01, in 8 bits."""
    noise = np.random.default_rng([seed, 2]).standard_normal(images.shape)
    return (255 * (0.1 * images + 0.01 * torch.from_numpy(noise).float())).round().clamp(0, 255) / (
        255
    )


def sketched(images: Float[Tensor, "2 3 h w"], _: int = 0) -> Float[Tensor, "2 3 h w"]:
    """The second as a drawing: dark lines on white where colours change."""
    from kornia.filters import spatial_gradient

    slope = spatial_gradient(images[1:]).square().sum((1, 2)).sqrt()
    lines = (1 - 3 * slope).clamp(0, 1).expand(3, -1, -1)
    return torch.stack([images[0], lines])


def unharmed(images: Float[Tensor, "2 3 h w"], _: int = 0) -> Float[Tensor, "2 3 h w"]:
    """Nothing."""
    return images


CONDITIONS: dict[str, Damage] = {
    "clean": unharmed,
    "noise": noisy,
    "blur": blurred,
    "JPEG": compressed,
    "low light": dark,
    "style": unharmed,  # the pairs themselves are drawn so
    "sketch": sketched,
}
"""By name; of "style" the second instance is drawn as a flat icon."""
