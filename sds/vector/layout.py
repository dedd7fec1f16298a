"""Cells of layers in one flat buffer: one layer after the other, each as large as its box."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from scorefield.sds.vector.flatten import starts

__all__ = ["BEFORE", "SPARE", "Layout", "Upright", "by_layer"]

# An edge is smeared over up to one pixel and touches three cells; so a row has two cells to spare
# before and three behind.
BEFORE, SPARE = 2, 5


class Layout(NamedTuple):
    """Where the cells of each layer lie in the one flat buffer, row by row."""

    low: Tensor  # (P, 2) first column, first row
    size: Tensor  # (P, 2) columns, rows
    stride: Tensor  # (P,) cells per row
    start: Tensor  # (P,) first cell
    cells: int
    lines: int  # per pixel
    layer: Tensor  # (rows,) of each row of all layers
    row: Tensor  # (rows,) within the layer
    begin: Tensor  # (rows,) first cell

    @staticmethod
    def of(boxes: Tensor, lines: int) -> "Layout":
        """The one of boxes (P, 4): first column, first row, and one past the last."""
        low, size = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
        rows = size[:, 1]
        stride = size[:, 0] + SPARE
        cells = stride * rows
        start = starts(cells)
        layer = torch.arange(len(boxes), device=boxes.device).repeat_interleave(rows)
        row = torch.arange(len(layer), device=boxes.device) - starts(rows).index_select(0, layer)
        begin = start.index_select(0, layer) + row * stride.index_select(0, layer)
        return Layout(low, size, stride, start, int(cells.sum()), lines, layer, row, begin)


class Upright:
    """The cells, in rows, of crossings with columns."""

    def __init__(self, rows: Layout, turned: Layout, column: Tensor) -> None:
        start = rows.start.index_select(0, turned.layer) + turned.row + BEFORE
        self._start = start.index_select(0, column)
        layer = turned.layer.index_select(0, column)
        self._stride = rows.stride.index_select(0, layer)
        self._rows = rows.size[:, 1].index_select(0, layer)

    def cells(self, cell: Tensor) -> tuple[Tensor, Tensor]:
        """The cells, and whether they lie in the box at all."""
        row = cell - BEFORE
        return self._start + row * self._stride, (row >= 0) & (row < self._rows)


def by_layer(flat: Tensor, sizes: Sequence[Sequence[int]]) -> list[Tensor]:
    """The pixels of each layer, (columns, rows), in one buffer of all."""
    parts = flat.split([rows * (columns + SPARE) for columns, rows in sizes])
    return [
        part.view(rows, columns + SPARE)[:, BEFORE : BEFORE + columns]
        for part, (columns, rows) in zip(parts, sizes, strict=True)
    ]
