"""Whether a media query holds for a still image on a screen, in colour, in a light scheme."""

import re

from scorefield.sds.vector.reading.values import View, parse_length

__all__ = ["media_applies"]

_FEATURE = re.compile(r"\(\s*+([\w-]++)\s*+(?::\s*+([^()]*+))?\)")
_TYPES = {"all": True, "screen": True, "print": False, "speech": False}
_PREFERRED = {
    "prefers-color-scheme": "light",
    "prefers-reduced-motion": "no-preference",
    "prefers-contrast": "no-preference",
    "forced-colors": "none",
    "inverted-colors": "none",
    "scripting": "none",
    "hover": "none",
    "any-hover": "none",
    "update": "none",
}


def media_applies(query: str, window: tuple[float, float]) -> bool | None:
    """Whether any of the queries of a list holds; None if one is not understood and none holds.

    Args:
        query: the list, separated by commas.
        window: width and height of the image.
    """
    if not query.strip():
        return True
    found = [_one(part.strip().lower(), window) for part in query.split(",")]
    if any(found):
        return True
    return None if None in found else False


def _one(query: str, window: tuple[float, float]) -> bool | None:
    negated = query.startswith("not ")
    query = query.removeprefix("not ").removeprefix("only ")
    answers: list[bool | None] = []
    for part in re.split(r"\s+and\s+", query):
        feature = _FEATURE.fullmatch(part.strip())
        if feature:
            answers.append(_feature(feature[1], (feature[2] or "").strip(), window))
        else:
            answers.append(_TYPES.get(part.strip()))
    if False in answers:
        return negated
    return None if None in answers else not negated


def _feature(name: str, value: str, window: tuple[float, float]) -> bool | None:
    width, height = window
    if name in _PREFERRED:
        return value == _PREFERRED[name]
    if name == "orientation":
        return value == ("portrait" if height >= width else "landscape")
    if name in ("color", "grid", "monochrome") and not value:
        return name == "color"
    limit, _, side = name.rpartition("-")
    if side not in ("width", "height") or limit not in ("", "min", "max"):
        return None
    try:
        wanted = View(width, height, window).pixels(parse_length(value), 0.0)
    except ValueError:
        return None
    has = width if side == "width" else height
    return {"min": has >= wanted, "max": has <= wanted, "": has == wanted}[limit]
