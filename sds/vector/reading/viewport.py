"""View boxes: how the rectangle they name is fitted into another one."""

import re
from collections.abc import Callable
from typing import NamedTuple
from xml.etree.ElementTree import Element

from scorefield.sds.vector.nodes import ViewBox
from scorefield.sds.vector.reading.values import (
    Length,
    Matrix,
    View,
    parse_length,
    parse_numbers,
)

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


def frame_of(
    root: Element, report: Callable[[str], None]
) -> tuple[ViewBox, tuple[float, float] | None]:
    """The view box of the whole, and the size it should have; None is that of the view box.

    A width, a height or a view box that is not understood is as none (SVG 2, 7.2), and reported.

    Raises:
        ValueError: neither a view box nor a width and height is left.
    """
    lengths = [_side(root, name, report) for name in ("width", "height")]
    window = View(0.0, 0.0, (0.0, 0.0))
    size = None
    if all(length is not None for length in lengths):
        width, height = (window.pixels(length, 0.0) for length in lengths if length is not None)
        size = (width, height)
    text, box = root.attrib.get("viewBox"), None
    if text is not None:
        try:
            box = ViewBox(*parse_view_box(text))
        except ValueError as error:
            if type(error) is not ValueError or size is None:
                raise
            report(f'viewBox="{text[:40]}"')
    if box is None and size is not None:
        box = ViewBox(0.0, 0.0, *size)
    if box is None:
        raise ValueError("the file has neither a viewBox nor a width and height; add one")
    return box, size


def _side(root: Element, name: str, report: Callable[[str], None]) -> Length | None:
    """A width or a height that is a length; None is what the view box says."""
    text = root.attrib.get(name, "auto").strip()
    if text.lower() in ("auto", "") or "%" in text:
        return None
    try:
        return parse_length(text)
    except ValueError as error:
        if type(error) is not ValueError:
            raise
        report(f'{name}="{text[:40]}"')
        return None
