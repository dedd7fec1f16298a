"""Matches drawn on the two pictures."""

import colorsys

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn import functional

from scorefield.perception.correspondence.matching import Matches

_GAP = 8
_LINES = 60


def draw_matches(
    a: Float[Tensor, "3 h w"],
    b: Float[Tensor, "3 h2 w2"],
    matches: Matches,
    *,
    height: int = 384,
) -> Float[Tensor, "3 height width"]:
    """Both pictures side by side, matched points in one colour, joined by a line.

    Colours follow the place in the first picture. Of more than 60 matches, the 60 most similar are
    drawn.

    height: of the drawing, pixels; both pictures are brought to it.
    """
    keep = matches.similarity.argsort(descending=True)[:_LINES]
    left, right = (_tall(image, height) for image in (a, b))
    sheet = torch.ones(3, height, left.shape[2] + _GAP + right.shape[2])
    sheet[:, :, : left.shape[2]] = left
    sheet[:, :, left.shape[2] + _GAP :] = right
    drawing = Image.fromarray((255 * sheet + 0.5).byte().permute(1, 2, 0).numpy())
    pen = ImageDraw.Draw(drawing)
    scale_a, scale_b = height / a.shape[1], height / b.shape[1]
    for source, target in zip(
        matches.source[keep].tolist(), matches.target[keep].tolist(), strict=True
    ):
        hue = (source[0] / a.shape[2] + 0.37 * source[1] / a.shape[1]) % 1
        color = tuple(int(255 * c) for c in colorsys.hsv_to_rgb(hue, 0.9, 0.95))
        start = (source[0] * scale_a, source[1] * scale_a)
        end = (left.shape[2] + _GAP + target[0] * scale_b, target[1] * scale_b)
        pen.line([start, end], fill=color, width=1)
        for x, y in (start, end):
            pen.ellipse([x - 5, y - 5, x + 5, y + 5], fill=color, outline="black")
    return torch.from_numpy(np.array(drawing)).permute(2, 0, 1).float() / 255


def _tall(image: Tensor, height: int) -> Tensor:
    width = max(1, round(image.shape[2] * height / image.shape[1]))
    image = image.detach().float().cpu()[None]
    small = image.shape[2] < height
    return functional.interpolate(image, size=(height, width), mode="nearest" if small else "area")[
        0
    ].clamp(0, 1)
