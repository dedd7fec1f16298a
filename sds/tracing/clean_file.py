"""The text of a drawing's file as a designer opens it: titled, grouped, with short numbers."""

import math
import re
import xml.etree.ElementTree as ET
from xml.sax.saxutils import escape

from scorefield.sds.tracing.colour_names import colour_name
from scorefield.sds.vector import Document, ViewBox, svg_text

__all__ = ["clean_svg", "decimals"]

_FINENESS = 800
"""At least so many steps of the coordinates span the longer side of a view box."""

_LENGTHS = {
    "x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "fx", "fy", "r", "rx", "ry", "width", "height",
    "stroke-width",
}  # fmt: skip
_PAINTS = ("fill", "stroke", "stroke-linecap", "stroke-linejoin")
_SVG = "{http://www.w3.org/2000/svg}"


def clean_svg(document: Document, title: str | None = None, description: str = "") -> str:
    """The SVG file of a document: its palette as classes, its paths in short relative commands.

    Every flat colour is a class named by it, such as ``.dark-red``, so that it is changed in one
    place. Shapes of one look in a group have it from their group. Numbers are rounded to a power of
    ten of which at least 800 span the longer side of the view box.

    title: what the drawing shows, for screen readers; None writes no title.
    description: more of it, the file's ``desc``; without one, its shapes and colours if there is a
        title.
    """
    digits = decimals(document.view_box)
    ET.register_namespace("", _SVG[1:-1])
    ET.register_namespace("inkscape", "http://www.inkscape.org/namespaces/inkscape")
    root = ET.fromstring(svg_text(document))
    for element in root.iter():
        for name, value in element.attrib.items():
            if name == "d":
                element.set(name, _relative(value, digits))
            elif name in _LENGTHS and re.fullmatch(r"-?[\d.]+(e-?\d+)?", value):
                number = round(float(value), digits + (name == "stroke-width"))
                element.set(name, f"{number:.10g}")
    drawn = [child for child in root if child.tag != f"{_SVG}defs"]
    names = _classes([element for child in drawn for element in child.iter()])
    for group in root.iter(f"{_SVG}g"):
        looks = {child.get("class") for child in group}
        if len(looks) == 1 and None not in looks and group.get("class") is None:
            group.set("class", looks.pop() or "")
            for child in group:
                del child.attrib["class"]
    head = []
    if title:
        root.set("role", "img")
        head.append(f"<title>{escape(title)}</title>")
        head.append(f"<desc>{escape(description or _described(document, names))}</desc>")
    if names:
        rules = "".join(f".{name}{{{look}}}" for look, name in names.items())
        head.append(f"<style>{rules}</style>")
    text = re.sub(r">\s+<", ">\n<", ET.tostring(root, encoding="unicode")).replace(" />", "/>")
    first, _, rest = text.strip().partition("\n")
    return "\n".join([first, *head, rest]) + "\n"


def decimals(box: ViewBox) -> int:
    """Digits after the point of which at least 800 steps span the longer side of a view box."""
    return max(0, math.ceil(math.log10(_FINENESS / max(box.width, box.height))))


def _classes(elements: list[ET.Element]) -> dict[str, str]:
    """Gives each element of a flat colour a class instead; returns the names by what they say."""
    found: dict[str, str] = {}
    for element in elements:
        fill, stroke = element.get("fill", ""), element.get("stroke", "none")
        flat = stroke if fill == "none" else fill
        if not flat.startswith("#") or (fill != "none" and stroke != "none"):
            continue
        if element.tag == f"{_SVG}rect" and element.get("id") == "background":
            continue
        parts = [(name, element.attrib.pop(name)) for name in _PAINTS if name in element.attrib]
        look = ";".join(f"{name}:{_short(value)}" for name, value in parts)
        if look not in found:
            rgb = [int(flat[k : k + 2], 16) / 255 for k in (1, 3, 5)]
            name = colour_name(rgb) + ("-line" if fill == "none" else "")
            taken = set(found.values())
            numbered = (f"{name}-{number}" for number in range(2, len(taken) + 3))
            found[look] = name if name not in taken else next(n for n in numbered if n not in taken)
        element.set("class", found[look])
    return found


def _short(colour: str) -> str:
    """#aabbcc as #abc; other values as they are."""
    same = colour[:1] == "#" and len(colour) == 7 and colour[1::2] == colour[2::2]
    return "#" + colour[1::2] if same else colour


def _described(document: Document, names: dict[str, str]) -> str:
    count = sum(1 for _ in document.shapes())
    colours = [name.replace("-", " ") for name in names.values() if not name[-1].isdigit()]
    shapes = "1 shape" if count == 1 else f"{count} shapes"
    return shapes + (f" in {', '.join(colours)}" if colours else "")


def _relative(data: str, digits: int) -> str:
    """The path data with relative commands, rounded, without needless characters."""
    here, start = (0, 0), (0, 0)
    out = ""
    for command, words in re.findall(r"([MLCQZ])([^MLCQZ]*)", data):
        found = re.findall(r"-?[\d.]+(?:e-?\d+)?", words)
        numbers = [round(10**digits * float(word)) for word in found]
        points = list(zip(numbers[::2], numbers[1::2], strict=True))
        if command == "Z":
            out, here = out + "z", start
            continue
        step = {"C": 3, "Q": 2}.get(command, 1)
        for first in range(0, len(points), step):
            group = points[first : first + step]
            absolute = command == "M" and not out
            origin = (0, 0) if absolute else here
            letter = command if absolute else command.lower()
            moves = [v - o for point in group for v, o in zip(point, origin, strict=True)]
            if letter == "l" and 0 in moves:
                letter, moves = ("v", moves[1:]) if moves[0] == 0 else ("h", moves[:1])
            if letter != _last_letter(out) or letter in "Mm":
                out += letter
            out = _joined(out, moves, digits)
            here = group[-1]
            if command == "M":
                start = here
    return out


def _last_letter(out: str) -> str:
    letters = re.findall(r"[a-zA-Z]", out[-200:])
    return letters[-1] if letters else ""


def _joined(out: str, values: list[int], digits: int) -> str:
    """The numbers after what is there, a space only where they would run together."""
    for value in values:
        whole, rest = divmod(abs(value), 10**digits)
        part = f"{rest:0{digits}d}".rstrip("0") if rest else ""
        word = ("-" if value < 0 else "") + (str(whole) if whole or not part else "")
        word += f".{part}" if part else ""
        spaced = out[-1].isdigit() and not word.startswith("-")
        if spaced and word.startswith(".") and "." in re.split(r"[ a-zA-Z-]", out[-20:])[-1]:
            spaced = False
        out += (" " if spaced else "") + word
    return out
