"""Matches drawn on the two images."""

import colorsys

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from scorefield.perception.correspondence.matches import Matches

_GAP = 8
_LINES = 60
_WIDEST = 4  # heights


def draw_matches(
    a: Float[Tensor, "3 h w"],
    b: Float[Tensor, "3 h2 w2"],
    matches: Matches,
    *,
    height: int = 384,
) -> Float[Tensor, "3 height width"]:
    """Both images side by side, matched points in one colour, joined by a line.

    Colours follow the place in the first image. Of more than 60 matches those of `Matches.spread`
    are drawn, 60 at most, the most distinct ones.

    height: of the drawing, pixels; each image is brought to it, or to four times it in width if
        it is longer than that.
    """
    sizes = [(image.shape[1], image.shape[2]) for image in (a, b)]
    if len(matches) > _LINES:
        matches = matches.spread(*sizes, most=_LINES)
    left, right = (_fitted(image, height) for image in (a, b))
    starts = (0, left.shape[2] + _GAP)
    tops = [(height - drawn.shape[1]) // 2 for drawn in (left, right)]
    sheet = torch.ones(3, height, starts[1] + right.shape[2])
    for drawn, x, y in zip((left, right), starts, tops, strict=True):
        sheet[:, y : y + drawn.shape[1], x : x + drawn.shape[2]] = drawn
    drawing = Image.fromarray((255 * sheet + 0.5).byte().permute(1, 2, 0).numpy())
    pen = ImageDraw.Draw(drawing)
    scales = [drawn.shape[2] / size[1] for drawn, size in zip((left, right), sizes, strict=True)]
    for pair in zip(matches.source.tolist(), matches.target.tolist(), strict=True):
        hue = (pair[0][0] / a.shape[2] + 0.37 * pair[0][1] / a.shape[1]) % 1
        color = tuple(int(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.9, 0.95))
        ends = [
            (x + point[0] * scale, y + point[1] * scale)
            for point, x, y, scale in zip(pair, starts, tops, scales, strict=True)
        ]
        pen.line(ends, fill=color, width=1)
        for x, y in ends:
            pen.ellipse([x - 5, y - 5, x + 5, y + 5], fill=color, outline="black")
    return torch.from_numpy(np.array(drawing)).permute(2, 0, 1).float() / 255


def _fitted(image: Tensor, height: int) -> Tensor:
    """An image in a box of that height and four times that width, its shape kept."""
    scale = min(height / image.shape[1], _WIDEST * height / image.shape[2])
    size = [max(1, round(scale * side)) for side in image.shape[1:]]
    image = image.detach().float().cpu()[None]
    resized = functional.interpolate(image, size=size, mode="nearest" if scale > 1 else "area")
    return resized[0].clamp(0, 1)
