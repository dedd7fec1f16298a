"""A document to an image: the areas of its shapes, laid over each other.

An image whose layers' boxes have more than `CELLS` pixels together is drawn in tiles, and the
tiles are drawn once more for the gradient, so that memory stays bounded.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from scorefield.sds.vector.blocks import SPARE, Polygons, blocks, of_layers
from scorefield.sds.vector.compositing import Box
from scorefield.sds.vector.coverage import LINES, coverage
from scorefield.sds.vector.nodes import FillRule, Group, Shape
from scorefield.sds.vector.scene import Outlines, RenderTree, take_apart
from scorefield.sds.vector.tile import Tile
from scorefield.sds.vector.tree import ShapeTree

__all__ = ["rasterise"]

CELLS = 2**23


def rasterise(document: ShapeTree, height: int, width: int) -> Float[Tensor, "4 height width"]:
    """The image of a document on a clear background, premultiplied RGBA in [0, 1].

    Differentiable in every tensor of the document; the gradient with respect to outlines is that
    of the exact area they cover in each pixel. The same image at every call, and the same
    gradient. On the device and in the dtype of the first shape.
    """
    first = next(document.shapes(), None)
    if first is None:
        return torch.zeros(4, height, width)
    like = first.geometry.points()
    return _drawn(document.children, document.placement(height, width).to(like), height, width)


def _drawn(
    nodes: Sequence[Shape | Group], placement: Tensor, height: int, width: int
) -> Float[Tensor, "4 height width"]:
    """The image of shapes and groups; `placement` maps their units to pixels."""
    scene = take_apart(nodes, placement)
    if not scene.fills and not scene.strokes:
        return placement.new_zeros(4, height, width)
    outlines = Outlines(scene, placement.device)
    image = _Image(scene, outlines, outlines.polygons())
    return image.draw((0, 0, width, height))


class _Image:
    """Areas, and the means to draw any part of the image."""

    def __init__(self, scene: RenderTree, outlines: Outlines, polygons: Polygons) -> None:
        """Find the box of pixels that each area touches, or would if it moved a little."""
        self.scene, self.outlines, self.polygons = scene, outlines, polygons
        areas = len(scene.fills) + len(scene.strokes)
        rules = [scene.shapes[i].rule is FillRule.EVEN_ODD for i in scene.fills]
        rules += [False] * len(scene.strokes)
        self.even_odd = torch.tensor(rules, device=polygons.owner.device)
        radii = outlines.radius.tolist()
        lines = [LINES] * len(scene.fills) + [_lines_across(2 * radii[i]) for i in scene.strokes]
        self.lines = torch.tensor(lines)
        index = polygons.owner[:, None].expand(-1, 2)
        points = polygons.vertices.detach().nan_to_num(0).clamp(-1e8, 1e8)
        low = points.new_full((areas, 2), 1e8).scatter_reduce(0, index, points, "amin")
        high = points.new_full((areas, 2), -1e8).scatter_reduce(0, index, points, "amax")
        self.boxes = torch.cat([low.floor(), high.floor() + 1], dim=1).long().cpu()

    def draw(self, tile: Box, whole: bool = True) -> Tensor:
        """The image of a tile: drawn, or put together from its two halves."""
        x0, y0, x1, y1 = tile
        low = torch.tensor([x0, y0, x0, y0])
        boxes = torch.minimum(torch.maximum(self.boxes, low), torch.tensor([x1, y1, x1, y1]))
        columns, rows = (boxes[:, 2:] - boxes[:, :2]).unbind(1)
        active = (columns > 0) & (rows > 0)
        cells = int(((columns + SPARE) * rows)[active].sum())
        if cells <= CELLS or max(x1 - x0, y1 - y0) <= 16:
            if whole:
                return self._tile(tile, boxes, active)
            return checkpoint(
                self._tile, tile, boxes, active, use_reentrant=False, preserve_rng_state=False
            )
        if x1 - x0 > y1 - y0:
            middle = (x0 + x1) // 2
            halves = ((x0, y0, middle, y1), (middle, y0, x1, y1))
            return torch.cat([self.draw(half, whole=False) for half in halves], dim=2)
        middle = (y0 + y1) // 2
        halves = ((x0, y0, x1, middle), (x0, middle, x1, y1))
        return torch.cat([self.draw(half, whole=False) for half in halves], dim=1)

    def _tile(self, tile: Box, boxes: Tensor, active: Tensor) -> Tensor:
        """One tile at once."""
        x0, y0, x1, y1 = tile
        numbers = active.nonzero().squeeze(1)
        if len(numbers) == 0:
            return self.polygons.vertices.new_zeros(4, y1 - y0, x1 - x0)
        covered: dict[int, Tensor] = {}
        for lines in self.lines[numbers].unique().tolist():
            covered |= self._covered(active & (self.lines == lines), boxes, lines)
        here = [(a - x0, b - y0, c - x0, d - y0) for a, b, c, d in boxes.tolist()]
        drawn = Tile(self.scene, self.outlines, covered, here, (x0, y0), _drawn)
        return drawn.image(self.scene.tree, (0, 0, x1 - x0, y1 - y0))

    def _covered(self, some: Tensor, boxes: Tensor, lines: int) -> dict[int, Tensor]:
        """The coverage of some areas, each of its box, seen by so many lines per pixel."""
        polygons, even_odd = self.polygons, self.even_odd
        numbers = some.nonzero().squeeze(1)
        if len(numbers) < len(some):
            on = some.to(even_odd.device)
            polygons = of_layers(polygons, on)
            even_odd = even_odd[on]
        own = boxes[numbers].to(even_odd.device)
        parts: list[Tensor] = []
        for layers, block in blocks(polygons, own, lines):
            parts += coverage(block, even_odd[layers], own[layers], lines)
        return dict(zip(numbers.tolist(), parts, strict=True))


def _lines_across(width: float) -> int:
    """Lines per pixel for a stroke of a width in pixels: 8 across a thin one, or a few less."""
    return LINES if width >= 1 else 2 * LINES if width >= 0.5 else 4 * LINES
