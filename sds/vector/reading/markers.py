"""Markers: small drawings at the vertices of a path, placed when the file is read."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from xml.etree.ElementTree import Element

from scorefield.sds.vector.blending import BlendMode
from scorefield.sds.vector.geometry import Geometry
from scorefield.sds.vector.nodes import Group, Mask, Shape
from scorefield.sds.vector.reading.effects import Contents, frame_clip
from scorefield.sds.vector.reading.markup import tag_of
from scorefield.sds.vector.reading.source import Source
from scorefield.sds.vector.reading.style import Style
from scorefield.sds.vector.reading.values import (
    IDENTITY,
    Matrix,
    Refused,
    View,
    multiply,
    parse_functions,
    tensor_of,
)
from scorefield.sds.vector.reading.viewport import Box, aspect_of, fit, parse_view_box

__all__ = ["MARKED", "MarkerReader", "group_of"]

MARKED = ("path", "line", "polyline", "polygon")
_KINDS = ("marker-start", "marker-mid", "marker-end")
Place = tuple[float, float, float]
"""x, y and direction in radians."""


class MarkerReader:
    """Reads markers and places them."""

    def __init__(
        self,
        source: Source,
        contents: Contents,
        count: Callable[[int], None],
        size: Callable[[Sequence[Shape | Group]], int],
    ) -> None:
        self._source, self._contents, self._count, self._size = source, contents, count, size
        self._open: set[Element] = set()

    def markers(
        self, element: Element, style: Style, geometry: Geometry, view: View
    ) -> list[Group]:
        """The markers of a shape, in its own units."""
        links = [style[kind] for kind in _KINDS]
        if tag_of(element) not in MARKED or links == [None] * 3:
            return []
        width = view.pixels(style["stroke-width"], view.diagonal, style.em)
        places = _places(geometry)
        found = []
        for kind, link, some in zip(
            _KINDS, links, (places[:1], places[1:-1], places[-1:]), strict=True
        ):
            marker = None if link is None else self._source.ids.get(link)
            if link is not None and (
                marker is None or tag_of(marker) != "marker" or marker in self._open
            ):
                self._source.left_out.part(f"{kind} url(#{link[:40]})", element)
            elif marker is not None and some:
                found += self._instances(marker, kind, some, width, view)
        return found

    def _instances(
        self, marker: Element, kind: str, places: list[Place], width: float, view: View
    ) -> list[Group]:
        source = self._source
        style = source.style_in_place(marker)

        def length(name: str, default: str, whole: float) -> float:
            return view.pixels(source.length(marker, name, default), whole, style.em)

        frame = Box(
            0.0, 0.0, length("markerWidth", "3", view.width),
            length("markerHeight", "3", view.height),
        )  # fmt: skip
        if frame.width <= 0 or frame.height <= 0:
            return []
        matrix, inside = IDENTITY, replace(view, width=frame.width, height=frame.height)
        if "viewBox" in marker.attrib:
            try:
                box = parse_view_box(marker.attrib["viewBox"])
            except Refused:
                raise
            except ValueError:
                source.left_out.part("viewBox", marker)
            else:
                if box.width <= 0 or box.height <= 0:
                    return []
                aspect = aspect_of(marker.attrib.get("preserveAspectRatio", "xMidYMid"))
                matrix = fit(box, frame, aspect or "xMidYMid meet")
                inside = replace(view, width=box.width, height=box.height)
        x, y = length("refX", "0", inside.width), length("refY", "0", inside.height)
        a, b, c, d, e, f = matrix
        shift: Matrix = (1.0, 0.0, 0.0, 1.0, -(a * x + c * y + e), -(b * x + d * y + f))
        self._open.add(marker)
        try:
            children = self._contents(marker, style, inside, False)
        finally:
            self._open.remove(marker)
        if not children:
            return []
        if matrix != IDENTITY:
            children = [Group(children, transform=tensor_of(matrix))]
        shown = style["overflow"] in ("visible", "auto")
        masks: tuple[Mask, ...] = () if shown else (frame_clip(frame),)
        weight = self._size(children)
        size = 1.0 if marker.attrib.get("markerUnits") == "userSpaceOnUse" else width
        out = []
        for px, py, direction in places:
            self._count(1 + weight)
            angle = self._angle(marker, kind, direction)
            turn: Matrix = (
                size * math.cos(angle), size * math.sin(angle), -size * math.sin(angle),
                size * math.cos(angle), px, py,
            )  # fmt: skip
            out.append(Group(children, transform=tensor_of(multiply(turn, shift)), masks=masks))
        return out

    def _angle(self, marker: Element, kind: str, direction: float) -> float:
        text = marker.attrib.get("orient", "0").strip()
        if text == "auto":
            return direction
        if text == "auto-start-reverse":
            return direction + (math.pi if kind == "marker-start" else 0.0)
        try:
            ((_, (angle,)),) = parse_functions(f"rotate({text})")
        except Refused:
            raise
        except ValueError:
            self._source.left_out.part(f'orient="{text[:40]}"', marker)
            return 0.0
        units = {"": 1.0, "deg": 1.0, "grad": 0.9, "rad": 180 / math.pi, "turn": 360.0}
        return math.radians(angle.number * units[angle.unit])


def _places(geometry: Geometry) -> list[Place]:
    """The vertices of a path, with the directions between the segments that meet there."""
    topology, points = geometry.topology, geometry.points().detach().double()
    control = (topology.mix.double() @ points[topology.picks.view(-1)].view(-1, 4, 2)).tolist()
    out: list[Place] = []
    closed = topology.closed.tolist()
    for number in range(len(closed)):
        own = [c for c, s in zip(control, topology.subpath.tolist(), strict=True) if s == number]
        leaving = [_heading(c, (0, 1, 2, 3)) for c in own]
        arriving = [_heading(c, (3, 2, 1, 0)) for c in own]
        arriving = [None if h is None else (-h[0], -h[1]) for h in arriving]
        ring = closed[number]
        for i, segment in enumerate(own):
            before = arriving[i - 1] if i or ring else None
            out.append((*segment[0], _between(before, leaving[i])))
        after = leaving[0] if ring else None
        out.append((*own[-1][3], _between(arriving[-1], after)))
    return out


def _heading(control: list[list[float]], order: tuple[int, ...]) -> tuple[float, float] | None:
    """The unit vector from the first of some points to the next one elsewhere."""
    x, y = control[order[0]]
    for i in order[1:]:
        across, down = control[i][0] - x, control[i][1] - y
        size = math.hypot(across, down)
        if size > 0:
            return across / size, down / size
    return None


def _between(a: tuple[float, float] | None, b: tuple[float, float] | None) -> float:
    """The direction half-way between two headings, or the one there is."""
    known = [h for h in (a, b) if h is not None]
    across, down = sum(h[0] for h in known), sum(h[1] for h in known)
    if math.hypot(across, down) < 1e-9 and known:
        across, down = -known[0][1], known[0][0]  # straight back: at a right angle
    return math.atan2(down, across)


def group_of(shape: Shape, markers: list[Group]) -> Group:
    """A shape with its markers, which are faded, moved and cut together."""
    bare = replace(shape, opacity=None, transform=None, masks=(), blend_mode=BlendMode.NORMAL)
    return Group(
        [bare, *markers], shape.opacity, shape.transform, masks=shape.masks,
        blend_mode=shape.blend_mode,
    )  # fmt: skip
