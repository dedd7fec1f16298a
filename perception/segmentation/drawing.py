"""Images of segmentations: labels in colours, and laid over what they are of."""

import colorsys
import io
import os
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int
from PIL import Image
from torch import Tensor
from torch.nn import functional

from scorefield.files import whole_file

# far apart in hue and lightness, for as many regions as most images have
_FIRST = (
    (0.27, 0.47, 0.67), (0.93, 0.40, 0.47), (0.13, 0.53, 0.20), (0.80, 0.73, 0.27),
    (0.67, 0.20, 0.47), (0.40, 0.80, 0.93), (0.93, 0.53, 0.27), (0.46, 0.36, 0.71),
    (0.45, 0.78, 0.55), (0.55, 0.34, 0.29), (0.95, 0.71, 0.83), (0.73, 0.73, 0.73),
)  # fmt: skip
_GOLDEN = 0.6180339887


def label_colors(k: int) -> Float[Tensor, "k 3"]:
    """Colours of labels 0 ... k - 1, RGB in [0, 1]; always the same ones."""
    more = (
        colorsys.hsv_to_rgb(i * _GOLDEN % 1, 0.45 + 0.45 * (i % 2), 0.95 - 0.15 * (i % 3))
        for i in range(max(0, k - len(_FIRST)))
    )
    return torch.tensor([*_FIRST, *more][:k]).reshape(-1, 3)


def draw_labels(labels: Int[Tensor, "h w"]) -> Float[Tensor, "3 h w"]:
    """Labels in their colours."""
    return label_colors(int(labels.max()) + 1)[labels.cpu()].permute(2, 0, 1)


def draw_overlay(
    image: Float[Tensor, "3 h w"],
    labels: Int[Tensor, "h w"],
    *,
    opacity: float = 0.55,
    side: int = 384,
) -> Float[Tensor, "3 height width"]:
    """An image, grey, under the colours of its regions, which white lines part.

    opacity: of the colours.
    side: pixels of the longer side, to which small images are enlarged by a whole factor.
    """
    factor = max(1, -(-side // max(image.shape[1:])))
    shown = image.detach().float().cpu()
    if factor > 1:
        size = (factor * image.shape[1], factor * image.shape[2])
        shown = functional.interpolate(shown[None], size=size, mode="bicubic")[0].clamp(0, 1)
    large = labels.cpu().repeat_interleave(factor, 0).repeat_interleave(factor, 1)
    grey = shown.mean(0, keepdim=True)  # or its colours would be taken for those of labels
    mixed = (1 - opacity) * grey + opacity * draw_labels(large)
    line = torch.zeros_like(large, dtype=torch.bool)
    line[:, 1:] |= large[:, 1:] != large[:, :-1]
    line[1:] |= large[1:] != large[:-1]
    return torch.where(line, torch.ones_like(mixed), mixed)


def save_labels(path: str | os.PathLike[str], labels: Int[Tensor, "h w"]) -> Path:
    """Write labels as an indexed PNG, see `labels_png`."""
    content = labels_png(labels)
    with whole_file(path) as part:
        part.write_bytes(content)
    return Path(path)


def labels_png(labels: Int[Tensor, "h w"]) -> bytes:
    """Labels as an indexed PNG: a pixel's value is its label, the palette its colour.

    Raises:
        ValueError: more than 256 labels.
    """
    k = int(labels.max()) + 1
    if k > 256:
        raise ValueError(f"an indexed PNG has room for 256 labels; got {k}")
    picture = Image.fromarray(labels.cpu().numpy().astype(np.uint8))
    picture.putpalette((255 * label_colors(k) + 0.5).byte().flatten().tolist())
    content = io.BytesIO()
    picture.save(content, format="PNG")
    return content.getvalue()
