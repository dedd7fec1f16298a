"""Cubic Beziers to polylines that differ from them by less than a fiftieth of a pixel."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scorefield.sds.vector.gather import repeat

__all__ = ["Chords", "Polylines", "chords", "flatten", "starts"]

TOLERANCE = 0.02
MOST_PIECES = 512
PROBES = 16
SHARP = 1.2  # a turn between two probes, in radians, that may be a cusp's


class Polylines(NamedTuple):
    """Polylines, one after the other.

    `vertices` (V, 2); `line` (V,), the number of the polyline each belongs to, ascending;
    `closed`, one per polyline; `anchor` (V,), whether a vertex is an end of a Bezier, not a point
    inside of it; `tangents` (V, 4), the curve's direction at the beginning and at the end of the
    chord that starts at the vertex, not normalised.
    """

    vertices: Float[Tensor, "vertices 2"]
    line: Int[Tensor, " vertices"]
    closed: Bool[Tensor, " lines"]
    anchor: Bool[Tensor, " vertices"]
    tangents: Float[Tensor, "vertices 4"]

    @property
    def sizes(self) -> Int[Tensor, " lines"]:
        """Vertices of each polyline."""
        return torch.bincount(self.line, minlength=len(self.closed))

    def following(self) -> Int[Tensor, " vertices"]:
        """For each vertex the next one of its polyline; the first one after the last."""
        sizes = self.sizes
        after = torch.arange(1, len(self.line) + 1, device=self.line.device)
        some = sizes > 0
        after[(sizes.cumsum(0) - 1)[some]] = starts(sizes)[some]
        return after

    def of(self, lines: Bool[Tensor, " lines"]) -> "Polylines":
        """Only some of the polylines, numbered anew."""
        if bool(lines.all()):
            return self
        kept = lines[self.line]
        number = lines.cumsum(0) - 1
        return Polylines(
            self.vertices[kept],
            number[self.line[kept]],
            self.closed[lines],
            self.anchor[kept],
            self.tangents[kept],
        )


def starts(sizes: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Where each of n runs begins that lie one after the other."""
    return sizes.cumsum(0) - sizes


class Chords(NamedTuple):
    """How cubics are cut into chords.

    `pieces` (S,), chords of each; `share` (S, PROBES + 1), which part of them ends before each of
    equally spaced parameters, from 0 to 1.
    """

    pieces: Int[Tensor, " segments"]
    share: Float[Tensor, "segments probes"]


@torch.no_grad()
def chords(control: Float[Tensor, "segments 4 2"], radius: Float[Tensor, " segments"]) -> Chords:
    """How many chords a cubic needs, at least one, and where.

    A chord over a time h leaves the curve by at most a h^2 / 8 with a the part of the second
    derivative across the curve; so 1 / h is the root of a / (8 tolerance), and its integral the
    number of chords (with all of the second derivative, the same everywhere, it would be Wang's
    formula). An offset curve at distance `radius` turns by the same angles: a chord's turn is kept
    below sqrt(8 tolerance / radius).

    Args:
        control: in pixels.
        radius: half the stroke's width in pixels; 0 for a fill.
    """
    legs, bends = control.diff(dim=1), control.diff(dim=1, n=2)
    t = torch.linspace(0, 1, PROBES + 1, device=control.device, dtype=control.dtype)
    tangents = torch.stack([_direction(legs, each.expand(len(legs))) for each in t], dim=1)
    second = 6 * torch.lerp(bends[:, :1], bends[:, 1:], t[:, None])
    sizes = second.norm(dim=-1)
    across = _cross(tangents, second).abs() / tangents.norm(dim=-1).clamp_min(1e-30)
    sine = (across / sizes.clamp_min(1e-30)).nan_to_num(1.0)
    a, b = tangents[:, :-1], tangents[:, 1:]
    turn = torch.atan2(_cross(a, b), (a * b).sum(-1)).abs()
    # Between two probes the curve may run more across the second derivative than at both.
    sine = (torch.maximum(sine[:, :-1], sine[:, 1:]) + turn).clamp_max(1)
    across = torch.maximum(sizes[:, :-1], sizes[:, 1:]) * sine
    needed = (across / (8 * TOLERANCE)).sqrt() / PROBES
    step = (8 * TOLERANCE / radius.clamp_min(1e-6)).sqrt().clamp_max(0.5)
    turned = turn / step[:, None] * (radius > 0)[:, None]
    needed = torch.maximum(needed, turned).nan_to_num(0.0).clamp_max(MOST_PIECES)
    # One that begins where few are needed may end where many are.
    beside = F.max_pool1d(needed[:, None], 3, stride=1, padding=1)[:, 0]
    needed = torch.maximum(needed, beside / 2)
    # In a cusp a chord's turn says little, and one that misses it misses much: Wang's formula.
    cusp = turn.amax(dim=1, keepdim=True) > SHARP
    wang = (sizes.amax(dim=1, keepdim=True) / (8 * TOLERANCE)).sqrt() / PROBES
    needed = torch.where(cusp, torch.maximum(needed, wang), needed) + 1e-6
    total = needed.sum(dim=1)
    # A straight line turns by rounding errors only.
    straight = bends.norm(dim=-1).amax(dim=1) <= 1e-3
    count = torch.where(straight, 1.0, total.ceil()).clamp(1, MOST_PIECES).long()
    return Chords(count, F.pad(needed.cumsum(dim=1) / total[:, None], (1, 0)))


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def flatten(
    control: Float[Tensor, "segments 4 2"],
    subpath: Int[Tensor, " segments"],
    closed: Bool[Tensor, " subpaths"],
    cut: Chords,
    directed: bool,
) -> Polylines:
    """The polylines of the chords into which each segment is cut.

    Consecutive segments share their vertex. Differentiable in `control`. Tangents are worked out
    if `directed`; a fill does without them.
    """
    segments, count = len(subpath), cut.pieces
    last = torch.ones(segments, dtype=torch.bool, device=subpath.device)
    last[:-1] = subpath[1:] != subpath[:-1]
    emitted = count + (last & ~closed[subpath])
    segment = torch.arange(segments, device=subpath.device).repeat_interleave(emitted)
    nth = torch.arange(len(segment), device=subpath.device) - starts(emitted)[segment]
    first, final = nth == 0, nth == count[segment]
    t = _parameter(cut, segment, nth).to(control.dtype)
    t = torch.where(first, 0.0, torch.where(final, 1.0, t))
    s = 1 - t
    weight = torch.stack([s * s * s, 3 * s * s * t, 3 * s * t * t, t * t * t], dim=1)
    corners = repeat(control.reshape(segments, 8), emitted).view(-1, 4, 2)
    vertices = (weight[..., None] * corners).sum(dim=1)
    tangents = vertices.new_zeros(1, 1).expand(len(vertices), 4)
    if directed:
        end = torch.ones_like(t)
        end[:-1] = torch.where(first[1:], 1.0, t[1:])
        legs = corners.diff(dim=1)
        tangents = torch.cat([_direction(legs, t), _direction(legs, end)], dim=1)
    return Polylines(vertices, subpath[segment], closed, first | final, tangents)


@torch.no_grad()
def _parameter(cut: Chords, segment: Tensor, nth: Tensor) -> Tensor:
    """Where on its segment the n-th chord begins: linear between the probes."""
    share = cut.share.double()
    # One ascending list of the shares of all segments, in which the segment's number comes first.
    number = torch.arange(len(share), device=share.device)
    bounds = (share[:, 1:-1] + number[:, None]).view(-1)
    wanted = nth / cut.pieces[segment].double()
    probe = torch.searchsorted(bounds, wanted + segment) - segment * (PROBES - 1)
    probe = probe.clamp(0, PROBES - 1)
    at = segment * (PROBES + 1) + probe
    low, high = share.view(-1)[at], share.view(-1)[at + 1]
    return (probe + (wanted - low) / (high - low)) / PROBES


def _direction(legs: Tensor, t: Tensor) -> Tensor:
    """A third of the derivative, a little inside of the ends, where it may vanish."""
    t = t.clamp(1e-3, 1 - 1e-3)
    s = 1 - t
    weight = torch.stack([s * s, 2 * s * t, t * t], dim=1)
    return (weight[..., None] * legs).sum(dim=1)


def pieces_of_turn(angle: float, radius: float) -> int:
    """Chords for an arc of `angle` radians of a circle of `radius` pixels."""
    step = 2 * math.acos(1 - min(TOLERANCE / max(radius, 1e-6), 1.0))
    return max(2, min(128, math.ceil(angle / step)))
