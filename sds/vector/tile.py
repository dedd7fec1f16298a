"""A part of an image put together from the areas that its layers cover."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scorefield.sds.vector.compositing import Box, Coat, paint_over
from scorefield.sds.vector.gather import take
from scorefield.sds.vector.nodes import Group, MaskKind, Paint, Pattern, Shape
from scorefield.sds.vector.paint import LinearGradient, RadialGradient, Units, colours_at
from scorefield.sds.vector.scene import Cut, Isolated, Layer, Outlines, RenderTree, composed_affine

__all__ = ["Draw", "Tile"]

_LUMINANCE = (0.2125, 0.7154, 0.0721)
_MOST_CELLS = 2**22
"""Pixels of a pattern's tile; a larger one is drawn more coarsely."""

_FINER = (3, 4, 5)
"""Pixels of a pattern's tile along one of the image, where tiles end between the image's pixels."""

_FINER_UP_TO = 2**18
"""Pixels of the image that a tile drawn more finely may have: on larger ones it is seen less."""

Draw = Callable[[Sequence[Shape | Group], Tensor, int, int], Tensor]
"""From nodes, a map of their units to pixels, a height and a width: an image."""


@dataclass(eq=False)
class Tile:
    """What of a scene falls on a tile.

    scene, outlines: what is drawn.
    covered: of the areas on the tile the coverage of their boxes.
    boxes: of all areas, from the tile's corner.
    corner: first column and row of the tile in the image.
    draw: draws the tile of a pattern.
    """

    scene: RenderTree
    outlines: Outlines
    covered: Mapping[int, Tensor]
    boxes: Sequence[Box]
    corner: tuple[int, int]
    draw: Draw

    def image(self, nodes: Sequence[Layer | Isolated], window: Box) -> Tensor:
        """Layers drawn on a clear canvas, which is a part of the tile; premultiplied RGBA."""
        x, y = window[:2]
        canvas = self.outlines.matrix.new_zeros(4, window[3] - y, window[2] - x)
        coats = self._coats(nodes, window)
        shifted = [
            coat._replace(box=(box[0] - x, box[1] - y, box[2] - x, box[3] - y))
            for coat in coats
            for box in [coat.box]
        ]
        return paint_over(canvas, shifted)

    def _coats(self, nodes: Sequence[Layer | Isolated], window: Box) -> list[Coat]:
        coats: list[Coat] = []
        solid: dict[int, Tensor] = {}  # the colours of coats, which are premultiplied together
        for node in nodes:
            coat: Coat | None
            if isinstance(node, Isolated):
                coat = self._isolated(node, window)
            else:
                box = _meet(self.boxes[node.index], window)
                if node.index not in self.covered or _empty(box):
                    continue
                cover = self._cover(node.index, box)
                if isinstance(node.paint, Tensor):
                    solid[len(coats)] = _colour(node)
                    coat = Coat(cover, box, cover)  # its paint follows
                else:
                    coat = self._painted(node, node.paint, box, cover)
            if coat is not None:
                coats.append(coat)
        if solid:
            rgba = torch.stack(list(solid.values())).to(self.outlines.matrix).clamp(0, 1)
            paint = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], dim=1)
            for number, one in zip(solid, paint.unbind(), strict=True):
                coats[number] = coats[number]._replace(paint=one)
        return coats

    def _cover(self, index: int, box: Box) -> Tensor:
        """The coverage of an area on a part of its box."""
        cover, (x0, y0, x1, y1) = self.covered[index], self.boxes[index]
        if box == (x0, y0, x1, y1):
            return cover
        return cover[box[1] - y0 : box[3] - y0, box[0] - x0 : box[2] - x0]

    def _isolated(self, node: Isolated, window: Box) -> Coat | None:
        box = _meet(self._extent(node), window)
        if _empty(box):
            return None
        cover: Tensor | None = None
        if node.opacity is not None:
            opacity = node.opacity.to(self.outlines.matrix).clamp(0, 1)
            cover = opacity.expand(box[3] - box[1], box[2] - box[0])
        for cut in node.masks:
            mask = self._mask(cut, box)
            cover = mask if cover is None else cover * mask
        return Coat(self.image(node.children, box), box, cover, node.mode)

    def _extent(self, node: Layer | Isolated | Cut) -> Box:
        """The box outside of which nothing of a node is seen."""
        if isinstance(node, Layer):
            return self.boxes[node.index] if node.index in self.covered else (0, 0, 0, 0)
        found = [b for b in map(self._extent, node.children) if not _empty(b)]
        if not found:
            return (0, 0, 0, 0)
        box = (
            min(b[0] for b in found),
            min(b[1] for b in found),
            max(b[2] for b in found),
            max(b[3] for b in found),
        )
        for cut in node.masks:
            box = _meet(box, self._extent(cut))
        return box

    def _mask(self, cut: Cut, box: Box) -> Tensor:
        """How much of each pixel of a box is let through."""
        if cut.kind is MaskKind.CLIP:
            out = self._area(cut.children, box)
        else:
            image = self.image(cut.children, box)
            out = image[3]
            if cut.kind is MaskKind.LUMINANCE:
                out = torch.tensordot(image.new_tensor(_LUMINANCE), image[:3], dims=1)
        for mask in cut.masks:
            out = out * self._mask(mask, box)
        return out

    def _area(self, nodes: Sequence[Layer | Isolated], box: Box) -> Tensor:
        """The share of each pixel that some fill covers."""
        total: Tensor | None = None
        for node in nodes:
            inner = _meet(self._extent(node), box)
            if _empty(inner):
                continue
            if isinstance(node, Isolated):
                part = self._area(node.children, inner)
                for cut in node.masks:
                    part = part * self._mask(cut, inner)
            elif node.index < len(self.scene.fills):
                part = self._cover(node.index, inner)
            else:
                continue
            if inner != box:
                left, top = inner[0] - box[0], inner[1] - box[1]
                part = F.pad(part, (left, box[2] - inner[2], top, box[3] - inner[3]))
            total = part if total is None else total + part - total * part
        if total is None:
            return self.outlines.matrix.new_zeros(box[3] - box[1], box[2] - box[0])
        return total

    def _painted(self, layer: Layer, paint: Paint, box: Box, cover: Tensor) -> Coat | None:
        """A layer of a gradient or a pattern; None where it is not defined."""
        if isinstance(paint, Pattern):
            colours = self._pattern(layer, paint, box)
        else:
            assert isinstance(paint, LinearGradient | RadialGradient)
            colours = self._gradient(layer, paint, box)
        if colours is None:
            return None
        for opacity in (layer.opacity, paint.opacity if isinstance(paint, Pattern) else None):
            if opacity is not None:
                cover = cover * opacity.to(cover).clamp(0, 1)
        return Coat(colours, box, cover)

    def _own(
        self, matrix: Tensor, box: Box, within: tuple[float, float] = (0.5, 0.5)
    ) -> tuple[Tensor, Tensor] | None:
        """The pixels of a box in the space that `matrix` maps to pixels: x and y, or None.

        within: the place in a pixel, from its corner.
        """
        linear, shift = matrix[:, :2], matrix[:, 2]
        det = linear[0, 0] * linear[1, 1] - linear[0, 1] * linear[1, 0]
        if float(det.detach()) == 0:
            return None
        x0, y0, x1, y1 = box
        across = torch.arange(x0, x1).to(matrix) + (within[0] + self.corner[0])
        down = torch.arange(y0, y1).to(matrix) + (within[1] + self.corner[1])
        x, y = (across - shift[0])[None, :], (down - shift[1])[:, None]
        own_x = (linear[1, 1] * x - linear[0, 1] * y) / det
        return own_x, (linear[0, 0] * y - linear[1, 0] * x) / det

    def _gradient(
        self, layer: Layer, gradient: LinearGradient | RadialGradient, box: Box
    ) -> Float[Tensor, "4 _ _"] | None:
        if len(gradient.offsets) == 0:
            return None
        matrix = self.outlines.matrix[layer.shape]
        if gradient.units is Units.BOX:
            low, high = self.outlines.extent(layer.shape)
            scale = torch.cat([torch.diag(high - low), low[:, None]], dim=1)
            matrix = composed_affine(matrix, scale)
        own = self._own(composed_affine(matrix, gradient.transform), box)
        if own is None:
            return None
        if gradient.empty:
            return colours_at(gradient, torch.ones_like(own[0]))
        return colours_at(gradient, gradient.position(torch.stack(own, dim=-1)))

    def _pattern(self, layer: Layer, pattern: Pattern, box: Box) -> Float[Tensor, "4 _ _"] | None:
        """The mean over each pixel of a box of the plane that is tiled with the pattern."""
        width, height = float(pattern.width), float(pattern.height)
        matrix = composed_affine(self.outlines.matrix[layer.shape], pattern.transform)
        if self._own(matrix, box) is None or width <= 0 or height <= 0:
            return None
        across, down = matrix.detach()[:, :2].norm(dim=0).tolist()
        wanted = width * across, height * down
        finer = _finer(matrix, wanted)
        columns, rows = (n * times for n, times in zip(wanted, finer, strict=True))
        coarser = min(1.0, (_MOST_CELLS / max(1.0, columns * rows)) ** 0.5)
        columns, rows = (max(1, min(2**15, round(n * coarser))) for n in (columns, rows))
        across, down = columns / width, rows / height
        place = matrix.new_tensor([[across, 0.0, 0.0], [0.0, down, 0.0]])
        tile = self.draw(pattern.children, place, rows, columns)
        count = max(finer)
        colours = matrix.new_zeros(())
        for i in range(count**2):
            own = self._own(matrix, box, ((i % count + 0.5) / count, (i // count + 0.5) / count))
            assert own is not None  # as before: it depends on the matrix alone
            colours = colours + _sampled(tile, own[0] * across, own[1] * down)
        return colours / count**2


def _finer(matrix: Tensor, wanted: tuple[float, float]) -> tuple[int, int]:
    """How many of a tile's pixels lie along one of the image, across and down.

    Of few, the one of which the tile has most nearly a whole number. One, where the tiles of
    `wanted` pixels begin and end at pixels' edges, or are large.
    """
    if wanted[0] * wanted[1] > _FINER_UP_TO or _whole(
        [*matrix.detach().flatten().tolist(), *wanted]
    ):
        return 1, 1
    across, down = (
        min(_FINER, key=lambda times: abs(n * times - round(n * times)) / times) for n in wanted
    )
    return across, down


def _whole(numbers: Sequence[float]) -> bool:
    return all(abs(number - round(number)) < 1e-3 for number in numbers)


def _sampled(tile: Tensor, across: Tensor, down: Tensor) -> Tensor:
    """A tile (4, H, W) that is repeated for ever, at places in its pixels, linearly between."""
    _, rows, columns = tile.shape
    across, down = across - 0.5, down - 0.5
    left, top = across.detach().floor(), down.detach().floor()
    u, v = across - left, down - top
    values = tile.flatten(1).T

    def at(row: Tensor, column: Tensor) -> Tensor:
        place = row.long().remainder(rows) * columns + column.long().remainder(columns)
        return take(values, place.reshape(-1)).T.reshape(4, *across.shape)

    above = at(top, left) * (1 - u) + at(top, left + 1) * u
    below = at(top + 1, left) * (1 - u) + at(top + 1, left + 1) * u
    return above * (1 - v) + below * v


def _meet(a: Box, b: Box) -> Box:
    return max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])


def _empty(box: Box) -> bool:
    return box[0] >= box[2] or box[1] >= box[3]


def _colour(layer: Layer) -> Tensor:
    assert isinstance(layer.paint, Tensor)
    if layer.opacity is None:
        return layer.paint
    return torch.cat([layer.paint[:3], layer.paint[3:] * layer.opacity.to(layer.paint)])
