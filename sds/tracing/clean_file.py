"""The text of a drawing's file as a designer opens it: titled, with short numbers."""

import re
from xml.sax.saxutils import escape

from scorefield.sds.vector import Document, svg_text

__all__ = ["clean_svg"]

_DIGITS = 5


def clean_svg(document: Document, title: str | None = None) -> str:
    """The SVG file of a document, with a title for screen readers and relative path commands.

    Coordinates of paths are rounded to a tenth of a user unit.

    title: what the drawing shows; None writes no title.
    """
    text = re.sub(r' d="([^"]*)"', lambda m: f' d="{_relative(m[1])}"', svg_text(document, _DIGITS))
    if not title:
        return text
    head, _, rest = text.partition("\n")
    return f'{head[:-1]} role="img">\n  <title>{escape(title)}</title>\n{rest}'


def _relative(data: str) -> str:
    """The path data with relative commands in tenths, without needless characters."""
    here, start = (0, 0), (0, 0)
    out = ""
    for command, words in re.findall(r"([MLCQZ])([^MLCQZ]*)", data):
        numbers = [round(10 * float(word)) for word in re.findall(r"-?[\d.]+(?:e-?\d+)?", words)]
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
            if letter != _last_letter(out) or letter in "Mm":
                out += letter
            out = _joined(
                out, [v - o for point in group for v, o in zip(point, origin, strict=True)]
            )
            here = group[-1]
            if command == "M":
                start = here
    return out


def _last_letter(out: str) -> str:
    letters = re.findall(r"[a-zA-Z]", out)
    return letters[-1] if letters else ""


def _joined(out: str, tenths: list[int]) -> str:
    """The numbers after what is there, a space only where they would run together."""
    for value in tenths:
        whole, tenth = divmod(abs(value), 10)
        word = ("-" if value < 0 else "") + (str(whole) if whole or not tenth else "")
        word += f".{tenth}" if tenth else ""
        spaced = out[-1].isdigit() and not word.startswith("-")
        if spaced and word.startswith(".") and "." in re.split(r"[ a-zA-Z-]", out)[-1]:
            spaced = False
        out += (" " if spaced else "") + word
    return out
