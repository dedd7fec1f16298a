"""Outlines of masks as few cubics: corners kept, the rest fitted by least squares.

The fit is Schneider's (1990, "An algorithm for automatically fitting digitized curves").
"""

import math
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from skimage import measure

__all__ = ["Points", "fit_chain", "fit_loop", "outlines"]

Points = Float[np.ndarray, "_ 2"]
"""Points (x, y), in pixels of the enlarged image."""

_BLUR = 1.0  # of masks, standard deviation in pixels
_CORNER = math.radians(50)
_ARM = 5.0  # pixels along the outline on both sides over which a corner turns
_STEP = 1.0  # between the points of an outline, pixels
_SHORTEST = 3  # points that a cubic always goes on for
_FITTED = 40  # points of a long piece that its cubic is fitted to


def outlines(mask: Bool[np.ndarray, "h w"]) -> list[Points]:
    """The closed outlines of a mask and of its holes, (x, y) in pixels, evenly spaced points."""
    padded = np.pad(mask.astype(float), 6, mode="edge")
    padded = np.pad(padded, 2)
    soft = ndimage.gaussian_filter(padded, _BLUR)
    found = []
    for contour in measure.find_contours(soft, 0.5):
        loop = contour[:-1, ::-1] - 8 + 0.5
        height, width = mask.shape
        loop = np.clip(loop, 0, (width, height))
        if len(loop) >= 8:
            found.append(_resampled(loop))
    return [loop for loop in found if len(loop) >= 6]


def _resampled(loop: Points) -> Points:
    ends = np.concatenate([loop, loop[:1]])
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(ends, axis=0), axis=1))])
    count = max(3, round(lengths[-1] / _STEP))
    at = np.linspace(0, lengths[-1], count, endpoint=False)
    return np.stack([np.interp(at, lengths, ends[:, k]) for k in range(2)], axis=1)


def fit_loop(loop: Points, tolerance: float) -> tuple[Points, tuple[int, ...]]:
    """Lines and cubics around a closed outline, its corners kept and made sharp again.

    Returns the points in drawing order, and of each segment the number inside it: 0 or 2.
    """
    corners = sorted(_corners(loop))
    smooth = not corners
    if smooth:
        # the farthest point from the middle: an end of a long shape, where it bends most
        first = int(np.linalg.norm(loop - loop.mean(0), axis=1).argmax())
        corners = [first, (first + len(loop) // 2) % len(loop)]
    places = [loop[k] if smooth else _sharpened(loop, k) for k in corners]
    points, inner = list[np.ndarray](), list[int]()
    for number, start in enumerate(corners):
        stop = corners[(number + 1) % len(corners)]
        stop += len(loop) if stop <= start else 0
        piece = loop[np.arange(start, stop + 1) % len(loop)]
        piece[0], piece[-1] = places[number], places[(number + 1) % len(corners)]
        ends = (_direction(loop, start), -_direction(loop, stop)) if smooth else None
        points.append(piece[0])
        for segment in fit_chain(piece, tolerance, ends):
            inner.append(len(segment) - 1)
            points.extend(segment)
        points.pop()  # it begins the next piece
    return np.array(points), tuple(inner)


def fit_chain(
    points: Points, tolerance: float, ends: tuple[np.ndarray, np.ndarray] | None = None
) -> list[Points]:
    """Lines and cubics from the first to the last point: of each the points after its first."""
    if ends is None:
        away = _away_from_line(points)
        if away.max() < 0.4 * tolerance:
            return [points[-1:]]
        ends = _unit(_near(points, 7) - points[0]), _unit(_near(points[::-1], 7) - points[-1])
        if len(points) > 20:  # the blur has rounded the first pixels of a corner
            ends = (
                _unit(_near(points, 8) - _near(points, 2)),
                _unit(_near(points[::-1], 8) - _near(points[::-1], 2)),
            )
    return _fit(points, *ends, tolerance)


def _near(points: Points, count: int) -> Float[np.ndarray, "2"]:
    return points[min(count, (len(points) - 1) // 2 or 1)]


def _away_from_line(points: Points) -> np.ndarray:
    along = _unit(points[-1] - points[0])
    inside = points - points[0]
    return np.abs(inside[:, 0] * along[1] - inside[:, 1] * along[0])


def _sharpened(loop: Points, index: int) -> Float[np.ndarray, "2"]:
    """The corner that the lines along both sides meet in, if it is near what is left of it."""
    n = len(loop)
    before, after = (loop[(index + sign * 3) % n] for sign in (-1, 1))
    back, ahead = before - loop[(index - 8) % n], loop[(index + 8) % n] - after
    cross = back[0] * ahead[1] - back[1] * ahead[0]
    if abs(cross) < 1e-6:
        return loop[index].copy()
    gap = after - before
    met = before + back * (gap[0] * ahead[1] - gap[1] * ahead[0]) / cross
    return met if np.linalg.norm(met - loop[index]) < 3 else loop[index].copy()


def _fit(points: Points, first: np.ndarray, last: np.ndarray, tolerance: float) -> list[Points]:
    """Cubics through the ends with these directions, each as the points after its first.

    From the start on, each cubic goes as far as it can within the tolerance.
    """
    found: list[Points] = []
    start, end = 0, len(points) - 1
    while start < end:
        # a far end is tried first, then halves of what is between one that can and one that cannot
        good, bad, stop, chosen = start, end + 1, end, None
        while good + 1 < bad:
            ahead = last if stop == end else -_tangent(points, stop)
            cubic, away = _cubic(points[start : stop + 1], first, ahead)
            if away <= tolerance or stop - start < _SHORTEST:
                good, chosen = stop, cubic
            else:
                bad = stop
            stop = (good + bad) // 2 if good > start else start + max(1, (bad - start) // 2)
        assert chosen is not None
        found.append(chosen[1:])
        start, first = good, _tangent(points, good)
    return found


def _tangent(points: Points, index: int) -> np.ndarray:
    return _unit(points[min(index + 3, len(points) - 1)] - points[max(index - 3, 0)])


def _cubic(points: Points, first: np.ndarray, last: np.ndarray) -> tuple[Points, float]:
    """The cubic with these directions nearest to some points, and how far it is from one."""
    chord = float(np.linalg.norm(points[-1] - points[0]))
    if len(points) < 4:
        third = chord / 3
        ends = points[0], points[0] + third * first, points[-1] + third * last, points[-1]
        return np.stack(ends), 0.0
    if len(points) > 2 * _FITTED:  # the outline is smooth: not all are needed
        points = points[np.linspace(0, len(points) - 1, _FITTED).round().astype(int)]
    lengths = np.concatenate([[0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    t = lengths / max(lengths[-1], 1e-9)
    cubic = _least_squares(points, t, first, last, lengths[-1])
    for _ in range(3):
        t = _reparametrised(cubic, points, t)
        cubic = _least_squares(points, t, first, last, lengths[-1])
    return cubic, float(np.hypot(*(_at(cubic, t) - points).T).max())


def _least_squares(
    points: Points, t: np.ndarray, first: np.ndarray, last: np.ndarray, length: float
) -> Float[np.ndarray, "4 2"]:
    b = _bernstein(t)
    rest = points - np.outer(b[:, 0] + b[:, 1], points[0])
    rest -= np.outer(b[:, 2] + b[:, 3], points[-1])
    # two unknowns: how far the handles reach
    aa, cc = b[:, 1] @ b[:, 1], b[:, 2] @ b[:, 2]
    ac = (b[:, 1] @ b[:, 2]) * float(first @ last)
    along, back = b[:, 1] @ (rest @ first), b[:, 2] @ (rest @ last)
    det = aa * cc - ac * ac
    chord = float(np.linalg.norm(points[-1] - points[0]))
    reach = np.full(2, max(chord, length / 2) / 3)
    if det > 1e-12:
        free = np.array([along * cc - back * ac, back * aa - along * ac]) / det
        if (free >= 0.05 * chord).all() and (free <= 1.5 * length).all():
            reach = free
    return np.stack(
        [points[0], points[0] + reach[0] * first, points[-1] + reach[1] * last, points[-1]]
    )


def _reparametrised(cubic: np.ndarray, points: Points, t: np.ndarray) -> np.ndarray:
    """One step of Newton's towards the nearest point of the curve."""
    d1 = 3 * np.diff(cubic, axis=0)
    d2 = 2 * np.diff(d1, axis=0)
    s = t[:, None]
    first = (1 - s) ** 2 * d1[0] + 2 * s * (1 - s) * d1[1] + s**2 * d1[2]
    second = (1 - s) * d2[0] + s * d2[1]
    away = _at(cubic, t) - points
    slope = (first**2).sum(1) + (away * second).sum(1)
    moved = t - (away * first).sum(1) / np.where(np.abs(slope) < 1e-9, 1e-9, slope)
    return np.maximum.accumulate(np.clip(moved, 0, 1))


def _at(cubic: np.ndarray, t: np.ndarray) -> Points:
    return _bernstein(t) @ cubic


def _bernstein(t: np.ndarray) -> Float[np.ndarray, "n 4"]:
    s = 1 - t
    return np.stack([s**3, 3 * t * s**2, 3 * t**2 * s, t**3], axis=1)


def _corners(loop: Points) -> list[int]:
    """Where the outline turns by more than 50 degrees, each the sharpest place nearby."""
    arm = max(2, min(round(_ARM / _STEP), len(loop) // 6))
    back = loop - np.roll(loop, arm, axis=0)
    ahead = np.roll(loop, -arm, axis=0) - loop
    turn = np.abs(np.angle(_complex(ahead) / (_complex(back) + 1e-12)))
    found: list[int] = []
    for index in np.argsort(-turn):
        if turn[index] < _CORNER:
            break
        gaps = (min((index - k) % len(loop), (k - index) % len(loop)) for k in found)
        if all(gap > arm for gap in gaps):
            found.append(int(index))
    return found


def _direction(loop: Points, index: int, arm: int = 3) -> np.ndarray:
    n = len(loop)
    return _unit(loop[(index + arm) % n] - loop[(index - arm) % n])


def _complex(points: Points) -> np.ndarray:
    return points[:, 0] + 1j * points[:, 1]


def _unit(vector: np.ndarray) -> np.ndarray:
    length = float(np.linalg.norm(vector))
    return vector / length if length > 1e-9 else np.array([1.0, 0.0])


def area(loop: Points) -> float:
    """Of the polygon, without sign."""
    x, y = loop.T
    return abs(float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())) / 2


def circle_of(loops: Sequence[Points]) -> tuple[float, float, float, float] | None:
    """(x, y, rx, ry) of the upright ellipse that an outline is, if it is one."""
    if len(loops) != 1 or len(loops[0]) < 8:
        return None
    loop = loops[0]
    x, y = loop.T
    # a x^2 + b y^2 + c x + d y = 1
    matrix = np.stack([x**2, y**2, x, y], axis=1)
    (a, b, c, d), *_ = np.linalg.lstsq(matrix, np.ones(len(loop)), rcond=None)
    if a * b <= 0:
        return None
    cx, cy = -c / (2 * a), -d / (2 * b)
    level = 1 + a * cx**2 + b * cy**2
    if level / a <= 0 or level / b <= 0:
        return None
    rx, ry = math.sqrt(level / a), math.sqrt(level / b)
    away = np.hypot((x - cx) / rx, (y - cy) / ry) - 1
    if np.abs(away).max() * min(rx, ry) > max(0.9, 0.04 * min(rx, ry)) or max(rx, ry) > 200:
        return None
    return cx, cy, rx, ry
