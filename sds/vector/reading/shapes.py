"""Outlines and pens of basic shapes."""

from collections.abc import Callable
from xml.etree.ElementTree import Element

import torch

from scorefield.sds.vector.geometry import Circle, Ellipse, Geometry, Path, Polyline, Rect
from scorefield.sds.vector.nodes import Paint, Stroke
from scorefield.sds.vector.path_data import drawn_part
from scorefield.sds.vector.reading.markup import tag_of
from scorefield.sds.vector.reading.source import Source
from scorefield.sds.vector.reading.style import Style
from scorefield.sds.vector.reading.values import Length, Refused, View, parse_numbers
from scorefield.sds.vector.stroke import Cap, Join, Pen

__all__ = ["SHAPES", "geometry_of", "stroke_of"]

SHAPES = ("path", "circle", "ellipse", "rect", "line", "polygon", "polyline")


def geometry_of(element: Element, style: Style, view: View, source: Source) -> Geometry | None:
    """The outline of a basic shape; None where nothing is drawn."""
    em = style.em

    def across(length: Length) -> float:
        return view.pixels(length, view.width, em)

    def down(length: Length) -> float:
        return view.pixels(length, view.height, em)

    match tag_of(element):
        case "path":
            return _path(element, style, source)
        case "circle":
            radius = view.pixels(style["r"], view.diagonal, em)
            centre = torch.tensor([across(style["cx"]), down(style["cy"])])
            return Circle(centre, torch.tensor(radius)) if radius > 0 else None
        case "ellipse":
            rx, ry = _radii(style, across, down)
            centre = torch.tensor([across(style["cx"]), down(style["cy"])])
            return Ellipse(centre, torch.tensor([rx, ry])) if rx > 0 and ry > 0 else None
        case "rect":
            width, height = style["width"] or Length(0), style["height"] or Length(0)
            size = torch.tensor([across(width), down(height)])
            if not bool((size > 0).all()):
                return None
            rx, ry = _radii(style, across, down)
            rounded = torch.tensor([rx, ry]) if rx > 0 and ry > 0 else None
            return Rect(torch.tensor([across(style["x"]), down(style["y"])]), size, rounded)
        case "line":
            ends = [
                [across(source.length(element, x, "0")), down(source.length(element, y, "0"))]
                for x, y in (("x1", "y1"), ("x2", "y2"))
            ]
            return Polyline(torch.tensor(ends))
        case "polygon" | "polyline":
            return _polyline(element, source)
    return None


def _radii(
    style: Style, across: Callable[[Length], float], down: Callable[[Length], float]
) -> tuple[float, float]:
    """A radius that is missing or auto is as long as the other one."""
    rx = None if style["rx"] is None else across(style["rx"])
    ry = None if style["ry"] is None else down(style["ry"])
    known = rx if rx is not None else ry
    if known is None:
        return 0.0, 0.0
    return known if rx is None else rx, known if ry is None else ry


def _path(element: Element, style: Style, source: Source) -> Path | None:
    data = style["d"] if style["d"] is not None else element.attrib.get("d", "")
    path, error = drawn_part("" if data.strip() == "none" else data)
    if error is not None:
        source.left_out.part(f"the rest of the path ({error})", element)
    return path if path.subpaths else None


def _polyline(element: Element, source: Source) -> Polyline | None:
    text = element.attrib.get("points", "")
    values = parse_numbers(text, leading=True)
    try:
        whole = len(parse_numbers(text)) % 2 == 0
    except ValueError:
        whole = False
    if not whole:
        source.left_out.part("the rest of its points", element)
    values = values[: len(values) // 2 * 2]
    if len(values) < 4:
        return None
    return Polyline(torch.tensor(values).view(-1, 2), tag_of(element) == "polygon")


def stroke_of(
    element: Element, geometry: Geometry, style: Style, view: View, paint: Paint | None
) -> Stroke | None:
    """The line along an outline; None where none is drawn."""
    width = view.pixels(style["stroke-width"], view.diagonal, style.em)
    if paint is None or width <= 0:
        return None
    lengths = tuple(view.pixels(d, view.diagonal, style.em) for d in style["stroke-dasharray"])
    offset = view.pixels(style["stroke-dashoffset"], view.diagonal, style.em)
    if not sum(lengths) > 0:
        lengths, offset = (), 0.0
    if lengths and "pathLength" in element.attrib:
        unit = _dash_unit(element.attrib["pathLength"], geometry)
        lengths, offset = tuple(unit * d for d in lengths), unit * offset
    join = style["stroke-linejoin"]
    pen = Pen(
        Cap(style["stroke-linecap"]),
        Join(join) if join in ("round", "bevel") else Join.MITER,
        max(1.0, style["stroke-miterlimit"]),
        lengths,
        offset,
    )
    return Stroke(paint, torch.tensor(width), pen)


def _dash_unit(text: str, geometry: Geometry) -> float:
    """What a dash's length is measured in where the author says how long the path is."""
    try:
        (wanted,) = parse_numbers(text)
    except Refused:
        raise
    except ValueError:
        return 1.0
    topology, points = geometry.topology, geometry.points().detach().double()
    control = topology.mix.double() @ points[topology.picks.view(-1)].view(-1, 4, 2)
    t = torch.linspace(0, 1, 65, dtype=torch.float64)[:, None]
    s = 1 - t
    weight = torch.cat([s**3, 3 * s**2 * t, 3 * s * t**2, t**3], dim=1)
    length = float((weight @ control).diff(dim=1).norm(dim=-1).sum())
    return length / wanted if wanted > 0 and length > 0 else 1.0
