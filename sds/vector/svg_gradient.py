"""Gradients of an SVG file, with what they inherit from each other."""

import math
from collections.abc import Mapping
from xml.etree.ElementTree import Element

import torch

from scorefield.sds.vector.paint import LinearGradient, Paint, RadialGradient, Spread, Units
from scorefield.sds.vector.svg_style import (
    StyleSheet,
    parse_colour,
    parse_length,
    parse_number,
    parse_transform,
)

__all__ = ["GradientReader"]

_SVG = "{http://www.w3.org/2000/svg}"
_HREF = "{http://www.w3.org/1999/xlink}href"
_MOST_LINKS = 32


class GradientReader:
    """Reads each gradient of a file once, so that shapes that share one share its tensors."""

    def __init__(
        self, ids: Mapping[str, Element], sheet: StyleSheet, width: float, height: float
    ) -> None:
        self._ids, self._sheet = ids, sheet
        self._width, self._height = width, height
        self._read: dict[str, Paint | None] = {}

    def paint(self, name: str) -> Paint | None:
        """The gradient of that id; its colour if it has one stop; None if there is none."""
        if name not in self._read:
            self._read[name] = self._gradient(name)
        return self._read[name]

    def _chain(self, name: str) -> list[Element]:
        """A gradient and those that it takes over attributes and stops from, the nearest first."""
        chain: list[Element] = []
        while True:
            element = self._ids.get(name)
            if element is None or _tag(element) not in ("linearGradient", "radialGradient"):
                return chain
            chain.append(element)
            if len(chain) > _MOST_LINKS:
                raise ValueError(f"gradient {name!r} links to more than {_MOST_LINKS} others")
            target = element.attrib.get("href", element.attrib.get(_HREF, ""))
            if target and not target.startswith("#"):
                raise ValueError(f"gradient {name!r} links to {target!r}; only #ids are followed")
            name = target[1:]

    def _gradient(self, name: str) -> Paint | None:
        chain = self._chain(name)
        if not chain:
            return None
        kind = _tag(chain[0])
        own = dict(chain[0].attrib)
        for element in chain[1:]:
            for key, value in element.attrib.items():
                shared = key in ("gradientUnits", "gradientTransform", "spreadMethod")
                if shared or _tag(element) == kind:
                    own.setdefault(key, value)
        stops = next((s for s in ([c for c in e if _tag(c) == "stop"] for e in chain) if s), None)
        if stops is None:
            return None
        offsets: list[float] = []
        colours: list[list[float]] = []
        for stop in stops:
            style = self._sheet.of(stop, "stop")
            text = style.get("stop-color", "black")
            if text.lower() == "currentcolor":
                text = style.get("color", "black")
            *rgb, alpha = parse_colour(text)
            alpha *= min(1.0, max(0.0, parse_number(style.get("stop-opacity", "1"))))
            colours.append([*rgb, alpha])
            offset = min(1.0, max(0.0, parse_number(style.get("offset", "0"))))
            offsets.append(max(offset, offsets[-1]) if offsets else offset)
        if len(stops) == 1:
            return torch.tensor(colours[0])
        units = Units(own.get("gradientUnits", "objectBoundingBox"))
        spread = Spread(own.get("spreadMethod", "pad"))
        transform = parse_transform(own.get("gradientTransform", ""))
        user = units is Units.USER
        across, down = (self._width, self._height) if user else (1.0, 1.0)
        around = math.hypot(self._width, self._height) / math.sqrt(2) if user else 1.0

        def point(x: str, y: str, default_x: str, default_y: str) -> torch.Tensor:
            return torch.tensor(
                [
                    parse_length(own.get(x, default_x), across),
                    parse_length(own.get(y, default_y), down),
                ]
            )

        tail = (torch.tensor(offsets), torch.tensor(colours))
        if kind == "linearGradient":
            start, end = point("x1", "y1", "0%", "0%"), point("x2", "y2", "100%", "0%")
            return LinearGradient(start, end, *tail, spread, units, transform)
        centre = point("cx", "cy", "50%", "50%")
        radius = torch.tensor(parse_length(own.get("r", "50%"), around))
        focus = None
        if "fx" in own or "fy" in own:
            focus = point("fx", "fy", own.get("cx", "50%"), own.get("cy", "50%"))
        return RadialGradient(centre, radius, *tail, focus, spread, units, transform)


def _tag(element: Element) -> str:
    return element.tag.removeprefix(_SVG) if isinstance(element.tag, str) else ""
