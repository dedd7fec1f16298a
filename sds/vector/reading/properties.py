"""The properties that are read: their values' grammar, what they are at first, what is inherited.

SVG 2, appendix "Property index", and CSS Masking and Transforms.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

from scorefield.sds.vector.blending import BlendMode
from scorefield.sds.vector.reading.colour import parse_colour
from scorefield.sds.vector.reading.values import (
    Function,
    Length,
    Refused,
    parse_functions,
    parse_length,
    parse_lengths,
    parse_numbers,
)

__all__ = [
    "CONTEXT", "CURRENT", "INHERITED", "NAMED", "PROPERTIES", "PaintValue", "longhands", "parsed",
]  # fmt: skip

RGBA = tuple[float, float, float, float]
CURRENT = "currentcolor"
CONTEXT = ("context-fill", "context-stroke")
"""What is painted as the shape that a marker is on, or as the `use` that shows an element."""


class Property(NamedTuple):
    """How a value is read, what stands where there is none, and whether children take it over."""

    parse: Callable[[str], Any]
    initial: Any
    inherited: bool = False


class PaintValue(NamedTuple):
    """A link to a paint server, or the colour where there is none or it leads nowhere.

    colour: RGBA, "currentcolor", one of `CONTEXT`, or None for no paint.
    """

    colour: RGBA | str | None
    link: str | None = None


_URL = re.compile(r"""url\(\s*+(?:"([^"]*+)"|'([^']*+)'|([^"'()]*+))\s*+\)\s*+""", re.IGNORECASE)
_PATH = re.compile(r"""path\(\s*+(?:"([^"]*+)"|'([^']*+)')\s*+\)""", re.IGNORECASE)
_SIZES = {
    "xx-small": 9.0, "x-small": 10.0, "small": 13.0, "medium": 16.0, "large": 18.0,
    "x-large": 24.0, "xx-large": 32.0,
}  # fmt: skip
_HALVES = {"left": 0.0, "top": 0.0, "center": 50.0, "right": 100.0, "bottom": 100.0}


def _link(text: str) -> tuple[str | None, str]:
    """The id that the url() a value begins with links to, and the rest; None without one."""
    found = _URL.match(text)
    if not found:
        return None, text
    target = next(group for group in found.groups() if group is not None).strip()
    if not target.startswith("#"):
        raise Refused(f"a property refers to {target[:80]!r}; only #ids are followed")
    return target[1:], text[found.end() :]


def _only_link(text: str) -> str | None:
    link, rest = _link(text)
    if rest or (link is None and text):
        if text.lower() == "none":
            return None
        raise ValueError(f"{text[:40]!r} is not a link")
    return link


def _colour(text: str) -> RGBA | str:
    return CURRENT if text.lower() == CURRENT else parse_colour(text)


def _paint(text: str) -> PaintValue:
    link, rest = _link(text)
    rest = rest.strip()
    if rest.lower() == "none" or (link and not rest):
        return PaintValue(None, link)
    if rest.lower() in CONTEXT:
        return PaintValue(rest.lower(), link)
    return PaintValue(_colour(rest), link)


def _share(text: str) -> float:
    length = parse_length(text)
    if length.unit not in ("", "%"):
        raise ValueError(f"{text[:40]!r} is not a share")
    return min(1.0, max(0.0, length.number / (100 if length.unit else 1)))


def _number(text: str) -> float:
    (number,) = parse_numbers(text)
    return number


def _positive(text: str) -> Length:
    length = parse_length(text)
    if length.number < 0:
        raise ValueError(f"length {text[:40]!r} is negative")
    return length


def _or_auto(parse: Callable[[str], Length]) -> Callable[[str], Length | None]:
    return lambda text: None if text.lower() == "auto" else parse(text)


def _dashes(text: str) -> tuple[Length, ...]:
    lengths = () if text.lower() == "none" else parse_lengths(text)
    if any(length.number < 0 for length in lengths) or not text:
        raise ValueError(f"dashes {text[:40]!r} are not lengths")
    return lengths


def _size(text: str) -> Length:
    if text.lower() in ("smaller", "larger"):
        return Length(1 / 1.2 if text.lower() == "smaller" else 1.2, "em")
    return Length(_SIZES[text.lower()]) if text.lower() in _SIZES else _positive(text)


def _origin(text: str) -> tuple[Length, Length]:
    words = text.lower().split()
    if not words or len(words) > 3:
        raise ValueError(f"{text[:40]!r} is not a place")
    if len(words) == 1:
        words = ["center", *words] if words[0] in ("top", "bottom") else [*words, "center"]
    x, y = words[:2]
    if x in ("top", "bottom") or y in ("left", "right"):
        x, y = y, x
    if x in ("top", "bottom") or y in ("left", "right"):
        raise ValueError(f"{text[:40]!r} is not a place")
    a, b = (Length(_HALVES[w], "%") if w in _HALVES else parse_length(w) for w in (x, y))
    return a, b


def _one_function(name: str) -> Callable[[str], tuple[Function, ...]]:
    """A property that is a function of `transform` without its name."""

    def parse(text: str) -> tuple[Function, ...]:
        if text.lower() == "none":
            return ()
        if set(text) & set("(),"):
            raise ValueError(f"{text[:40]!r} is not a {name}")
        return parse_functions(f"{name}({text})")

    return parse


def _order(text: str) -> tuple[str, ...]:
    usual = ("fill", "stroke", "markers")
    words = () if text.lower() == "normal" else tuple(text.lower().split())
    if any(w not in usual for w in words) or len(set(words)) < len(words) or not text:
        raise ValueError(f"{text[:40]!r} is not an order of fill, stroke and markers")
    return words + tuple(w for w in usual if w not in words)


def _data(text: str) -> str:
    if text.lower() == "none":
        return ""
    found = _PATH.fullmatch(text)
    if not found:
        raise ValueError(f"{text[:40]!r} is not a path")
    return found[1] if found[1] is not None else found[2]


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text.lower() not in words:
            raise ValueError(f"{text[:40]!r} is not one of {', '.join(words)}")
        return text.lower()

    return parse


def _anything(text: str) -> str:
    if not text:
        raise ValueError("no value")
    return text.lower()


_ZERO = Length(0.0)
_BLACK = (0.0, 0.0, 0.0, 1.0)
_RULE = Property(_one_of("nonzero", "evenodd"), "nonzero", True)
_PLACE = Property(parse_length, _ZERO)
_EXTENT = Property(_or_auto(_positive), None)

NAMED = ("clip", "mask-image", "mask-mode", "offset-path", "zoom")
"""Properties that change the image and are not drawn."""

PROPERTIES: dict[str, Property] = {
    **{name: Property(_anything, "none") for name in ("background", "background-color", *NAMED)},
    "clip-path": Property(_only_link, None),
    "clip-rule": _RULE,
    "color": Property(_colour, _BLACK, True),
    "color-interpolation": Property(_one_of("auto", "srgb", "linearrgb"), "srgb", True),
    "cx": _PLACE,
    "cy": _PLACE,
    "d": Property(_data, None),
    "display": Property(_anything, "inline"),
    "fill": Property(_paint, PaintValue(_BLACK), True),
    "fill-opacity": Property(_share, 1.0, True),
    "fill-rule": _RULE,
    "filter": Property(_anything, "none"),
    "font-size": Property(_size, Length(16.0), True),
    "height": _EXTENT,
    "isolation": Property(_one_of("auto", "isolate"), "auto"),
    "marker-end": Property(_only_link, None, True),
    "marker-mid": Property(_only_link, None, True),
    "marker-start": Property(_only_link, None, True),
    "mask": Property(_only_link, None),
    "mask-type": Property(_one_of("luminance", "alpha"), "luminance"),
    "mix-blend-mode": Property(_one_of(*(mode.value for mode in BlendMode)), "normal"),
    "opacity": Property(_share, 1.0),
    "overflow": Property(_one_of("visible", "hidden", "scroll", "auto", "clip"), None),
    "paint-order": Property(_order, ("fill", "stroke", "markers"), True),
    "r": Property(_positive, _ZERO),
    "rotate": Property(_one_function("rotate"), ()),
    "rx": _EXTENT,
    "ry": _EXTENT,
    "scale": Property(_one_function("scale"), ()),
    "shape-rendering": Property(
        _one_of("auto", "optimizespeed", "crispedges", "geometricprecision"), "auto", True
    ),
    "stop-color": Property(_colour, _BLACK),
    "stop-opacity": Property(_share, 1.0),
    "stroke": Property(_paint, PaintValue(None), True),
    "stroke-dasharray": Property(_dashes, (), True),
    "stroke-dashoffset": Property(parse_length, _ZERO, True),
    "stroke-linecap": Property(_one_of("butt", "round", "square"), "butt", True),
    "stroke-linejoin": Property(
        _one_of("miter", "round", "bevel", "miter-clip", "arcs"), "miter", True
    ),
    "stroke-miterlimit": Property(_number, 4.0, True),
    "stroke-opacity": Property(_share, 1.0, True),
    "stroke-width": Property(_positive, Length(1.0), True),
    "transform": Property(parse_functions, ()),
    "transform-box": Property(
        _one_of("view-box", "fill-box", "stroke-box", "content-box", "border-box"), "view-box"
    ),
    "transform-origin": Property(_origin, (_ZERO, _ZERO)),
    "translate": Property(_one_function("translate"), ()),
    "vector-effect": Property(_anything, "none"),
    "visibility": Property(_one_of("visible", "hidden", "collapse"), "visible", True),
    "width": _EXTENT,
    "x": _PLACE,
    "y": _PLACE,
}
INHERITED = frozenset(name for name, found in PROPERTIES.items() if found.inherited)
_SHORTHANDS = {"marker": ("marker-start", "marker-mid", "marker-end")}
_FONT = re.compile(
    r"(?:[\w-]+\s+)*?((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?(?:[a-z]+|%)|larger|smaller|"
    rf"{'|'.join(_SIZES)})(?:\s*/\s*\S+)?\s+\S.*",
    re.IGNORECASE | re.DOTALL,
)


def longhands(name: str, text: str) -> dict[str, str]:
    """What a declaration says of the properties that are read, by their names.

    Of the shorthand `font` that is the size, which stands before the family (CSS Fonts 4, 2.7).
    """
    if name == "font":
        found = _FONT.fullmatch(text.strip()) if len(text) < 256 else None
        wide = text.strip().lower() in ("inherit", "initial", "unset", "revert", "revert-layer")
        return {"font-size": found[1] if found else text} if found or wide else {}
    return dict.fromkeys(_SHORTHANDS.get(name, (name,)), text)


@lru_cache(maxsize=8192)
def parsed(name: str, text: str) -> Any:
    """The value of a property; the ValueError, not raised, if the text is none.

    Raises:
        Refused: if the file that says so is refused.
    """
    try:
        return PROPERTIES[name].parse(text)
    except Refused:
        raise
    except ValueError as error:
        return error
