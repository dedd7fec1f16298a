"""Cubic Beziers to polylines that differ from them by less than a fiftieth of a pixel."""

import math
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scorefield.sds.vector.gather import repeat

__all__ = ["Polylines", "flatten", "pieces", "starts"]

TOLERANCE = 0.02
MOST_PIECES = 512
PROBES = 16


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


@torch.no_grad()
def pieces(
    control: Float[Tensor, "segments 4 2"], radius: Float[Tensor, " segments"]
) -> Int[Tensor, " segments"]:
    """How many chords a cubic needs, n >= 1.

    A cubic and its n chords of equal parameter differ by at most 6 d / (8 n^2) with d the larger
    of |P0 - 2 P1 + P2| and |P1 - 2 P2 + P3| (Wang's formula). An offset curve at distance
    `radius` turns by the same angles: a chord's turn is kept below sqrt(8 tolerance / radius).

    Args:
        control: in pixels.
        radius: half the stroke's width in pixels; 0 for a fill.
    """
    bends = (control[:, :-2] - 2 * control[:, 1:-1] + control[:, 2:]).norm(dim=-1)
    bent = bends.amax(dim=1)
    count = (0.75 / TOLERANCE * bent).sqrt()
    legs = control.diff(dim=1)
    # The fastest turn: tight bends take theirs in a small part of the curve.
    t = torch.linspace(0, 1, PROBES + 1, device=control.device, dtype=control.dtype)
    tangents = torch.stack([_direction(legs, each.expand(len(legs))) for each in t])
    a, b = tangents[:-1], tangents[1:]
    cross = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    turn = torch.atan2(cross, (a * b).sum(-1)).abs().amax(dim=0)
    step = (8 * TOLERANCE / radius.clamp_min(1e-6)).sqrt().clamp_max(0.5)
    turned = PROBES * turn / step * (radius > 0)
    # A straight line turns by rounding errors only.
    count = torch.where(bent > 1e-3, torch.maximum(count, turned), 1.0)
    return count.nan_to_num(1.0).ceil().clamp(1, MOST_PIECES).long()


def flatten(
    control: Float[Tensor, "segments 4 2"],
    subpath: Int[Tensor, " segments"],
    closed: Bool[Tensor, " subpaths"],
    count: Int[Tensor, " segments"],
    directed: bool,
) -> Polylines:
    """The polylines through `count` equally spaced parameters of each segment.

    Consecutive segments share their vertex. Differentiable in `control`. Tangents are worked out
    if `directed`; a fill does without them.
    """
    segments = len(subpath)
    last = torch.ones(segments, dtype=torch.bool, device=subpath.device)
    last[:-1] = subpath[1:] != subpath[:-1]
    emitted = count + (last & ~closed[subpath])
    segment = torch.arange(segments, device=subpath.device).repeat_interleave(emitted)
    nth = torch.arange(len(segment), device=subpath.device) - starts(emitted)[segment]
    t = (nth / count[segment]).to(control.dtype)
    s = 1 - t
    weight = torch.stack([s * s * s, 3 * s * s * t, 3 * s * t * t, t * t * t], dim=1)
    corners = repeat(control.reshape(segments, 8), emitted).view(-1, 4, 2)
    vertices = (weight[..., None] * corners).sum(dim=1)
    tangents = vertices.new_zeros(1, 1).expand(len(vertices), 4)
    if directed:
        end = (nth + 1).to(control.dtype) / count[segment]
        legs = corners.diff(dim=1)
        tangents = torch.cat([_direction(legs, t), _direction(legs, end)], dim=1)
    anchor = (nth == 0) | (nth == count[segment])
    return Polylines(vertices, subpath[segment], closed, anchor, tangents)


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
