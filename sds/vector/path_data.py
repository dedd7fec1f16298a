"""The `d` attribute of SVG paths, in and out (SVG 2, chapter 9)."""

import math
import re
from collections.abc import Callable

import torch
from torch import Tensor

from scorefield.sds.vector.geometry import Path, Subpath
from scorefield.sds.vector.reading.values import NUMBER

__all__ = ["drawn_part", "format_path", "parse_path"]

_NUMBER = re.compile(rf"[\s,]*+({NUMBER})")
_FLAG = re.compile(r"[\s,]*+([01])")
_COMMAND = re.compile(r"[\s,]*+([MmZzLlHhVvCcSsQqTtAa])")
_BLANK = re.compile(r"[\s,]*+$")
_ARITY = {"M": 2, "L": 2, "H": 1, "V": 1, "C": 6, "S": 4, "Q": 4, "T": 2, "A": 7, "Z": 0}

Point = tuple[float, float]


class _Pen:
    """Where the pen is and what it has drawn."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.subpaths: list[Subpath] = []
        self.inner: list[int] = []
        self.current: list[Point] = []
        self.at: Point = (0.0, 0.0)
        self.start: Point = (0.0, 0.0)
        self.control: Point | None = None  # the last inner control point, for S and T
        self.control_of = ""
        self.relative = False  # whether the last segment was given by steps

    def move(self, to: Point) -> None:
        self.finish()
        self.at = self.start = to

    def draw(self, *points: Point) -> None:
        """A segment through inner control points to an anchor."""
        if not self.current:
            self.current = [self.at]
        self.current += points
        self.inner.append(len(points) - 1)
        self.at = points[-1]

    def close(self) -> None:
        if not self.current:
            self.current = [self.at]
        (x, y), (x0, y0) = self.at, self.start
        # Steps that are added up end near where they began, numbers that are given exactly there.
        size = max(max(map(abs, point)) for point in self.current)
        near = 1e-9 * size if self.relative else 0.0
        if self.inner and abs(x - x0) <= near and abs(y - y0) <= near:
            self.current.pop()  # the last segment already ends in the first anchor
        else:
            self.inner.append(0)
        self.points += self.current
        self.subpaths.append(Subpath(tuple(self.inner), closed=True))
        self.inner, self.current = [], []
        self.at = self.start

    def finish(self) -> None:
        """End an open subpath; a lone move draws nothing."""
        if self.inner:
            self.points += self.current
            self.subpaths.append(Subpath(tuple(self.inner)))
        self.inner, self.current = [], []

    def mirrored(self, kinds: str) -> Point:
        """The last control point mirrored at the pen, or the pen where there was none."""
        if self.control is None or self.control_of not in kinds:
            return self.at
        return 2 * self.at[0] - self.control[0], 2 * self.at[1] - self.control[1]


def parse_path(data: str) -> Path:
    """The path of a `d` attribute; all commands, absolute and relative.

    Arcs become cubics (at most a quarter turn each), other segments stay what they are.

    Raises:
        ValueError: if the data breaks the grammar, with the place where.
    """
    path, error = drawn_part(data)
    if error is not None:
        raise error
    return path


def drawn_part(data: str) -> tuple[Path, ValueError | None]:
    """The path up to the first error, as SVG draws it, and the error; None if there is none."""
    pen, place, previous = _Pen(), 0, ""
    error: ValueError | None = None
    try:
        while not _BLANK.match(data, place):
            found = _COMMAND.match(data, place)
            if found:
                command, place = found[1], found.end()
            elif not previous or previous in "Zz":
                raise _fault(data, place, "a command")
            else:  # numbers go on: the same command again, and lines after a move
                command = {"M": "L", "m": "l"}.get(previous, previous)
            if not previous and command not in "Mm":
                raise _fault(data, place, "a path to begin with M or m")
            values, place = _values(data, place, command.upper())
            _draw(pen, command, values)
            previous = command
    except ValueError as caught:
        error = caught
    pen.finish()
    points = torch.tensor(pen.points, dtype=torch.float32).view(-1, 2)
    return Path(points, pen.subpaths), error


def _fault(data: str, place: int, wanted: str) -> ValueError:
    return ValueError(
        f"path data: expected {wanted} at character {place}, got {data[place : place + 20]!r}"
    )


def _values(data: str, place: int, command: str) -> tuple[list[float], int]:
    values = []
    for i in range(_ARITY[command]):
        flag = command == "A" and i in (3, 4)
        found = (_FLAG if flag else _NUMBER).match(data, place)
        if not found:
            raise _fault(data, place, "a flag 0 or 1" if flag else "a number")
        number = float(found[1])
        if not abs(number) < 1e30:
            raise _fault(data, place, "a number below 1e30")
        values.append(number)
        place = found.end()
    return values, place


def _draw(pen: _Pen, command: str, v: list[float]) -> None:
    kind = command.upper()
    dx, dy = pen.at if command.islower() else (0.0, 0.0)
    control: Point | None = None
    match kind:
        case "Z":
            pen.close()
        case "H":
            pen.draw((v[0] + dx, pen.at[1]))
        case "V":
            pen.draw((pen.at[0], v[0] + dy))
        case "A":
            to = (v[5] + dx, v[6] + dy)
            for points in _arc(pen.at, to, (v[0], v[1]), v[2], v[3] == 1, v[4] == 1):
                pen.draw(*points)
        case _:
            p = [(x + dx, y + dy) for x, y in zip(v[::2], v[1::2], strict=True)]
            if kind == "M":
                pen.move(p[0])
            elif kind == "L":
                pen.draw(p[0])
            elif kind in "CS":
                first = [pen.mirrored("CS")] if kind == "S" else []
                control = p[-2]
                pen.draw(*first, *p)
            else:
                control = pen.mirrored("QT") if kind == "T" else p[0]
                pen.draw(control, p[-1])
    pen.control, pen.control_of = control, kind
    pen.relative = command.islower()


def _arc(
    start: Point, end: Point, radii: Point, turn: float, large: bool, sweep: bool
) -> list[tuple[Point, ...]]:
    """An elliptic arc as cubics; the centre by SVG 2, appendix B.2.4, radii enlarged by B.2.5."""
    rx, ry = abs(radii[0]), abs(radii[1])
    if start == end:
        return []
    if rx == 0 or ry == 0:
        return [(end,)]
    phi = math.radians(turn)
    c, s = math.cos(phi), math.sin(phi)
    hx, hy = (start[0] - end[0]) / 2, (start[1] - end[1]) / 2
    x, y = c * hx + s * hy, -s * hx + c * hy
    stretch = math.sqrt(max(1.0, (x / rx) ** 2 + (y / ry) ** 2))
    rx, ry = rx * stretch, ry * stretch
    u, w = x / rx, y / ry
    off = math.sqrt(max(0.0, 1 / (u * u + w * w) - 1)) * (-1 if large == sweep else 1)
    cu, cw = off * w, -off * u  # the centre, on the unit circle's scale
    first, last = math.atan2(w - cw, u - cu), math.atan2(-w - cw, -u - cu)
    angle = last - first
    if sweep and angle < 0:
        angle += 2 * math.pi
    elif not sweep and angle > 0:
        angle -= 2 * math.pi
    mx, my = (start[0] + end[0]) / 2, (start[1] + end[1]) / 2

    def place(a: float, b: float) -> Point:
        a, b = rx * (a + cu), ry * (b + cw)
        return c * a - s * b + mx, s * a + c * b + my

    count = max(1, math.ceil(abs(angle) / (math.pi / 2) - 1e-9))
    reach = 4 / 3 * math.tan(angle / count / 4)
    out: list[tuple[Point, ...]] = []
    for i in range(count):
        a, b = first + angle * i / count, first + angle * (i + 1) / count
        ca, sa, cb, sb = math.cos(a), math.sin(a), math.cos(b), math.sin(b)
        to = end if i == count - 1 else place(cb, sb)
        out.append(
            (place(ca - reach * sa, sa + reach * ca), place(cb + reach * sb, sb - reach * cb), to)
        )
    return out


def format_path(path: Path, number: Callable[[float], str]) -> str:
    """The `d` attribute of a path, in absolute commands.

    Args:
        path: what to write.
        number: how to write a number.
    """
    texts = [f"{number(x)} {number(y)}" for x, y in _pairs(path.vertices)]
    words: list[str] = []
    base = 0
    for subpath in path.subpaths:
        points = texts[base : base + len(subpath)]
        base += len(subpath)
        if not subpath.inner:
            continue
        words.append("M" + points[0])
        at, drawn = 1, []
        for i, inner in enumerate(subpath.inner):
            ring = subpath.closed and i == len(subpath.inner) - 1
            run = points[at : at + inner] + ([points[0]] if ring else [points[at + inner]])
            at += inner + 1
            drawn.append("LQC"[inner] + " ".join(run))
        if subpath.closed:
            # Z draws the last line, and ends where the path began in any case.
            while drawn and drawn[-1] == "L" + points[0]:
                drawn.pop()
            drawn.append("Z")
        words += drawn
    return "".join(words)


def _pairs(points: Tensor) -> list[list[float]]:
    return points.detach().cpu().tolist()
