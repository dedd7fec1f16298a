"""A document taken apart: a tree of painted areas, and the polygons that bound them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from scorefield.sds.vector.blending import BlendMode
from scorefield.sds.vector.blocks import Polygons
from scorefield.sds.vector.dash import dashed
from scorefield.sds.vector.flatten import chords, flatten
from scorefield.sds.vector.gather import take
from scorefield.sds.vector.geometry import Rect
from scorefield.sds.vector.nodes import Group, Mask, MaskKind, Paint, Shape, Stroke
from scorefield.sds.vector.stroke import outline

__all__ = ["Cut", "Isolated", "Layer", "Outlines", "RenderTree", "composed_affine", "take_apart"]


@dataclass(eq=False)
class Layer:
    """A fill or a stroke: the area `index` painted with one paint."""

    index: int
    paint: Paint
    opacity: Tensor | None
    shape: int


@dataclass(eq=False)
class Cut:
    """What something is seen through."""

    children: list["Layer | Isolated"]
    kind: MaskKind
    masks: list["Cut"]


@dataclass(eq=False)
class Isolated:
    """Children drawn on a clear canvas that is then faded, cut and blended."""

    children: list["Layer | Isolated"]
    opacity: Tensor | None
    masks: list[Cut]
    mode: BlendMode = BlendMode.NORMAL


@dataclass(eq=False)
class RenderTree:
    """A document taken apart."""

    tree: list[Layer | Isolated]
    shapes: list[Shape]
    matrices: list[Tensor]  # (2, 3) to pixels, of each shape
    fills: list[int]  # the shape of each filled area, which come first
    strokes: list[int]  # the shape of each stroked area


def composed_affine(outer: Tensor, inner: Tensor | None) -> Tensor:
    """The (2, 3) affine map that applies `inner` and then `outer`."""
    if inner is None:
        return outer
    inner = inner.to(outer)
    moved = outer[:, :2] @ inner
    return torch.cat([moved[:, :2], moved[:, 2:] + outer[:, 2:]], dim=1)


def _fades(opacity: Tensor | None) -> bool:
    return opacity is not None and (opacity.requires_grad or float(opacity) != 1)


def take_apart(nodes: Sequence[Shape | Group], placement: Tensor) -> RenderTree:
    """The painted areas in drawing order; `placement` maps user units to pixels."""
    return _Taker().scene(nodes, placement)


class _Taker:
    def __init__(self) -> None:
        self._scene = RenderTree([], [], [], [], [])
        self._stroked: list[Layer] = []
        # Things that share a mask where it stands share its areas.
        self._cuts: dict[int, list[tuple[Mask, Tensor, Cut]]] = {}

    def scene(self, nodes: Sequence[Shape | Group], placement: Tensor) -> RenderTree:
        self._scene.tree = self._nodes(nodes, placement)
        for layer in self._stroked:
            layer.index += len(self._scene.fills)
        return self._scene

    def _nodes(self, nodes: Sequence[Shape | Group], matrix: Tensor) -> list[Layer | Isolated]:
        out: list[Layer | Isolated] = []
        for node in nodes:
            inner = composed_affine(matrix, node.transform)
            opacity = node.opacity
            if isinstance(node, Group):
                children = self._nodes(node.children, inner)
            else:
                alone = node.fill is None or node.stroke is None
                children = self._layers(node, inner, opacity if alone else None)
                opacity = None if alone else opacity
            masks = [self._cut(mask, inner) for mask in node.masks]
            alone = node.blend_mode is not BlendMode.NORMAL
            alone = alone or (isinstance(node, Group) and node.isolated)
            if alone or masks or (opacity is not None and _fades(opacity)):
                out.append(Isolated(children, opacity, masks, node.blend_mode))
            else:
                out += children
        return out

    def _layers(
        self, shape: Shape, matrix: Tensor, opacity: Tensor | None
    ) -> list[Layer | Isolated]:
        scene = self._scene
        number = len(scene.shapes)
        scene.shapes.append(shape)
        scene.matrices.append(matrix)
        layers: list[Layer | Isolated] = []
        if shape.fill is not None:
            layers.append(Layer(len(scene.fills), shape.fill, opacity, number))
            scene.fills.append(number)
        if shape.stroke is not None:
            layer = Layer(len(scene.strokes), shape.stroke.paint, opacity, number)
            self._stroked.append(layer)
            layers.append(layer)
            scene.strokes.append(number)
        return layers[::-1] if shape.stroke_first else layers

    def _cut(self, mask: Mask, matrix: Tensor) -> Cut:
        known = self._cuts.setdefault(id(mask), [])
        for other, where, cut in known:
            if other is mask and (where is matrix or torch.equal(where, matrix)):
                return cut
        children = self._nodes(mask.children, composed_affine(matrix, mask.transform))
        masks = [self._cut(inner, matrix) for inner in mask.masks]
        if mask.region is not None:
            x, y, width, height = (float(v) for v in mask.region)
            sides = matrix.new_tensor([[x, y], [width, height]])
            rect = Shape(Rect(sides[0], sides[1]), fill=matrix.new_ones(4))
            masks.append(Cut(self._layers(rect, matrix, None), MaskKind.CLIP, []))
        cut = Cut(children, mask.kind, masks)
        known.append((mask, matrix, cut))
        return cut


class Outlines:
    """The polylines of all shapes, in user units, and what is drawn along them."""

    def __init__(self, scene: RenderTree, device: torch.device) -> None:
        """Flatten every shape finely enough for the image."""
        self.scene = scene
        self._first: list[int] | None = None  # vertex of each shape
        self.matrix = torch.stack(scene.matrices)
        points, picks, mixes, subpaths, shapes, closed, shape_of = [], [], [], [], [], [], []
        base = lines = 0
        for shape in scene.shapes:
            own, topology = shape.geometry.points(), shape.geometry.topology
            points.append(own)
            picks.append(topology.picks + base)
            mixes.append(topology.mix)
            subpaths.append(topology.subpath + lines)
            closed.append(topology.closed)
            shapes.append(len(topology.subpath))
            shape_of.append(len(topology.closed))
            base += len(own)
            lines += len(topology.closed)
        numbers = torch.arange(len(scene.shapes))
        owner = numbers.repeat_interleave(torch.tensor(shapes)).to(device)
        self.shape = numbers.repeat_interleave(torch.tensor(shape_of)).to(device)  # of each line
        corners = take(torch.cat(points), torch.cat(picks).view(-1).to(device)).view(-1, 4, 2)
        control = torch.cat(mixes).to(corners) @ corners
        half = [
            0.0 if s.stroke is None else 0.5 * float(s.stroke.width.detach()) for s in scene.shapes
        ]
        linear = self.matrix.detach()[:, :, :2]
        self.scale = linear.det().abs().sqrt()  # pixels per user unit
        self.radius = torch.tensor(half, device=device) * self.scale
        seen = control.detach() @ linear.mT[owner]
        self.lines = flatten(
            control,
            torch.cat(subpaths).to(device),
            torch.cat(closed).to(device),
            chords(seen, self.radius[owner]),
            directed=bool(scene.strokes),
        )

    def to_pixels(self, points: Tensor, shape: Tensor) -> Tensor:
        """Points (N, 2) of the shapes (N,) in the image."""
        matrix = take(self.matrix, shape)
        x, y = points[:, :1], points[:, 1:]
        return matrix[:, :, 0] * x + matrix[:, :, 1] * y + matrix[:, :, 2]

    def polygons(self) -> Polygons:
        """All areas, fills first."""
        a, b = self._fills(), self._strokes()
        if b is None:
            return a
        return Polygons(
            torch.cat([a.vertices, b.vertices]),
            torch.cat([a.follows, b.follows + len(a.vertices)]),
            torch.cat([a.owner, b.owner]),
        )

    def _area_of(self, shapes: Sequence[int], first: int) -> Tensor:
        """The area of each shape, or -1."""
        area = torch.full((len(self.scene.shapes),), -1)
        area[list(shapes)] = torch.arange(first, first + len(shapes))
        return area.to(self.shape.device)

    def _fills(self) -> Polygons:
        area = self._area_of(self.scene.fills, 0)[self.shape]
        some = area >= 0
        lines = self.lines.of(some)
        line = some.nonzero().squeeze(1)[lines.line]
        return Polygons(
            self.to_pixels(lines.vertices, self.shape[line]), lines.following(), area[line]
        )

    def _strokes(self) -> Polygons | None:
        if not self.scene.strokes:
            return None
        area = self._area_of(self.scene.strokes, len(self.scene.fills))[self.shape]
        some = area >= 0
        lines, shape, area = self.lines.of(some), self.shape[some], area[some]
        pens = [self._stroke(i).pen for i in shape.tolist()]
        if any(p.dashes for p in pens):
            lines, origin = dashed(lines, pens)
            shape, area = shape[origin], area[origin]
            pens = [pens[i] for i in origin.tolist()]
        widths = torch.stack([self._stroke(i).width for i in self.scene.strokes])
        half = take(widths / 2, area - len(self.scene.fills))
        drawn = outline(lines, half, pens, self.radius[shape], area)
        numbers = torch.tensor(self.scene.strokes, device=shape.device)
        shape = numbers[drawn.owner - len(self.scene.fills)]
        return drawn._replace(vertices=self.to_pixels(drawn.vertices, shape))

    def _stroke(self, number: int) -> Stroke:
        stroke = self.scene.shapes[number].stroke
        assert stroke is not None
        return stroke

    def extent(self, number: int) -> Tensor:
        """The bounding box of a shape in user units: ((x0, y0), (x1, y1))."""
        if self._first is None:
            sizes = torch.bincount(self.shape[self.lines.line], minlength=len(self.scene.shapes))
            self._first = [0, *sizes.cumsum(0).tolist()]
        vertices = self.lines.vertices[self._first[number] : self._first[number + 1]]
        return torch.stack([vertices.amin(dim=0), vertices.amax(dim=0)])
