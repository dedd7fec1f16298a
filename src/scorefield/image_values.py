"""Numbers as images: which shapes, types and ranges of an array or a tensor are one."""

import torch
from torch import Tensor

_COUNTS = (
    "turn numbers from 0 to 255 into uint8, and divide others by what white is (65535 of 16 bits)"
)


def rgb_of(values: Tensor) -> Tensor:
    """A tensor with channels first or last, of one image or several, checked and brought to RGB.

    Raises:
        ValueError: another shape or type, or values outside [0, 1].
    """
    shape = tuple(values.shape)
    if values.ndim == 2:
        values = values[None]
    if values.ndim == 3:
        values = values[None]
    last = values.ndim == 4 and values.shape[1] not in (1, 3) and values.shape[3] in (1, 3, 4)
    if last:
        values = values.permute(0, 3, 1, 2)
    # Four channels that come first are latents rather than an image.
    if values.ndim != 4 or values.shape[1] not in ((1, 3, 4) if last else (1, 3)) or 0 in shape:
        raise ValueError(
            f"an image is (3, H, W) or (H, W, 3), a batch has one axis more; got shape {shape}"
        )
    if values.dtype == torch.uint8:
        values = values.float() / 255
    elif not values.is_floating_point():
        remedy = "turn masks into floats" if values.dtype == torch.bool else _COUNTS
        raise ValueError(
            f"images are uint8 (0 to 255) or floats (0 to 1); got {values.dtype}: {remedy}"
        )
    values = values.float()
    low, high = values.detach().aminmax()
    if low.isnan():  # of one NaN both are
        raise ValueError("images of floats lie in [0, 1]; got NaN: find out where it is from")
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"images of floats lie in [0, 1]; got values from {low.item():g} to {high.item():g}; "
            "divide by 255, rescale from [-1, 1], or clamp"
        )
    if values.shape[1] == 4:
        values = values[:, :3] * values[:, 3:] + (1 - values[:, 3:])
    # Another order in memory would round otherwise in the network.
    return values.expand(-1, 3, -1, -1).contiguous()
