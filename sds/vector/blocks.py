"""Some of the layers of an image at a time, and where their cells lie.

What is worked out along an outline is many times as large as the outline. On a CPU layers are
taken in blocks for which it stays in the cache: the scan lines then take two thirds of the time.
The cells of a block are in one flat buffer: one layer after the other, each as large as its box.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scorefield.sds.vector.flatten import starts
from scorefield.sds.vector.gather import places, take

__all__ = ["BEFORE", "SPARE", "Layout", "Polygons", "Upright", "blocks", "by_layer", "of_layers"]

CROSSINGS = 2**16
"""With the scan lines of one family, of the layers of a block, about."""

# An edge is smeared over up to one pixel and touches three cells; so a row has two cells to spare
# before and three behind.
BEFORE, SPARE = 2, 5


class Polygons(NamedTuple):
    """Closed polygons in pixels: the edges go from vertex i to vertex `follows[i]`.

    `owner` (V,) is the layer an edge belongs to. `follows` is a permutation of the vertices.
    """

    vertices: Float[Tensor, "vertices 2"]
    follows: Int[Tensor, " vertices"]
    owner: Int[Tensor, " vertices"]


def of_layers(polygons: Polygons, on: Bool[Tensor, " layers"]) -> Polygons:
    """Only the polygons of some layers, which are numbered anew."""
    kept = places(on.index_select(0, polygons.owner))
    number = torch.zeros_like(polygons.follows)
    number[kept] = torch.arange(len(kept), device=kept.device)
    return Polygons(
        take(polygons.vertices, kept),
        number.index_select(0, polygons.follows.index_select(0, kept)),
        (on.cumsum(0) - 1).index_select(0, polygons.owner.index_select(0, kept)),
    )


def blocks(
    polygons: Polygons, boxes: Int[Tensor, "layers 4"], lines: int
) -> Iterator[tuple[slice, Polygons]]:
    """Which layers a block holds, and their polygons, whose layers are numbered anew.

    Args:
        polygons: of all layers.
        boxes: for each layer the pixels asked for.
        lines: of each family per pixel.
    """
    sizes = [len(boxes)] if boxes.is_cuda else _sizes(polygons, boxes, lines)
    if len(sizes) == 1:
        yield slice(0, len(boxes)), polygons
        return
    vertices, follows, owner = polygons
    if bool((owner[1:] < owner[:-1]).any()):
        order = _order(owner)
        number = torch.empty_like(order)
        number[order] = torch.arange(len(order))
        follows = number.index_select(0, follows.index_select(0, order))
        vertices, owner = take(vertices, order), owner.index_select(0, order)
    per_layer = torch.bincount(owner, minlength=len(boxes)).split(sizes)
    counts = [int(some.sum()) for some in per_layer]
    layer = place = 0
    for size, count, part in zip(sizes, counts, vertices.split(counts), strict=True):
        some = slice(place, place + count)
        yield slice(layer, layer + size), Polygons(part, follows[some] - place, owner[some] - layer)
        layer, place = layer + size, place + count


def _order(owner: Tensor) -> Tensor:
    """The stable order of the owners: sorting integers that hold the place is faster."""
    bits = len(owner).bit_length()
    key = (owner << bits) + torch.arange(len(owner))
    key.numpy().sort(kind="stable")  # merges runs: the layers of one kind lie in order
    return key & ((1 << bits) - 1)


@torch.no_grad()
def _sizes(polygons: Polygons, boxes: Tensor, lines: int) -> list[int]:
    """How many layers each block holds."""
    low, high = boxes.to(polygons.vertices).index_select(0, polygons.owner).split(2, dim=1)
    inside = polygons.vertices.nan_to_num(0).clamp(low, high)
    crossings = (inside.index_select(0, polygons.follows) - inside).abs_().sum(dim=1) * (lines / 2)
    total = crossings.new_zeros(len(boxes)).index_add_(0, polygons.owner, crossings)
    block = (total.double().cumsum(0) / CROSSINGS).long()
    sizes: list[int] = block.unique_consecutive(return_counts=True)[1].tolist()
    return sizes


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
