"""What a document is made of: shapes with fills and strokes, groups, masks and patterns."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

from jaxtyping import Float
from torch import Tensor

from scorefield.sds.vector.blending import BlendMode
from scorefield.sds.vector.geometry import Geometry
from scorefield.sds.vector.paint import LinearGradient, RadialGradient
from scorefield.sds.vector.stroke import Pen

__all__ = [
    "FillRule",
    "Group",
    "Mask",
    "MaskKind",
    "Paint",
    "Pattern",
    "Shape",
    "Stroke",
    "ViewBox",
    "walk",
]


class FillRule(Enum):
    """Which points are inside of a path: of odd winding number, or of one other than zero."""

    NON_ZERO = "nonzero"
    EVEN_ODD = "evenodd"


class ViewBox(NamedTuple):
    """The rectangle of user space that the image shows."""

    x: float | int
    y: float | int
    width: float | int
    height: float | int


@dataclass(eq=False)
class Pattern:
    """A drawing repeated over the plane, in tiles from (0, 0) to (width, height).

    Args:
        children: the drawing; what reaches out of the tile is cut.
        width: of the tile.
        height: of the tile.
        transform: (2, 3) from the pattern's space to user units, or None.
        opacity: () of the whole, or None for 1.
        name: the id in an SVG file.
    """

    children: list["Shape | Group"]
    width: float
    height: float
    transform: Float[Tensor, "2 3"] | None = None
    opacity: Float[Tensor, ""] | None = None
    name: str | None = None


Paint = Tensor | LinearGradient | RadialGradient | Pattern
"""RGBA (4,), a gradient or a pattern."""


class MaskKind(Enum):
    """What of a mask lets through what it covers."""

    CLIP = "clip"
    LUMINANCE = "luminance"
    ALPHA = "alpha"


@dataclass(eq=False)
class Mask:
    """What a shape or a group is seen through, in the units of its own geometry.

    Args:
        children: the mask, drawn like any other shapes; of a CLIP only the areas they fill count,
            whatever their paint.
        kind: their area; their luminance times alpha; or their alpha alone.
        region: nothing is seen outside of it; None: everywhere. Not for a CLIP.
        transform: (2, 3) of the children, or None.
        masks: what the mask itself is seen through.
        name: the id in an SVG file.
    """

    children: list["Shape | Group"]
    kind: MaskKind = MaskKind.CLIP
    region: ViewBox | None = None
    transform: Float[Tensor, "2 3"] | None = None
    masks: tuple["Mask", ...] = ()
    name: str | None = None


@dataclass(eq=False)
class Stroke:
    """A line of `width` () user units along the outline, centred on it."""

    paint: Paint
    width: Float[Tensor, ""]
    pen: Pen = field(default_factory=Pen)


@dataclass(eq=False)
class Shape:
    """A geometry, filled and then stroked.

    Args:
        geometry: the outline.
        fill: RGBA (4,) in [0, 1], a gradient, a pattern, or None; open outlines are filled as if
            closed.
        stroke: None for no line.
        rule: which points are inside.
        opacity: () of fill and stroke together, or None for 1.
        transform: (2, 3), user = transform @ (x, y, 1), or None for none.
        name: the id in an SVG file.
        stroke_first: whether the fill is drawn over the stroke (SVG's paint-order).
        masks: what it is seen through: all of them.
        attributes: what an SVG file says besides, such as its class; "title" is its title.
        blend_mode: how its colours mix with those below it, up to the next group that has an
            opacity other than 1, masks or a blend mode, or is isolated.
    """

    geometry: Geometry
    fill: Paint | None = None
    stroke: Stroke | None = None
    rule: FillRule = FillRule.NON_ZERO
    opacity: Float[Tensor, ""] | None = None
    transform: Float[Tensor, "2 3"] | None = None
    name: str | None = None
    stroke_first: bool = False
    masks: tuple[Mask, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    blend_mode: BlendMode = BlendMode.NORMAL


@dataclass(eq=False)
class Group:
    """Children drawn in order; with an opacity or masks, drawn together first and then as one.

    So it is with a blend mode, or where the group is `isolated`: its children blend with each other
    only. `attributes` and `blend_mode` as a `Shape` has them. `kept` is an element of an SVG file
    that is not drawn, such as text; it is written back in place of children.
    """

    children: list["Shape | Group"]
    opacity: Float[Tensor, ""] | None = None
    transform: Float[Tensor, "2 3"] | None = None
    name: str | None = None
    masks: tuple[Mask, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)
    kept: str = ""
    blend_mode: BlendMode = BlendMode.NORMAL
    isolated: bool = False


def walk(children: Sequence[Shape | Group]) -> Iterator[Shape | Group]:
    """All shapes and groups, parents before their children."""
    for child in children:
        yield child
        if isinstance(child, Group):
            yield from walk(child.children)
