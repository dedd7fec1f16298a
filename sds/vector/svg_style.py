"""Values of SVG attributes: lengths, colours, transforms, and the cascade of styles."""

import math
import re
from collections.abc import Mapping
from xml.etree.ElementTree import Element

import torch
from PIL import ImageColor
from torch import Tensor

__all__ = ["StyleSheet", "declarations", "parse_colour", "parse_length", "parse_transform"]

MOST = 1e30
"""No number of a file may reach it: what is infinite could not be drawn."""

_UNITS = {
    "": 1.0, "px": 1.0, "pt": 4 / 3, "pc": 16.0, "in": 96.0, "cm": 96 / 2.54, "mm": 96 / 25.4,
    "q": 96 / 101.6, "em": 16.0, "rem": 16.0, "ex": 8.0,
}  # fmt: skip
_URL = re.compile(r"url\(\s*+['\"]?+\s*+(?!#)")  # of anything but an #id of the same file
_SELECTOR = re.compile(r"\s*+(\*|([.#]?)[\w-]++)\s*+")
_LENGTH = re.compile(
    r"([+-]?(?:\d++\.?+\d*+|\.\d++)(?:[eE][+-]?\d++)?+)\s*+(%|[a-zA-Z]*+)"
)  # possessive: what does not match is not tried in other ways
_FUNCTION = re.compile(r"[\s,]*([a-zA-Z]+)\s*\(([^()]*)\)")


def parse_length(text: str, whole: float | int) -> float:
    """A length in user units; a percentage is of `whole`."""
    found = _LENGTH.fullmatch(text.strip())
    unit = found[2].lower() if found else ""
    if found and (unit == "%" or unit in _UNITS):
        length = float(found[1]) * (whole / 100 if unit == "%" else _UNITS[unit])
        if not abs(length) < MOST:
            raise ValueError(f"length {text[:20]!r} is not below {MOST:.0e}")
        return length
    raise ValueError(
        f"length {text[:40]!r} is not a number with a unit of "
        f"{', '.join(filter(None, _UNITS))} or %"
    )


def parse_number(text: str) -> float:
    """A number or a percentage."""
    return parse_length(text, 1.0)


def parse_colour(text: str) -> tuple[float, float, float, float]:
    """RGBA in [0, 1] of a CSS colour: a name, #rgb, #rrggbb, with alpha, rgb(), rgba(), hsl()."""
    text = text.strip().lower()
    if text == "transparent":
        return 0.0, 0.0, 0.0, 0.0
    found = re.fullmatch(r"rgba?\((.*)\)", text)
    if found:
        words = [w for w in re.split(r"[\s,/]+", found[1].strip()) if w]
        if len(words) in (3, 4):
            rgb = [parse_length(w, 255.0) / 255 for w in words[:3]]
            alpha = parse_number(words[3]) if len(words) == 4 else 1.0
            r, g, b, a = (min(1.0, max(0.0, v)) for v in (*rgb, alpha))
            return r, g, b, a
    try:
        values = ImageColor.getrgb(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a CSS colour; use a name, #rrggbb or rgb()") from None
    r, g, b, a = (v / 255 for v in (*values, 255)[:4])
    return r, g, b, a


def parse_transform(text: str) -> Tensor | None:
    """The (2, 3) matrix of a transform attribute; None for the identity."""
    total = torch.eye(3, dtype=torch.float64)
    place = 0
    while text[place:].strip(" \t\r\n,"):
        found = _FUNCTION.match(text, place)
        if not found:
            raise ValueError(f"transform: expected a function at {text[place : place + 20]!r}")
        place = found.end()
        words = [w for w in re.split(r"[\s,]+", found[2].strip()) if w]
        values = [parse_number(re.sub("deg$|px$", "", w)) for w in words]
        total = total @ _function(found[1], values)
    if bool((total == torch.eye(3)).all()):
        return None
    return total[:2].float()


def _function(name: str, v: list[float]) -> Tensor:
    rows: list[list[float]]
    match name, len(v):
        case "matrix", 6:
            rows = [[v[0], v[2], v[4]], [v[1], v[3], v[5]]]
        case "translate", 1 | 2:
            rows = [[1, 0, v[0]], [0, 1, v[1] if len(v) == 2 else 0]]
        case "scale", 1 | 2:
            rows = [[v[0], 0, 0], [0, v[-1], 0]]
        case "rotate", 1 | 3:
            c, s = math.cos(math.radians(v[0])), math.sin(math.radians(v[0]))
            x, y = v[1:] or (0.0, 0.0)
            rows = [[c, -s, x - c * x + s * y], [s, c, y - s * x - c * y]]
        case "skewX", 1:
            rows = [[1, math.tan(math.radians(v[0])), 0], [0, 1, 0]]
        case "skewY", 1:
            rows = [[1, 0, 0], [math.tan(math.radians(v[0])), 1, 0]]
        case _:
            raise ValueError(f"transform: {name} with {len(v)} numbers is not in SVG")
    return torch.tensor([*rows, [0, 0, 1]], dtype=torch.float64)


def declarations(text: str) -> dict[str, str]:
    """The properties of `a: b; c: d`."""
    out = {}
    for part in _without_comments(text).split(";"):
        name, colon, value = part.partition(":")
        if colon:
            out[name.strip().lower()] = value.replace("!important", "").strip()
    return out


def _without_comments(text: str) -> str:
    """CSS without its comments; one that does not end goes on to the end, as CSS has it."""
    before, *rest = text.split("/*")
    return before + "".join(part.partition("*/")[2] for part in rest)


class StyleSheet:
    """Rules of <style> elements whose selectors are an element, a .class, an #id or *.

    Rules apply in the order of their specificity and then of the file. What other selectors say
    is left out, and named in `skipped`.
    """

    def __init__(self) -> None:
        # By selector: specificity, number in the file, properties.
        self._rules: dict[str, list[tuple[int, int, dict[str, str]]]] = {}
        self._count = 0
        self.skipped: list[str] = []

    def add(self, text: str) -> None:
        """Read a <style> element."""
        text = _without_comments(text).replace("<!--", "").replace("-->", "")
        if "@import" in text or _URL.search(text):
            raise ValueError("the style sheet refers to other files; only #ids are followed")
        for rule in text.split("}")[:-1]:
            selectors, brace, body = rule.rpartition("{")
            if not brace:
                continue
            properties = declarations(body)
            for selector in selectors.rpartition("{")[2].split(","):
                found = _SELECTOR.fullmatch(selector)
                if found is None:
                    self.skipped.append(selector.strip())
                    continue
                rank = {"#": 3, ".": 2}.get(found[2] or "", 0 if found[1] == "*" else 1)
                self._count += 1
                self._rules.setdefault(found[1], []).append((rank, self._count, properties))

    def of(self, element: Element, tag: str) -> Mapping[str, str]:
        """The properties an element has: attributes, then rules, then its style attribute."""
        out = {k: v.strip() for k, v in element.attrib.items() if "}" not in k}
        names = {"*", tag, "#" + out.get("id", "")}
        names |= {"." + name for name in out.get("class", "").split()}
        rules = [rule for name in names for rule in self._rules.get(name, ())]
        for _, _, properties in sorted(rules, key=lambda rule: rule[:2]):
            out.update(properties)
        out.update(declarations(out.get("style", "")))
        return out
