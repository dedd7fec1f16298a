"""Clip paths, masks and patterns of an SVG file.

What is measured by the bounding box of the element that refers to it is worked out for that
element, so that everything in a document is in user units.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from xml.etree.ElementTree import Element

import torch

from scorefield.sds.vector.blending import BlendMode
from scorefield.sds.vector.geometry import Rect
from scorefield.sds.vector.nodes import FillRule, Group, Mask, MaskKind, Pattern, Shape, ViewBox
from scorefield.sds.vector.reading.bounds import bounds, matrix_from
from scorefield.sds.vector.reading.gradients import chain_of
from scorefield.sds.vector.reading.markup import tag_of
from scorefield.sds.vector.reading.source import Source
from scorefield.sds.vector.reading.style import Style
from scorefield.sds.vector.reading.values import (
    IDENTITY,
    Matrix,
    Refused,
    View,
    matrix_of,
    multiply,
    parse_functions,
    tensor_of,
)
from scorefield.sds.vector.reading.viewport import Box, aspect_of, fit, parse_view_box

__all__ = ["EffectReader", "frame_clip"]

Contents = Callable[[Element, Style, View, bool], list[Shape | Group]]
"""What the children of an element draw; those of a clip path alone if so."""
Nodes = Sequence[Shape | Group]


class EffectReader:
    """Reads clip paths, masks and patterns, each once for all that share it."""

    def __init__(self, source: Source, contents: Contents, count: Callable[[int], None]) -> None:
        self._source, self._contents, self._count = source, contents, count
        self._known: dict[tuple[Element, View, Box | None], Mask | Pattern | None] = {}
        self._sizes: dict[tuple[Element, View, Box | None], int] = {}
        self._weights: dict[int, int] = {}
        self._open: set[Element] = set()

    def masks(self, element: Element, style: Style, nodes: Nodes, view: View) -> tuple[Mask, ...]:
        """What an element that draws `nodes` is seen through, by its clip-path and mask."""
        found = []
        for name, tag in (("clip-path", "clipPath"), ("mask", "mask")):
            link = style[name]
            if link is None:
                continue
            server = self._source.ids.get(link)
            if server is None or tag_of(server) != tag or server in self._open:
                self._source.left_out.part(f"{name} url(#{link[:40]})", element)
                continue
            read = self._clip if tag == "clipPath" else self._mask
            units = "clipPathUnits" if tag == "clipPath" else "maskUnits"
            mask = self._shared(server, nodes, view, units, read)
            if isinstance(mask, Mask):
                found.append(mask)
        return tuple(found)

    def pattern(self, element: Element, nodes: Nodes, view: View) -> Pattern | None:
        """A pattern that paints `nodes`; None if it paints nothing."""
        if element in self._open:
            self._source.left_out.part("link to itself", element)
            return None
        found = self._shared(element, nodes, view, "patternUnits", self._pattern)
        return found if isinstance(found, Pattern) else None

    def _shared(
        self,
        server: Element,
        nodes: Nodes,
        view: View,
        units: str,
        read: Callable[[Element, Box | None, View], Mask | Pattern | None],
    ) -> Mask | Pattern | None:
        """Read once where nothing depends on the box of what refers to it."""
        plain = {"clipPathUnits": "userSpaceOnUse"}.get(units, "objectBoundingBox")
        chain = chain_of(server, self._source, ("pattern",)) or [server]
        contents = units.replace("Units", "ContentUnits")
        own = {k: v for e in reversed(chain) for k, v in e.attrib.items()}
        by_box = "objectBoundingBox" in (own.get(units, plain), own.get(contents, ""))
        box = bounds(nodes) if by_box else None
        key = (server, view, box)
        if key in self._known:
            self._count(self._sizes[key])  # drawn again for each
            return self._known[key]
        self._open.add(server)
        try:
            found = None if by_box and box is None else read(server, box, view)
        finally:
            self._open.remove(server)
        self._known[key] = found
        self._sizes[key] = 0
        if found is not None:
            self._sizes[key] = self.size(found.children) + self._of_masks(found)
            # Copies of a pattern share its children, which `_known` keeps alive.
            self._weights[id(found.children)] = self._sizes[key]
        return found

    def size(self, nodes: Nodes) -> int:
        """How many nodes are drawn for some, their masks and patterns included."""
        total = 0
        for node in nodes:
            total += 1 + sum(self._weights.get(id(m.children), 1) for m in node.masks)
            if isinstance(node, Group):
                total += self.size(node.children)
                continue
            paints = (node.fill, None if node.stroke is None else node.stroke.paint)
            total += sum(
                self._weights.get(id(p.children), 1) for p in paints if isinstance(p, Pattern)
            )
        return total

    def _of_masks(self, found: Mask | Pattern) -> int:
        masks = found.masks if isinstance(found, Mask) else ()
        return sum(self._weights.get(id(mask.children), 1) for mask in masks)

    def _clip(self, element: Element, box: Box | None, view: View) -> Mask:
        source = self._source
        style = source.style_in_place(element)
        matrix = matrix_of(style["transform"], view, style.em)
        if element.attrib.get("clipPathUnits") == "objectBoundingBox" and box is not None:
            matrix = multiply(matrix, _onto(box))
            view = replace(view, width=1.0, height=1.0)
        inside = self._contents(element, style, view, True)
        children = [shape for node in inside for shape in self._areas(node, IDENTITY, element)]
        above = self.masks(element, style, children, view)
        return Mask(
            [*children],
            transform=tensor_of(matrix),
            masks=above,
            name=element.attrib.get("id"),
        )

    def _areas(self, node: Shape | Group, matrix: Matrix, element: Element) -> list[Shape]:
        """The shapes of a clip path, which has no groups; their fills alone count."""
        inner = multiply(matrix, matrix_from(node.transform))
        if isinstance(node, Group):  # empty for text, which clips nothing
            found = [s for child in node.children for s in self._areas(child, inner, element)]
            if node.masks and found:
                if inner == IDENTITY:
                    for shape in found:
                        shape.masks += node.masks
                else:
                    self._source.left_out.part("clip-path of a link within it", element)
            return found
        white = torch.ones(4)
        bare = replace(node, fill=white, stroke=None, opacity=None, blend_mode=BlendMode.NORMAL)
        return [replace(bare, transform=tensor_of(inner))]

    def _mask(self, element: Element, box: Box | None, view: View) -> Mask | None:
        source = self._source
        style = source.style_in_place(element)
        given = element.attrib
        whole = box if given.get("maskUnits") != "userSpaceOnUse" else None
        region = self._region(element, style, whole, view, ("-10%", "-10%", "120%", "120%"))
        transform = None
        if given.get("maskContentUnits") == "objectBoundingBox" and box is not None:
            transform = tensor_of(_onto(box))
            view = replace(view, width=1.0, height=1.0)
        children = self._contents(element, style, view, False)
        if style["color-interpolation"] == "linearrgb":
            source.left_out.part("color-interpolation", element)
        kind = MaskKind.ALPHA if style["mask-type"] == "alpha" else MaskKind.LUMINANCE
        above = self.masks(element, style, children, view)
        return Mask(children, kind, ViewBox(*region), transform, above, given.get("id"))

    def _region(
        self,
        server: Element,
        style: Style,
        box: Box | None,
        view: View,
        usual: tuple[str, str, str, str],
    ) -> Box:
        """x, y, width and height of a server, in user units; shares of `box` if there is one."""
        inside = view if box is None else View(1.0, 1.0, view.window)
        names = ("x", "y", "width", "height")
        wholes = (inside.width, inside.height) * 2
        x, y, width, height = (
            inside.pixels(self._source.length(server, name, default), whole, style.em)
            for name, default, whole in zip(names, usual, wholes, strict=True)
        )
        if box is None:
            return Box(x, y, width, height)
        return Box(
            box.x + x * box.width, box.y + y * box.height, width * box.width, height * box.height
        )

    def _pattern(self, element: Element, box: Box | None, view: View) -> Pattern | None:
        source = self._source
        chain = chain_of(element, source, ("pattern",))
        own = {k: v for e in reversed(chain) for k, v in e.attrib.items()}
        server = Element(element.tag, own)  # with the attributes of all, the nearest first
        filled = next((e for e in chain if any(tag_of(c) for c in e)), None)
        if filled is None:
            return None
        style = source.style_in_place(filled)
        whole = box if own.get("patternUnits") != "userSpaceOnUse" else None
        tile = self._region(server, style, whole, view, ("0", "0", "0", "0"))
        if tile.width <= 0 or tile.height <= 0:
            return None
        try:
            functions = parse_functions(own.get("patternTransform", ""))
        except Refused:
            raise
        except ValueError:
            source.left_out.part("patternTransform", element)
            functions = ()
        # The content begins at the tile's corner.
        corner: Matrix = (1.0, 0.0, 0.0, 1.0, tile.x, tile.y)
        transform = multiply(matrix_of(functions, view, style.em), corner)
        matrix, inside = IDENTITY, view
        if "viewBox" in own:
            try:
                fitted = parse_view_box(own["viewBox"])
            except Refused:
                raise
            except ValueError:
                source.left_out.part("viewBox", element)
            else:
                if fitted.width <= 0 or fitted.height <= 0:
                    return None
                aspect = aspect_of(own.get("preserveAspectRatio", "xMidYMid"))
                frame = Box(0.0, 0.0, tile.width, tile.height)
                matrix = fit(fitted, frame, aspect or "xMidYMid meet")
                inside = replace(view, width=fitted.width, height=fitted.height)
        elif own.get("patternContentUnits") == "objectBoundingBox" and box is not None:
            matrix = (box.width, 0.0, 0.0, box.height, 0.0, 0.0)
            inside = replace(view, width=1.0, height=1.0)
        children = self._contents(filled, style, inside, False)
        if not children:
            return None
        if matrix != IDENTITY:
            children = [Group(children, transform=tensor_of(matrix))]
        name = element.attrib.get("id")
        return Pattern(children, tile.width, tile.height, tensor_of(transform), name=name)


def frame_clip(box: Box) -> Mask:
    """The clip of a nested drawing to its frame."""
    rect = Rect(torch.tensor([box.x, box.y]), torch.tensor([box.width, box.height]))
    return Mask([Shape(rect, fill=torch.ones(4), rule=FillRule.NON_ZERO)])


def _onto(box: Box) -> Matrix:
    """From the unit square to a box."""
    return box.width, 0.0, 0.0, box.height, box.x, box.y
