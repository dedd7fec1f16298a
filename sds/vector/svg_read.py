"""An SVG file to a document.

Read are paths, basic shapes, groups, links to elements (`use`), transforms, presentation
attributes, style attributes, simple style sheets, and gradients. What else a file holds (text,
images, filters, masks, clip paths, ...) is left out and named in one warning.

The XML is not trusted: a file that declares entities, refers to other files, is larger than
`MOST_BYTES`, or is larger than that or has more than `MOST_ELEMENTS` elements once its links are
followed, is refused. Reading takes time in proportion to that size, whatever the text.
"""

import math
import os
import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path as FilePath
from xml.etree.ElementTree import Element, ParseError

import defusedxml.ElementTree
import torch
from defusedxml import DefusedXmlException
from torch import Tensor

from scorefield.sds.vector.document import Document, FillRule, Group, Shape, Stroke, ViewBox
from scorefield.sds.vector.geometry import Circle, Ellipse, Geometry, Polyline, Rect
from scorefield.sds.vector.paint import Paint, faded
from scorefield.sds.vector.path_data import parse_path
from scorefield.sds.vector.stroke import Cap, Join, Pen
from scorefield.sds.vector.svg_gradient import GradientReader
from scorefield.sds.vector.svg_style import (
    StyleSheet,
    parse_colour,
    parse_length,
    parse_number,
    parse_transform,
)

__all__ = ["load_svg", "parse_svg"]

MOST_BYTES = 32 * 2**20
MOST_ELEMENTS = 100_000
MOST_DEPTH = 100

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
# Properties that children take over from their parents.
_INHERITED = (
    "color", "fill", "fill-opacity", "fill-rule", "stroke", "stroke-dasharray",
    "stroke-dashoffset", "stroke-linecap", "stroke-linejoin", "stroke-miterlimit",
    "stroke-opacity", "stroke-width", "visibility",
)  # fmt: skip
_INVISIBLE = {"defs", "desc", "linearGradient", "metadata", "radialGradient", "style", "title"}
_EFFECTS = ("clip-path", "mask", "filter", "marker-start", "marker-mid", "marker-end", "marker")


def load_svg(path: str | os.PathLike[str]) -> Document:
    """Read an SVG file.

    Raises:
        ValueError: if the file is not SVG, breaks its grammar, or is refused as unsafe.
    """
    path = FilePath(path)
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{path}: {size} bytes, more than the {MOST_BYTES} that are read")
    try:
        return parse_svg(path.read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def parse_svg(text: str | bytes) -> Document:
    """The document that the text of an SVG file describes; errors as `load_svg`."""
    if len(text) > MOST_BYTES:
        raise ValueError(f"{len(text)} bytes of SVG, more than the {MOST_BYTES} that are read")
    if isinstance(text, bytes) and text[:2] == b"\x1f\x8b":
        raise ValueError("the file is compressed; unpack it (gunzip) and read the .svg")
    try:
        root = defusedxml.ElementTree.fromstring(text, forbid_entities=True, forbid_external=True)
    except DefusedXmlException as error:
        kind = type(error).__name__.removesuffix("Forbidden").lower()
        raise ValueError(
            f"refused: the file declares XML {kind}, which can make it expand without bound or "
            "read other files; save it as plain SVG"
        ) from error
    except (ParseError, LookupError, ValueError, RecursionError) as error:
        raise ValueError(f"not well-formed XML: {error}") from error
    if _tag(root) != "svg":
        raise ValueError(f"the root element is <{root.tag}>, not <svg>")
    return _Reader(root).document()


def _tag(element: Element) -> str:
    """The name of an SVG element; empty for elements of other namespaces."""
    tag = element.tag
    if not isinstance(tag, str):
        return ""
    return tag.removeprefix(_SVG) if tag.startswith(_SVG) or "}" not in tag else ""


@dataclass
class _View:
    """What lengths in percent are of."""

    width: float
    height: float

    @property
    def diagonal(self) -> float:
        return math.hypot(self.width, self.height) / math.sqrt(2)


class _Reader:
    def __init__(self, root: Element) -> None:
        self.root = root
        self.sheet = StyleSheet()
        self.ids: dict[str, Element] = {}
        self.seen = self.letters = 0
        self.left_out: set[str] = set()
        for count, element in enumerate(root.iter()):
            if count > MOST_ELEMENTS:
                raise ValueError(f"more than {MOST_ELEMENTS} elements")
            if "id" in element.attrib:
                self.ids.setdefault(element.attrib["id"], element)
            if _tag(element) == "style":
                self.sheet.add("".join(element.itertext()))

    def document(self) -> Document:
        view_box, size = self.frame()
        self.view = _View(view_box.width, view_box.height)
        self.gradients = GradientReader(self.ids, self.sheet, self.view.width, self.view.height)
        style = self.sheet.of(self.root, "svg")
        children = self.children(self.root, self.inherit({}, style), 1)
        opacity = _opacity(style)
        if opacity is not None:
            children = [Group(children, opacity=opacity)]
        if self.left_out or self.sheet.skipped:
            names = sorted(self.left_out) + [f"selector {s!r}" for s in self.sheet.skipped]
            warnings.warn(f"SVG: left out {', '.join(names)}", UserWarning, stacklevel=4)
        aspect = " ".join(self.root.attrib.get("preserveAspectRatio", "xMidYMid meet").split())
        if len(aspect.split()) == 1 and aspect != "none":
            aspect += " meet"
        return Document(children, view_box, size, aspect)

    def frame(self) -> tuple[ViewBox, tuple[float, float] | None]:
        attributes = self.root.attrib
        size = None
        if all("%" not in attributes.get(k, "%") for k in ("width", "height")):
            size = (parse_length(attributes["width"], 0), parse_length(attributes["height"], 0))
        if "viewBox" in attributes:
            words = [w for w in re.split(r"[\s,]+", attributes["viewBox"].strip()) if w]
            if len(words) != 4:
                raise ValueError(f"viewBox {attributes['viewBox']!r} is not four numbers")
            x, y, width, height = (parse_number(w) for w in words)
        elif size is not None:
            x, y, (width, height) = 0.0, 0.0, size
        else:
            raise ValueError("the file has neither a viewBox nor a width and height; add one")
        return ViewBox(x, y, width, height), size

    def inherit(self, parent: Mapping[str, str], style: Mapping[str, str]) -> dict[str, str]:
        out = dict(parent)
        for name in _INHERITED:
            if style.get(name, "inherit") != "inherit":
                out[name] = style[name]
        return out

    def children(
        self, element: Element, style: Mapping[str, str], depth: int
    ) -> list[Shape | Group]:
        if depth > MOST_DEPTH:
            raise ValueError(f"elements are nested more than {MOST_DEPTH} deep, or link in a ring")
        out = [self.node(child, style, depth) for child in element]
        return [node for node in out if node is not None]

    def node(self, element: Element, parent: Mapping[str, str], depth: int) -> Shape | Group | None:
        self.seen += 1
        self.letters += sum(map(len, element.attrib.values()))
        if self.seen > MOST_ELEMENTS:
            raise ValueError(f"more than {MOST_ELEMENTS} elements once links are followed")
        if self.letters > MOST_BYTES:
            raise ValueError(f"more than {MOST_BYTES} letters once links are followed")
        tag = _tag(element)
        if not tag or tag in _INVISIBLE:
            return None
        own = self.sheet.of(element, tag)
        if own.get("display") == "none":
            return None
        self.left_out.update(name for name in _EFFECTS if own.get(name, "none") != "none")
        style = self.inherit(parent, own)
        transform = parse_transform(own.get("transform", ""))
        name = own.get("id")
        if tag in ("g", "a"):
            children = self.children(element, style, depth + 1)
            return Group(children, _opacity(own), transform, name) if children else None
        if tag == "use":
            return self.use(element, own, style, transform, depth)
        geometry = self.geometry(tag, own)
        if geometry is None or style.get("visibility", "visible") != "visible":
            return None
        return Shape(
            geometry,
            self.paint(style, "fill", "black"),
            self.stroke(style),
            FillRule.EVEN_ODD if style.get("fill-rule") == "evenodd" else FillRule.NON_ZERO,
            _opacity(own),
            transform,
            name,
        )

    def use(
        self,
        element: Element,
        own: Mapping[str, str],
        style: Mapping[str, str],
        transform: Tensor | None,
        depth: int,
    ) -> Group | None:
        target = element.attrib.get("href", element.attrib.get(_HREF, ""))
        if not target.startswith("#"):
            raise ValueError(f"<use> links to {target!r}; only #ids of the same file are followed")
        found = self.ids.get(target[1:])
        if found is None:
            self.left_out.add(f"link to {target}")
            return None
        if depth > MOST_DEPTH:
            raise ValueError(f"elements are nested more than {MOST_DEPTH} deep, or link in a ring")
        node = self.node(found, style, depth + 1)
        if node is None:
            return None
        node.name = None  # the id belongs to the original
        x, y = (parse_length(own.get(k, "0"), w) for k, w in self.axes("x", "y"))
        if x or y:
            node = Group([node], transform=torch.tensor([[1.0, 0.0, x], [0.0, 1.0, y]]))
        return Group([node], _opacity(own), transform, own.get("id"))

    def axes(self, x: str, y: str) -> tuple[tuple[str, float], tuple[str, float]]:
        return (x, self.view.width), (y, self.view.height)

    def pair(self, own: Mapping[str, str], x: str, y: str) -> Tensor:
        return torch.tensor(
            [parse_length(own.get(name, "0"), whole) for name, whole in self.axes(x, y)]
        )

    def geometry(self, tag: str, own: Mapping[str, str]) -> Geometry | None:
        """The outline of a basic shape; None where nothing is drawn."""
        match tag:
            case "path":
                path = parse_path(own.get("d", "") if own.get("d") != "none" else "")
                return path if path.subpaths else None
            case "circle":
                radius = parse_length(own.get("r", "0"), self.view.diagonal)
                return (
                    Circle(self.pair(own, "cx", "cy"), torch.tensor(radius)) if radius > 0 else None
                )
            case "ellipse":
                own = self.both(own, "rx", "ry")
                radii = self.pair(own, "rx", "ry")
                return (
                    Ellipse(self.pair(own, "cx", "cy"), radii) if bool((radii > 0).all()) else None
                )
            case "rect":
                size = self.pair(own, "width", "height")
                if not bool((size > 0).all()):
                    return None
                radii = self.pair(self.both(own, "rx", "ry"), "rx", "ry")
                rounded = radii if bool((radii > 0).all()) else None
                return Rect(self.pair(own, "x", "y"), size, rounded)
            case "line":
                ends = torch.stack([self.pair(own, "x1", "y1"), self.pair(own, "x2", "y2")])
                return Polyline(ends)
            case "polygon" | "polyline":
                words = [w for w in re.split(r"[\s,]+", own.get("points", "").strip()) if w]
                values = torch.tensor([parse_number(w) for w in words[: len(words) // 2 * 2]])
                return Polyline(values.view(-1, 2), tag == "polygon") if len(words) >= 4 else None
        self.left_out.add(f"<{tag}>")
        return None

    def both(self, own: Mapping[str, str], x: str, y: str) -> Mapping[str, str]:
        """A radius that is missing or auto is as long as the other one."""
        out = {k: v for k, v in own.items() if k not in (x, y) or v != "auto"}
        if (x in out) == (y in out):
            return out
        known, whole = self.axes(x, y)[0 if x in out else 1]
        return out | {k: str(parse_length(out[known], whole)) for k in (x, y)}

    def stroke(self, style: Mapping[str, str]) -> Stroke | None:
        paint = self.paint(style, "stroke", "none")
        width = parse_length(style.get("stroke-width", "1"), self.view.diagonal)
        if paint is None or width <= 0:
            return None
        dashes = style.get("stroke-dasharray", "none")
        words = [] if dashes == "none" else [w for w in re.split(r"[\s,]+", dashes.strip()) if w]
        lengths = tuple(parse_length(w, self.view.diagonal) for w in words)
        solid = not sum(lengths) > 0 or min(lengths) < 0
        join = style.get("stroke-linejoin", "miter")
        pen = Pen(
            Cap(style.get("stroke-linecap", "butt")),
            Join(join) if join in ("round", "bevel") else Join.MITER,
            max(1.0, parse_number(style.get("stroke-miterlimit", "4"))),
            () if solid else lengths,
            0.0 if solid else parse_length(style.get("stroke-dashoffset", "0"), self.view.diagonal),
        )
        return Stroke(paint, torch.tensor(width), pen)

    def paint(self, style: Mapping[str, str], name: str, default: str) -> Paint | None:
        text = style.get(name, default)
        opacity = min(1.0, max(0.0, parse_number(style.get(f"{name}-opacity", "1"))))
        if text.startswith("url("):
            inside, _, fallback = text[4:].partition(")")
            link = inside.strip().strip("'\"").strip()
            if not link.startswith("#"):
                raise ValueError(f"{name} refers to {link[:80]!r}; only #ids are followed")
            paint = self.gradients.paint(link[1:])
            if paint is not None:
                return faded(paint, opacity)
            text = fallback.strip() or "none"
        if text in ("none", "context-fill", "context-stroke"):
            return None
        if text.lower() == "currentcolor":
            text = style.get("color", "black")
        return faded(torch.tensor(parse_colour(text)), opacity)


def _opacity(style: Mapping[str, str]) -> Tensor | None:
    value = min(1.0, max(0.0, parse_number(style.get("opacity", "1"))))
    return None if value == 1 else torch.tensor(value)
