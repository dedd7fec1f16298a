"""View boxes: how the rectangle they name is fitted into another one."""

import re
from typing import NamedTuple
from xml.etree.ElementTree import Element

from scorefield.sds.vector.nodes import ViewBox
from scorefield.sds.vector.reading.values import Matrix, View, parse_length, parse_numbers

__all__ = ["Box", "aspect_of", "fit", "frame_of", "parse_view_box"]

_ASPECT = re.compile(r"(?:defer\s+)?(none|x(?:Min|Mid|Max)Y(?:Min|Mid|Max))(?:\s+(meet|slice))?")
_SHARE = {"Min": 0.0, "Mid": 0.5, "Max": 1.0}


class Box(NamedTuple):
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float


def parse_view_box(text: str) -> Box:
    """The four numbers of a viewBox.

    Raises:
        ValueError: if they are not four.
    """
    try:
        x, y, width, height = parse_numbers(text)
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        raise ValueError(f"viewBox {text[:40]!r} is not four numbers") from error
    return Box(x, y, width, height)


def aspect_of(text: str) -> str | None:
    """A preserveAspectRatio in full: "none", or alignment and "meet" or "slice".

    None if it is not understood.
    """
    found = _ASPECT.fullmatch(" ".join(text.split()))
    if not found:
        return None
    return "none" if found[1] == "none" else f"{found[1]} {found[2] or 'meet'}"


def fit(box: Box, into: Box, aspect: str) -> Matrix:
    """The map from a view box to the rectangle it is shown in."""
    sx, sy = into.width / box.width, into.height / box.height
    left = down = 0.0
    if aspect != "none":
        align, _, how = aspect.partition(" ")
        sx = sy = max(sx, sy) if how == "slice" else min(sx, sy)
        left = _SHARE[align[1:4]] * (into.width - sx * box.width)
        down = _SHARE[align[5:8]] * (into.height - sy * box.height)
    return sx, 0.0, 0.0, sy, into.x + left - sx * box.x, into.y + down - sy * box.y


def frame_of(root: Element) -> tuple[ViewBox, tuple[float, float] | None]:
    """The view box of the whole, and the size it should have."""
    attributes = root.attrib
    size = None
    window = View(0.0, 0.0, (0.0, 0.0))
    if all("%" not in attributes.get(k, "%") for k in ("width", "height")):
        width, height = (parse_length(attributes[k]) for k in ("width", "height"))
        size = (window.pixels(width, 0.0), window.pixels(height, 0.0))
    if "viewBox" in attributes:
        box = ViewBox(*parse_view_box(attributes["viewBox"]))
    elif size is not None:
        box = ViewBox(0.0, 0.0, *size)
    else:
        raise ValueError("the file has neither a viewBox nor a width and height; add one")
    return box, size
