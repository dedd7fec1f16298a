"""Pixel art from an image: a grid whose squares show a few shared colours."""

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from torch import Tensor

from scorefield.sds.tracing.palette import label_pixels
from scorefield.sds.vector import Document, Rect, Shape, ViewBox

__all__ = ["pixel_document"]

_WHITE = 0.9  # the darkest channel of a ground that is not drawn


def pixel_document(image: Float[Tensor, "3 h w"], grid: int, colours: int) -> Document:
    """The image on a grid of squares, each of the palette's colour that most of it shows.

    Neighbours of one colour are joined to rectangles. A white ground, what of it touches the
    border, is left out.

    image: square, in [0, 1].
    grid: squares along each side; the view box has one unit for each.
    colours: of the palette, at most.
    """
    labelled = label_pixels(image, colours)
    cells = _commonest(labelled.labels, grid, len(labelled.colours))
    drawn = np.ones_like(cells, dtype=bool)
    ground = labelled.ground
    if ground is not None and labelled.colours[ground].min() >= _WHITE:
        parts, _ = ndimage.label(cells == ground)
        border = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
        drawn = ~np.isin(parts, np.unique(border[border > 0]))
    inks = [torch.tensor([*colour, 1.0], dtype=torch.float32) for colour in labelled.colours]
    shapes = [
        Shape(
            Rect(torch.tensor([float(x), float(y)]), torch.tensor([float(width), float(height)])),
            fill=inks[cells[y, x]],
        )
        for x, y, width, height in _rectangles(cells, drawn)
    ]
    return Document(list(shapes), ViewBox(0, 0, grid, grid))


def _commonest(
    labels: Int[np.ndarray, "h w"], grid: int, count: int
) -> Int[np.ndarray, "grid grid"]:
    """The label that most pixels of each cell have."""
    height, width = labels.shape
    rows, columns = np.arange(height) * grid // height, np.arange(width) * grid // width
    votes = np.zeros((grid, grid, count), dtype=int)
    np.add.at(votes, (rows[:, None], columns[None], labels), 1)
    return votes.argmax(axis=-1)


def _rectangles(
    cells: Int[np.ndarray, "grid grid"], drawn: Bool[np.ndarray, "grid grid"]
) -> list[tuple[int, int, int, int]]:
    """Column, row, width and height of rectangles of one label that cover what is drawn.

    Each begins at the first cell that is left, and is as wide as it can be, then as high.
    """
    left, found = drawn.copy(), []
    while left.any():
        y, x = np.argwhere(left)[0]
        same = left & (cells == cells[y, x])
        width = int(np.argmin(np.append(same[y, x:], False)))
        full = same[y:, x : x + width].all(axis=1)
        height = int(np.argmin(np.append(full, False)))
        left[y : y + height, x : x + width] = False
        found.append((int(x), int(y), width, height))
    return found
