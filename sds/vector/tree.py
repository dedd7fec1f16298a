"""What a vector graphic is made of: shapes with fills and strokes, in groups, on a view box.

What draws and writes a graphic knows it as a `ShapeTree`; users have the `Document`, which can
also be rendered and saved. The numbers that an optimisation may change are tensors;
`ShapeTree.parameters` lists them by kind.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.sds.vector.geometry import Circle, Ellipse, Geometry, Path, Polyline, Rect
from scorefield.sds.vector.nodes import Group, Mask, MaskKind, Paint, Pattern, Shape, ViewBox, walk
from scorefield.sds.vector.paint import LinearGradient

__all__ = ["Parameters", "ShapeTree"]


class Parameters(NamedTuple):
    """The leaf tensors of a document, by kind; a tensor used twice is listed once.

    Those of masks and patterns are among them. `points`: control points, centres, sizes and radii
    of geometries, and ends and centres of gradients, in user units. `widths`: of strokes.
    `colours`: RGBA of fills, strokes and stops, and opacities. `offsets`: of stops. `transforms`:
    (2, 3) matrices.
    """

    points: list[Tensor]
    widths: list[Tensor]
    colours: list[Tensor]
    offsets: list[Tensor]
    transforms: list[Tensor]


@dataclass(eq=False)
class ShapeTree:
    """Shapes and groups on a view box: what a `Document` holds, and its arguments."""

    children: list[Shape | Group]
    view_box: ViewBox
    size: tuple[float | int, float | int] | None = None
    aspect: str = "xMidYMid meet"
    kept: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not (self.view_box.width > 0 and self.view_box.height > 0):
            raise ValueError(f"the view box must have a width and height > 0, got {self.view_box}")
        _alignment(self.aspect)

    def shapes(self) -> Iterator[Shape]:
        """All shapes, the lowest first."""
        yield from (n for n in self.nodes() if isinstance(n, Shape))

    def nodes(self) -> Iterator[Shape | Group]:
        """All shapes and groups, parents before their children."""
        yield from walk(self.children)

    def parameters(self) -> Parameters:
        """The document's tensors by kind, the same objects at every call.

        None requires a gradient until it is asked to:

            found = document.parameters()
            groups = [{"params": found.points, "lr": 1.0}, {"params": found.colours, "lr": 0.01}]
            for tensor in (*found.points, *found.colours):
                tensor.requires_grad_()
        """
        kinds: Parameters = Parameters([], [], [], [], [])
        seen: set[int] = set()

        def add(kind: list[Tensor], *tensors: Tensor | None) -> None:
            for tensor in tensors:
                if tensor is not None and id(tensor) not in seen:
                    seen.add(id(tensor))
                    kind.append(tensor)

        def add_paint(paint: Paint | None) -> None:
            if isinstance(paint, Tensor):
                add(kinds.colours, paint)
            elif isinstance(paint, Pattern):
                add(kinds.colours, paint.opacity)
                add(kinds.transforms, paint.transform)
                if id(paint) not in seen:
                    seen.add(id(paint))
                    add_nodes(paint.children)
            elif paint is not None:
                add(kinds.colours, paint.colours)
                add(kinds.offsets, paint.offsets)
                add(kinds.transforms, paint.transform)
                if isinstance(paint, LinearGradient):
                    add(kinds.points, paint.start, paint.end)
                else:
                    add(kinds.points, paint.centre, paint.radius, paint.focus, paint.inner)

        def add_nodes(nodes: Sequence[Shape | Group], painted: bool = True) -> None:
            for node in walk(nodes):
                add(kinds.transforms, node.transform)
                add_masks(node.masks)
                if painted:
                    add(kinds.colours, node.opacity)
                if isinstance(node, Shape):
                    add(kinds.points, *_tensors(node.geometry))
                    if painted:
                        add_paint(node.fill)
                        if node.stroke is not None:
                            add_paint(node.stroke.paint)
                            add(kinds.widths, node.stroke.width)

        def add_masks(masks: Sequence[Mask]) -> None:
            for mask in masks:
                add(kinds.transforms, mask.transform)
                add_masks(mask.masks)
                add_nodes(mask.children, painted=mask.kind is not MaskKind.CLIP)

        add_nodes(self.children)
        return kinds

    def placement(self, height: int, width: int) -> Float[Tensor, "2 3"]:
        """The affine map from user units to the pixels of a (height, width) image."""
        x, y, w, h = self.view_box
        sx, sy = width / w, height / h
        align, cover = _alignment(self.aspect)
        if align is not None:
            sx = sy = max(sx, sy) if cover else min(sx, sy)
        ax, ay = align or (0.0, 0.0)
        tx = ax * (width - sx * w) - sx * x
        ty = ay * (height - sy * h) - sy * y
        return torch.tensor([[sx, 0.0, tx], [0.0, sy, ty]])


def _tensors(geometry: Geometry) -> list[Tensor | None]:
    match geometry:
        case Path() | Polyline():
            return [geometry.vertices]
        case Circle():
            return [geometry.centre, geometry.radius]
        case Ellipse():
            return [geometry.centre, geometry.radii]
        case Rect():
            return [geometry.corner, geometry.size, geometry.radii]
    raise ValueError(
        f"a geometry is a Path, Polyline, Circle, Ellipse or Rect, got {type(geometry).__name__}"
    )


_ALIGN = {"Min": 0.0, "Mid": 0.5, "Max": 1.0}


def _alignment(aspect: str) -> tuple[tuple[float, float] | None, bool]:
    """Shares of the spare width and height that lie before the image; whether it covers."""
    words = aspect.split()
    if words == ["none"] or (len(words) == 2 and words[0] == "none"):
        return None, False
    if len(words) in (1, 2) and words[1:] in ([], ["meet"], ["slice"]):
        word = words[0]
        x, y = _ALIGN.get(word[1:4]), _ALIGN.get(word[5:8])
        if len(word) == 8 and word[0] == "x" and word[4] == "Y" and x is not None and y is not None:
            return (x, y), words[1:] == ["slice"]
    raise ValueError(
        f"preserveAspectRatio {aspect!r} is not 'none' or like 'xMidYMid meet' or 'xMinYMax slice'"
    )
