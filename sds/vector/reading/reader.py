"""The elements of an SVG file, one after the other, to shapes and groups."""

from dataclasses import dataclass, replace
from typing import NamedTuple
from xml.etree.ElementTree import Element

import torch
from torch import Tensor

from scorefield.sds.vector.blending import BlendMode
from scorefield.sds.vector.document import Document
from scorefield.sds.vector.nodes import FillRule, Group, Mask, Shape
from scorefield.sds.vector.reading.bounds import bounds
from scorefield.sds.vector.reading.effects import EffectReader, frame_clip
from scorefield.sds.vector.reading.kept import Keeper
from scorefield.sds.vector.reading.markers import MarkerReader, group_of
from scorefield.sds.vector.reading.markup import link_of, tag_of
from scorefield.sds.vector.reading.paints import PaintReader
from scorefield.sds.vector.reading.properties import NAMED, PaintValue
from scorefield.sds.vector.reading.shapes import SHAPES, geometry_of, stroke_of
from scorefield.sds.vector.reading.source import Source
from scorefield.sds.vector.reading.style import Style
from scorefield.sds.vector.reading.values import (
    IDENTITY,
    Length,
    Matrix,
    Refused,
    View,
    matrix_of,
    multiply,
    tensor_of,
)
from scorefield.sds.vector.reading.viewport import Box, aspect_of, fit, frame_of, parse_view_box

__all__ = ["ReadLimits", "Reader"]

_SILENT = {
    "clipPath", "defs", "desc", "filter", "linearGradient", "marker", "mask", "metadata", "pattern",
    "radialGradient", "style", "symbol", "title", "view",
}  # fmt: skip
_HARD = ("crispedges", "optimizespeed")
_UNSEEN = {"none", "auto", "transparent", "normal", "match-source", "1"}


class ReadLimits(NamedTuple):
    """What a file may have, once its links are followed."""

    elements: int
    letters: int
    depth: int

    @property
    def too_deep(self) -> str:
        """What a file is refused with that goes deeper."""
        return f"elements are nested more than {self.depth} deep, or link in a ring"


@dataclass(frozen=True)
class _Place:
    """Where in the tree an element stands: what it inherits, and what its lengths are of.

    clipping: whether it is a part of a clip path.
    """

    style: Style | None
    view: View
    depth: int
    clipping: bool = False

    def below(self, style: Style) -> "_Place":
        return replace(self, style=style, depth=self.depth + 1)


class Reader:
    """Visits a file's elements and makes the document of them."""

    def __init__(self, root: Element, limits: ReadLimits) -> None:
        self.root, self.limits = root, limits
        unread: list[str] = []
        self.view_box, self.size = frame_of(root, unread.append)
        width, height = self.view_box.width, self.view_box.height
        view = View(width, height, self.size or (width, height))
        self.source = Source(root, limits.elements, view)
        for what in unread:
            self.source.left_out.part(what, root)
        self.effects = EffectReader(self.source, self._contents, self._count_nodes)
        self.paints = PaintReader(self.source, self.effects)
        self.markers = MarkerReader(
            self.source, self._contents, self._count_nodes, self.effects.size
        )
        self.keeper = Keeper(self.source)
        self.seen = self.letters = 0

    def document(self) -> Document:
        """The document; a ValueError if the file is refused."""
        place = _Place(None, self.source.view, 0)
        style = self.source.style(self.root, None, self.source.view)
        children = self._children(self.root, place.below(style))
        self._name_effects(self.root, style)
        masks = self.effects.masks(self.root, style, children, place.view)
        if {style["background"], style["background-color"]} - _UNSEEN:
            self.source.left_out.part("background", self.root)
        if masks or style["opacity"] != 1 or style.functions:
            transform = self._transform(self.root, style, children, place.view)
            children = [Group(children, _opacity(style), transform, masks=masks)]
        aspect = aspect_of(self.root.attrib.get("preserveAspectRatio", "xMidYMid"))
        if aspect is None:
            self.source.left_out.part("preserveAspectRatio", self.root)
        kept = self.keeper.definitions()
        return Document(children, self.view_box, self.size, aspect or "xMidYMid meet", kept)

    def _children(self, element: Element, place: _Place) -> list[Shape | Group]:
        if place.depth > self.limits.depth:
            raise Refused(self.limits.too_deep)
        out = [self._node(child, place) for child in element]
        return [node for node in out if node is not None]

    def _contents(
        self, element: Element, style: Style, view: View, clipping: bool
    ) -> list[Shape | Group]:
        """What a clip path, mask or pattern is made of."""
        place = _Place(style, view, 1, clipping)
        parts = element
        if clipping:  # it has no groups
            parts = Element(element.tag)
            parts.extend(c for c in element if tag_of(c) in (*SHAPES, "use", "text"))
        return self._children(parts, place)

    def _node(self, element: Element, place: _Place) -> Shape | Group | None:
        self._count(element)
        tag = tag_of(element)
        if not tag or tag in _SILENT:
            return None
        style = self.source.style(element, place.style, place.view)
        if style["display"] == "none":
            return None
        if tag in ("g", "a", "switch", "use", "svg"):
            return self._group(tag, element, style, place)
        if tag not in SHAPES:
            self.source.left_out.element(element)
            text = self.keeper.element(element)
            return Group([], kept=text) if text else None
        self._name_effects(element, style)
        if style["visibility"] != "visible":
            return None
        geometry = geometry_of(element, style, place.view, self.source)
        if geometry is None:
            return None
        bare = Shape(geometry)
        fill = self.paints.paint(element, style, "fill", bare, place.view)
        stroke = self.paints.paint(element, style, "stroke", bare, place.view)
        order = style["paint-order"]
        shape = Shape(
            geometry,
            fill,
            stroke_of(element, geometry, style, place.view, stroke),
            FillRule(style["clip-rule" if place.clipping else "fill-rule"]),
            _opacity(style),
            self._transform(element, style, bare, place.view),
            element.attrib.get("id"),
            order.index("stroke") < order.index("fill"),
            self.effects.masks(element, style, [bare], place.view),
            self.keeper.attributes(element),
            BlendMode(style["mix-blend-mode"]),
        )
        if place.clipping:
            return shape
        if style["shape-rendering"] in _HARD and (shape.fill is not None or shape.stroke):
            self.source.left_out.part("shape-rendering", element)
        with self.paints.within(style):
            markers = self.markers.markers(element, style, geometry, place.view)
        return group_of(shape, markers) if markers else shape

    def _count(self, element: Element) -> None:
        """A file may not become much larger by its links."""
        self._count_nodes(1)
        self.letters += sum(map(len, element.attrib.values()))
        if self.letters > self.limits.letters:
            raise Refused(f"more than {self.limits.letters} letters once links are followed")

    def _count_nodes(self, number: int) -> None:
        self.seen += number
        if self.seen > self.limits.elements:
            raise Refused(f"more than {self.limits.elements} elements once links are followed")

    def _name_effects(self, element: Element, style: Style) -> None:
        for name in ("filter", *NAMED):
            if style[name] not in _UNSEEN:
                self.source.left_out.part(name, element)
        if style["stroke"] != PaintValue(None):
            if style["vector-effect"] != "none":
                self.source.left_out.part("vector-effect", element)
            if style["stroke-linejoin"] in ("miter-clip", "arcs"):
                self.source.left_out.part("stroke-linejoin", element)

    def _group(self, tag: str, element: Element, style: Style, place: _Place) -> Group | None:
        self._name_effects(element, style)
        below = place.below(style)
        children: list[Shape | Group]
        if tag == "switch":
            chosen = self._chosen(element)
            node = None if chosen is None else self._node(chosen, below)
            children = [] if node is None else [node]
        elif tag == "use":
            with self.paints.within(style):
                children = self._use(element, style, below)
        elif tag == "svg":
            shown = self._viewport(element, style, below, (None, None))
            children = [] if shown is None else [shown]
        else:
            children = self._children(element, below)
        if not children:
            return None
        transform = self._transform(element, style, children, place.view)
        masks = self.effects.masks(element, style, children, place.view)
        attributes = self.keeper.attributes(element)
        name = element.attrib.get("id")
        return Group(
            children,
            _opacity(style),
            transform,
            name,
            masks,
            attributes,
            blend_mode=BlendMode(style["mix-blend-mode"]),
            isolated=style["isolation"] == "isolate",
        )

    def _chosen(self, switch: Element) -> Element | None:
        """The child of a <switch> that is drawn: the first, or what stands in for HTML."""
        may = [c for c in switch if tag_of(c) and _holds(c)]
        if may and tag_of(may[0]) == "foreignObject":
            for other in may[1:]:
                if tag_of(other) in (*SHAPES, "g", "use", "svg", "a"):
                    self.source.left_out.element(may[0])
                    return other
        return next(iter(may), None)

    def _use(self, element: Element, style: Style, place: _Place) -> list[Shape | Group]:
        target = self.source.linked(element)
        if target is None:
            if not link_of(element):
                self.source.left_out.element(element)
            return []
        if place.depth > self.limits.depth:
            raise Refused(self.limits.too_deep)
        view, em = place.view, style.em
        x = view.pixels(style["x"], view.width, em)
        y = view.pixels(style["y"], view.height, em)
        node: Shape | Group | None
        if tag_of(target) in ("symbol", "svg"):
            self._count(target)
            own = self.source.style(target, style, view)
            if own["display"] == "none" and tag_of(target) == "svg":
                return []  # a symbol that is used is displayed, whatever is said (SVG 2, 5.5)
            self._name_effects(target, own)
            node = self._viewport(target, own, place.below(own), (style["width"], style["height"]))
            if node is not None:
                node.opacity = _opacity(own)
                node.blend_mode = BlendMode(own["mix-blend-mode"])
                node.transform = self._transform(target, own, [node], view)
        else:
            node = self._node(target, place)
        if node is None:
            return []
        node.name = None  # the id belongs to the original
        if not (x or y):
            return [node]
        return [Group([node], transform=torch.tensor([[1.0, 0.0, x], [0.0, 1.0, y]]))]

    def _viewport(
        self,
        element: Element,
        style: Style,
        place: _Place,
        sides: tuple[Length | None, Length | None],
    ) -> Group | None:
        """What a nested <svg> or a <symbol> shows in its frame."""
        view, em = place.view, style.em
        full = Length(100.0, "%")
        frame = Box(
            view.pixels(style["x"], view.width, em),
            view.pixels(style["y"], view.height, em),
            view.pixels(sides[0] or style["width"] or full, view.width, em),
            view.pixels(sides[1] or style["height"] or full, view.height, em),
        )
        if frame.width <= 0 or frame.height <= 0:
            return None
        matrix: Matrix = (1.0, 0.0, 0.0, 1.0, frame.x, frame.y)
        inside = replace(view, width=frame.width, height=frame.height)
        text = element.attrib.get("viewBox")
        if text is not None:
            try:
                box = parse_view_box(text)
            except Refused:
                raise
            except ValueError:
                self.source.left_out.part(f'viewBox="{text[:40]}"', element)
            else:
                if box.width <= 0 or box.height <= 0:
                    return None
                aspect = aspect_of(element.attrib.get("preserveAspectRatio", "xMidYMid"))
                matrix = fit(box, frame, aspect or "xMidYMid meet")
                inside = replace(view, width=box.width, height=box.height)
        children = self._children(element, replace(place, view=inside))
        if not children:
            return None
        if matrix != IDENTITY:
            children = [Group(children, transform=tensor_of(matrix))]
        cut = style["overflow"] not in ("visible", "auto")
        masks: tuple[Mask, ...] = (frame_clip(frame),) if cut else ()
        return Group(children, masks=masks)

    def _transform(
        self, element: Element, style: Style, drawn: Shape | list[Shape | Group], view: View
    ) -> Tensor | None:
        """The matrix of an element about its origin, which may be of the box of what is drawn."""
        functions = style.functions
        if not functions:
            return None
        box = Box(0.0, 0.0, view.width, view.height)
        if style["transform-box"] != "view-box":
            box = bounds([drawn] if isinstance(drawn, Shape) else drawn) or box
            view = replace(view, width=box.width, height=box.height)
            if style["transform-box"] in ("stroke-box", "border-box"):
                self.source.left_out.part("transform-box", element)
        matrix = matrix_of(functions, view, style.em)
        across, down = style["transform-origin"]
        x = box.x + view.pixels(across, box.width, style.em)
        y = box.y + view.pixels(down, box.height, style.em)
        if x or y:
            to: Matrix = (1.0, 0.0, 0.0, 1.0, x, y)
            back: Matrix = (1.0, 0.0, 0.0, 1.0, -x, -y)
            matrix = multiply(multiply(to, matrix), back)
        return tensor_of(matrix)


def _holds(element: Element) -> bool:
    """Whether a child of a <switch> may be chosen: for readers of English, without extensions."""
    if "requiredExtensions" in element.attrib:
        return False
    languages = element.attrib.get("systemLanguage")
    if languages is None:
        return True
    return any(tag.strip().lower().partition("-")[0] == "en" for tag in languages.split(","))


def _opacity(style: Style) -> Tensor | None:
    return None if style["opacity"] == 1 else torch.tensor(style["opacity"])
