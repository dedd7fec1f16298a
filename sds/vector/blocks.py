"""Some of the layers of an image at a time.

What is worked out along an outline is many times as large as the outline. On a CPU layers are
taken in blocks for which it stays in the cache: the scan lines then take two thirds of the time.
"""

from collections.abc import Iterator

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from scorefield.sds.vector.coverage import Polygons
from scorefield.sds.vector.gather import places, take

__all__ = ["blocks", "of_layers"]

CROSSINGS = 2**15
"""With the scan lines of one family, of the layers of a block, about."""


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
    key.numpy().sort()
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
