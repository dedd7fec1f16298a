"""Gradients of an SVG file, with what they inherit from each other."""

from xml.etree.ElementTree import Element

import torch

from scorefield.sds.vector.nodes import Paint
from scorefield.sds.vector.paint import LinearGradient, RadialGradient, Spread, Units
from scorefield.sds.vector.reading.markup import link_of, tag_of
from scorefield.sds.vector.reading.source import Source
from scorefield.sds.vector.reading.values import (
    Length,
    Refused,
    View,
    matrix_of,
    parse_functions,
    parse_length,
    tensor_of,
)

__all__ = ["GRADIENTS", "GradientReader", "chain_of"]

GRADIENTS = ("linearGradient", "radialGradient")
_MOST_LINKS = 32
_UNIT = View(1.0, 1.0, (1.0, 1.0))


def chain_of(element: Element, source: Source, tags: tuple[str, ...]) -> list[Element]:
    """A paint server and those that it takes over attributes from, the nearest first.

    Raises:
        ValueError: if it links to other files, or to too many others.
    """
    chain: list[Element] = []
    found: Element | None = element
    while found is not None and tag_of(found) in tags:
        chain.append(found)
        if len(chain) > _MOST_LINKS:
            name = element.attrib.get("id", "")
            raise Refused(f"{name!r} links to more than {_MOST_LINKS} others, or in a ring")
        found = source.linked(found) if link_of(found) else None
    return chain


class GradientReader:
    """Reads each gradient of a file once, so that shapes that share one share its tensors."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._read: dict[tuple[Element, View], Paint | None] = {}

    def paint(self, element: Element, view: View) -> Paint | None:
        """The gradient; its colour if it has one stop; None if there is nothing to paint."""
        key = (element, view)
        if key not in self._read:
            self._read[key] = self._gradient(element, view)
        return self._read[key]

    def _gradient(self, element: Element, view: View) -> Paint | None:
        source = self._source
        chain = chain_of(element, source, GRADIENTS)
        kind = tag_of(element)
        own = dict(element.attrib)
        for other in chain[1:]:
            for key, value in other.attrib.items():
                shared = key in ("gradientUnits", "gradientTransform", "spreadMethod")
                if shared or tag_of(other) == kind:
                    own.setdefault(key, value)
        stops = next((s for s in ([c for c in e if tag_of(c) == "stop"] for e in chain) if s), None)
        if stops is None:
            return None
        offsets, colours = self._stops(stops)
        if len(stops) == 1:
            return torch.tensor(colours[0])
        units = Units.USER if own.get("gradientUnits") == "userSpaceOnUse" else Units.BOX
        spread = next((s for s in Spread if s.value == own.get("spreadMethod")), Spread.PAD)
        inside = view if units is Units.USER else _UNIT
        style = source.style_in_place(element)
        if style["color-interpolation"] == "linearrgb":
            source.left_out.part("color-interpolation", element)

        def length(name: str, default: str) -> Length:
            text = own.get(name, default)
            try:
                return parse_length(text)
            except Refused:
                raise
            except ValueError:
                source.left_out.part(f'{name}="{text[:40]}"', element)
                return parse_length(default)

        def point(x: str, y: str, default_x: str, default_y: str) -> torch.Tensor:
            across = inside.pixels(length(x, default_x), inside.width, style.em)
            return torch.tensor(
                [across, inside.pixels(length(y, default_y), inside.height, style.em)]
            )

        transform = None
        try:
            functions = parse_functions(own.get("gradientTransform", ""))
            transform = tensor_of(matrix_of(functions, view, style.em))
        except Refused:
            raise
        except ValueError:
            source.left_out.part("gradientTransform", element)
        tail = (torch.tensor(offsets), torch.tensor(colours))
        if kind == "linearGradient":
            start, end = point("x1", "y1", "0%", "0%"), point("x2", "y2", "100%", "0%")
            return LinearGradient(
                start, end, *tail, spread, units, transform, element.attrib.get("id")
            )
        around = inside.diagonal
        centre = point("cx", "cy", "50%", "50%")
        radius = torch.tensor(inside.pixels(length("r", "50%"), around, style.em))
        focus = None
        if "fx" in own or "fy" in own:
            focus = point("fx", "fy", own.get("cx", "50%"), own.get("cy", "50%"))
        inner = inside.pixels(length("fr", "0%"), around, style.em)
        return RadialGradient(
            centre, radius, *tail, focus, spread, units, transform,
            torch.tensor(inner) if inner > 0 else None, element.attrib.get("id"),
        )  # fmt: skip

    def _stops(self, stops: list[Element]) -> tuple[list[float], list[list[float]]]:
        offsets: list[float] = []
        colours: list[list[float]] = []
        for stop in stops:
            style = self._source.style_in_place(stop)
            *rgb, alpha = style.colour(style["stop-color"])
            colours.append([*rgb, alpha * style["stop-opacity"]])
            length = self._source.length(stop, "offset", "0")
            offset = length.number / (100 if length.unit == "%" else 1)
            offset = min(1.0, max(0.0, offset))
            offsets.append(max(offset, offsets[-1]) if offsets else offset)
        return offsets, colours
