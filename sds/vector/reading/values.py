"""Numbers, lengths and transforms as SVG and CSS write them.

Numbers of a list may follow each other without a separator where that is plain ("0-1.5.5"), in
paths, points, view boxes, transforms and dashes alike.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

__all__ = [
    "IDENTITY",
    "Function",
    "Length",
    "Matrix",
    "Refused",
    "View",
    "matrix_of",
    "multiply",
    "parse_functions",
    "parse_length",
    "parse_lengths",
    "parse_numbers",
    "parse_transform",
    "tensor_of",
]

MOST = 1e30
"""No number of a file may reach it: what is infinite could not be drawn."""

NUMBER = r"[+-]?(?:\d++\.?+\d*+|\.\d++)(?:[eE][+-]?\d++)?+"  # possessive: tried in one way only
_ITEM = re.compile(rf"[\s,]*+({NUMBER})(%|[a-zA-Z]*+)")
_BLANK = re.compile(r"[\s,]*+$")
_FUNCTION = re.compile(r"[\s,]*+([a-zA-Z]++(?:3d)?+)\s*+\(([^()]*+)\)")
_PIXELS = {
    "": 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "in": 96.0, "cm": 96 / 2.54, "mm": 96 / 25.4,
    "q": 96 / 101.6,
}  # fmt: skip
_FONT = {"em": 1.0, "ex": 0.5, "ch": 0.5, "rem": 1.0, "lh": 1.2, "ic": 1.0, "cap": 0.7}
_WINDOW = ("vw", "vh", "vmin", "vmax", "vi", "vb")
_DEGREES = {"": 1.0, "deg": 1.0, "grad": 0.9, "rad": 180 / math.pi, "turn": 360.0}

Matrix = tuple[float, float, float, float, float, float]
"""(a, b, c, d, e, f): x' = a x + c y + e, y' = b x + d y + f."""

IDENTITY: Matrix = (1.0, 0.0, 0.0, 1.0, 0.0, 0.0)


class Refused(ValueError):
    """What makes a whole file refused, where other bad values are dropped and named."""


class Length(NamedTuple):
    """A number with its unit, in small letters; "%" for a percentage."""

    number: float
    unit: str = ""


Function = tuple[str, tuple[Length, ...]]
"""One function of a transform, by its name in small letters."""


@dataclass(frozen=True)
class View:
    """What relative lengths are of.

    width, height: of the nearest view box, in user units: percentages.
    window: width and height of the whole image: vw and vh.
    """

    width: float
    height: float
    window: tuple[float, float]

    @property
    def diagonal(self) -> float:
        """What percentages of radii, widths and dashes are of."""
        return math.hypot(self.width, self.height) / math.sqrt(2)

    def pixels(self, length: Length, whole: float, em: float = 16.0) -> float:
        """A length in user units; a percentage is of `whole`."""
        number, unit = length
        if unit == "%":
            value = number * whole / 100
        elif unit in _PIXELS:
            value = number * _PIXELS[unit]
        elif unit == "rem":
            value = number * 16.0
        elif unit in _FONT:
            value = number * _FONT[unit] * em
        else:
            width, height = self.window
            sides = {"vw": width, "vi": width, "vh": height, "vb": height, "vmin": min(self.window)}
            value = number * sides.get(unit, max(self.window)) / 100
        if not abs(value) < MOST:
            raise Refused(f"length {number:g}{unit} is not below {MOST:.0e}")
        return value


def _items(text: str) -> tuple[list[Length], int]:
    """The numbers that the text begins with, and where they end."""
    out: list[Length] = []
    place = 0
    while found := _ITEM.match(text, place):
        number = float(found[1])
        if not abs(number) < MOST:
            raise Refused(f"number {found[1][:20]!r} is not below {MOST:.0e}")
        out.append(Length(number, found[2].lower()))
        place = found.end()
    return out, place


def parse_numbers(text: str, *, leading: bool = False) -> list[float]:
    """A list of plain numbers; with `leading` only those before what is none.

    Raises:
        ValueError: if the text holds anything else.
    """
    items, place = _items(text)
    bare = next((i for i, item in enumerate(items) if item.unit), len(items))
    if not leading and (bare < len(items) or not _BLANK.match(text, place)):
        raise ValueError(f"{text[:40]!r} is not a list of numbers")
    return [item.number for item in items[:bare]]


def parse_lengths(text: str) -> tuple[Length, ...]:
    """A list of numbers with units.

    Raises:
        ValueError: if the text holds anything else.
    """
    items, place = _items(text)
    known = all(i.unit in _PIXELS or i.unit in _FONT or i.unit in ("%", *_WINDOW) for i in items)
    if not known or not _BLANK.match(text, place):
        units = ", ".join([u for u in _PIXELS if u] + [*_FONT, *_WINDOW])
        raise ValueError(f"length {text[:40]!r} is not a number with a unit of {units} or %")
    return tuple(items)


def parse_length(text: str) -> Length:
    """One number with its unit.

    Raises:
        ValueError: if the text is anything else.
    """
    found = parse_lengths(text)
    if len(found) != 1 or "," in text:
        raise ValueError(f"length {text[:40]!r} is not a number with a unit")
    return found[0]


def parse_functions(text: str) -> tuple[Function, ...]:
    """The functions of a transform; () for "none".

    Raises:
        ValueError: if the text is no list of SVG's or CSS's functions of the plane.
    """
    if text.strip().lower() == "none":
        return ()
    out: list[Function] = []
    place = 0
    while found := _FUNCTION.match(text, place):
        items, end = _items(found[2])
        if not _BLANK.match(found[2], end):
            raise ValueError(f"transform: {found[2][:40]!r} is not a list of numbers")
        function = (found[1].lower(), tuple(items))
        _matrix(function, _NOWHERE, 16.0)  # refuses unknown names, counts and units
        out.append(function)
        place = found.end()
    if not _BLANK.match(text, place):
        raise ValueError(f"transform: expected a function at {text[place : place + 20]!r}")
    return tuple(out)


_NOWHERE = View(1.0, 1.0, (1.0, 1.0))


def parse_transform(text: str) -> Tensor | None:
    """The (2, 3) matrix of a transform attribute; None for the identity."""
    return tensor_of(matrix_of(parse_functions(text), _NOWHERE))


def multiply(m: Matrix, n: Matrix) -> Matrix:
    """The map that applies `n` and then `m`."""
    a, b, c, d, e, f = m
    p, q, r, s, t, u = n
    return (
        a * p + c * q, b * p + d * q, a * r + c * s, b * r + d * s,
        a * t + c * u + e, b * t + d * u + f,
    )  # fmt: skip


def matrix_of(functions: Sequence[Function], view: View, em: float = 16.0) -> Matrix:
    """What a list of transform functions does, the last one first."""
    total = IDENTITY
    for function in functions:
        total = multiply(total, _matrix(function, view, em))
    if not all(abs(v) < MOST for v in total):
        raise Refused(f"the numbers of a transform are not below {MOST:.0e}")
    return total


def tensor_of(matrix: Matrix) -> Tensor | None:
    """As a tensor (2, 3); None for the identity."""
    if matrix == IDENTITY:
        return None
    a, b, c, d, e, f = matrix
    return torch.tensor([[a, c, e], [b, d, f]])


def _matrix(function: Function, view: View, em: float) -> Matrix:
    name, items = function

    def number(i: int) -> float:
        item = items[i]
        if item.unit not in ("", "%"):
            raise ValueError(f"transform: {name} takes plain numbers, not {item.unit}")
        return item.number / 100 if item.unit == "%" else item.number

    def length(i: int, whole: float) -> float:
        if items[i].unit in _DEGREES and items[i].unit:
            raise ValueError(f"transform: {name} takes lengths, not {items[i].unit}")
        return view.pixels(items[i], whole, em)

    def radians(i: int) -> float:
        if items[i].unit not in _DEGREES:
            raise ValueError(f"transform: {name} takes angles, not {items[i].unit}")
        return math.radians(items[i].number * _DEGREES[items[i].unit])

    match name, len(items):
        case "matrix", 6:
            a, b, c, d = (number(i) for i in range(4))
            return a, b, c, d, length(4, 0.0), length(5, 0.0)
        case "translate", 1 | 2:
            down = length(1, view.height) if len(items) == 2 else 0.0
            return 1.0, 0.0, 0.0, 1.0, length(0, view.width), down
        case "translatex", 1:
            return 1.0, 0.0, 0.0, 1.0, length(0, view.width), 0.0
        case "translatey", 1:
            return 1.0, 0.0, 0.0, 1.0, 0.0, length(0, view.height)
        # Seen from straight above, without perspective.
        case "translate3d", 3:
            return 1.0, 0.0, 0.0, 1.0, length(0, view.width), length(1, view.height)
        case "translatez" | "scalez", 1:
            return IDENTITY
        case "scale", 1 | 2:
            return number(0), 0.0, 0.0, number(len(items) - 1), 0.0, 0.0
        case "scalex", 1:
            return number(0), 0.0, 0.0, 1.0, 0.0, 0.0
        case "scaley", 1:
            return 1.0, 0.0, 0.0, number(0), 0.0, 0.0
        case "scale3d", 3:
            return number(0), 0.0, 0.0, number(1), 0.0, 0.0
        case "rotatez", 1:
            return _matrix(("rotate", items), view, em)
        case "rotate", 1 | 3:
            c, s = math.cos(radians(0)), math.sin(radians(0))
            x, y = (length(1, 0.0), length(2, 0.0)) if len(items) == 3 else (0.0, 0.0)
            return c, s, -s, c, x - c * x + s * y, y - s * x - c * y
        case "skew", 1 | 2:
            down = math.tan(radians(1)) if len(items) == 2 else 0.0
            return 1.0, down, math.tan(radians(0)), 1.0, 0.0, 0.0
        case "skewx", 1:
            return 1.0, 0.0, math.tan(radians(0)), 1.0, 0.0, 0.0
        case "skewy", 1:
            return 1.0, math.tan(radians(0)), 0.0, 1.0, 0.0, 0.0
    raise ValueError(f"transform: {name} with {len(items)} numbers is not in SVG")
