"""The outline of a stroke: polygons whose union, by the non-zero rule, is what the pen covers.

All polygons turn the same way, so they never cancel: one quadrilateral per chord, as wide as the
stroke along the curve's normals at its ends, and a fan at every corner and end of a line.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from scorefield.sds.vector.blocks import Polygons
from scorefield.sds.vector.flatten import Polylines, pieces_of_turn, starts
from scorefield.sds.vector.gather import take

__all__ = ["Cap", "Join", "Pen", "outline"]

# Below this angle (cosine) a bend is drawn without a join: the joins differ there by less than
# one part in a hundred of half the width.
SMOOTH = 0.97
# Above this angle (cosine) a chord is no image of the curve it stands for.
SHARP = 0.7


class Cap(Enum):
    """How an open end is drawn."""

    BUTT = "butt"
    ROUND = "round"
    SQUARE = "square"


class Join(Enum):
    """How a corner is drawn."""

    MITER = "miter"
    ROUND = "round"
    BEVEL = "bevel"


_CAPS = {cap: number for number, cap in enumerate(Cap)}
_JOINS = {join: number for number, join in enumerate(Join)}


@dataclass(frozen=True)
class Pen:
    """The shape of a stroke but for its width.

    Args:
        cap: of open ends.
        join: of corners.
        miter_limit: a miter longer than this many widths becomes a bevel; at least 1.
        dashes: lengths of dashes and gaps in turn, in user units; empty: a solid line.
        dash_offset: how far into the pattern the line begins.
    """

    cap: Cap = Cap.BUTT
    join: Join = Join.MITER
    miter_limit: float | int = 4.0
    dashes: tuple[float | int, ...] = ()
    dash_offset: float | int = 0.0

    def __post_init__(self) -> None:
        if not self.miter_limit >= 1:
            raise ValueError(f"miter_limit must be at least 1, got {self.miter_limit}")
        if any(not d >= 0 for d in self.dashes) or (self.dashes and not sum(self.dashes) > 0):
            raise ValueError(f"dashes must be lengths >= 0 that are not all 0, got {self.dashes}")


class _Fans(NamedTuple):
    """Polygons around points: vertices pivot + half * offset, in order, turning clockwise."""

    pivot: Tensor  # (F,) vertex of the polylines
    offset: Tensor  # (F, M, 2)


def outline(
    lines: Polylines,
    half: Float[Tensor, " lines"],
    pens: Sequence[Pen],
    radius: Float[Tensor, " lines"],
    owner: Int[Tensor, " lines"],
) -> Polygons:
    """The polygons of many strokes at once, in the space of the polylines.

    Args:
        lines: what the pens follow.
        half: half the width of each line, in the units of the polylines.
        pens: of each line.
        radius: half the width in pixels, which says how finely round parts are drawn.
        owner: the layer of each line.
    """
    dot = _single_points(lines)
    lines = _without_repeats(lines)
    line, after = lines.line, lines.following()
    # The last vertex of an open line starts no chord.
    chord = lines.closed[line] | (after > torch.arange(len(line), device=line.device))
    first = torch.zeros_like(chord)
    sizes = lines.sizes
    first[starts(sizes)[sizes > 0]] = True
    before = torch.empty_like(after)
    before[after] = torch.arange(len(line), device=line.device)

    points = lines.vertices
    step = take(points, after) - points
    drawn = chord & ~dot[line]
    step = torch.where(drawn[:, None], step, step.new_tensor([1.0, 0.0]))
    straight = step / step.norm(dim=1, keepdim=True)
    departing, leaving = _headings(straight, lines.tangents, drawn)
    corner = chord & chord[before]  # a chord ends and another begins here
    width = take(half, line)[:, None]
    smooth, begin, end = _sides(departing, leaving, before, after, corner)
    # Where the curve bends more tightly than the stroke is wide, the inner side runs backwards and
    # would cancel what the stroke covers: there chords are rectangles with joins between them.
    with torch.no_grad():
        inner = (width * (end - begin) * straight).sum(dim=1).abs()
        folded = drawn & (inner > 0.9 * step.norm(dim=1))
    if bool(folded.any()):
        departing = torch.where(folded[:, None], straight, departing)
        leaving = torch.where(folded[:, None], straight, leaving)
        apart = folded | folded[before]
        smooth, begin, end = _sides(departing, leaving, before, after, corner & ~apart)
    arriving = take(leaving, before)

    polygons = [_quads(points, after, begin, end, width, drawn, smooth, before)]
    owners = [drawn.nonzero().squeeze(1).repeat(4)]
    fans = _joins(lines, pens, radius, corner & ~smooth, arriving, departing)
    ends = ~chord | (first & ~lines.closed[line])
    fans += _caps(lines, pens, radius, ends, first, departing, arriving)
    for fan in fans:
        count, size = fan.offset.shape[:2]
        at = take(points, fan.pivot)[:, None] + take(width, fan.pivot)[:, None] * fan.offset
        ring = torch.arange(count * size, device=line.device).view(count, size).roll(-1, dims=1)
        polygons.append((at.reshape(-1, 2), ring.reshape(-1)))
        owners.append(fan.pivot.repeat_interleave(size))

    offsets = [0]
    for vertices, _ in polygons:
        offsets.append(offsets[-1] + len(vertices))
    return Polygons(
        torch.cat([vertices for vertices, _ in polygons]),
        torch.cat([f + o for (_, f), o in zip(polygons, offsets, strict=False)]),
        owner[line[torch.cat(owners)]],
    )


def _left(heading: Tensor) -> Tensor:
    """Headings (..., 2) turned by a quarter, from x towards y."""
    return torch.stack([-heading[..., 1], heading[..., 0]], dim=-1)


def _sides(
    departing: Tensor, leaving: Tensor, before: Tensor, after: Tensor, corner: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Which bends need no join, and the normals at the beginning and at the end of each chord."""
    arriving = take(leaving, before)
    cosine = (arriving * departing).sum(dim=1)
    smooth = corner & (cosine.detach() > SMOOTH)
    # At a smooth bend both chords end on the bisector, where their sides meet.
    middle = _left(arriving + departing) / (1 + torch.where(smooth, cosine, 1.0))[:, None]
    begin = torch.where(smooth[:, None], middle, _left(departing))
    end = torch.where(smooth[after, None], take(middle, after), _left(leaving))
    return smooth, begin, end


def _headings(straight: Tensor, tangents: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors along the curve at the beginning and at the end of each chord.

    Where the curve turns sharply within the chord (a cusp), both are along the chord, which leaves
    the turn to the joins.
    """
    begin, end = tangents[:, :2], tangents[:, 2:]
    with torch.no_grad():
        sizes = begin.norm(dim=1), end.norm(dim=1)
        least = torch.minimum(*sizes)
        turn = (begin * end).sum(dim=1) / (sizes[0] * sizes[1]).clamp_min(1e-30)
        curved = drawn & (turn > SHARP) & (least > 1e-6 * torch.maximum(*sizes)) & (least > 1e-12)
    begin = torch.where(curved[:, None], begin, straight)
    end = torch.where(curved[:, None], end, straight)
    return begin / begin.norm(dim=1, keepdim=True), end / end.norm(dim=1, keepdim=True)


def _single_points(lines: Polylines) -> Tensor:
    """Which lines have all their vertices in one place."""
    moved = (lines.vertices[lines.following()] != lines.vertices).any(dim=1).long()
    total = torch.zeros(len(lines.closed), dtype=torch.long, device=moved.device)
    return total.index_add_(0, lines.line, moved) == 0


def _without_repeats(lines: Polylines) -> Polylines:
    """The lines without vertices that the next one repeats: a chord of no length has no heading."""
    with torch.no_grad():
        length = (lines.vertices[lines.following()] - lines.vertices).abs().amax(dim=1)
        scale = lines.vertices.abs().amax() if len(length) else length.new_tensor(0.0)
        sizes = lines.sizes
        ends = torch.zeros_like(lines.anchor)
        ends[(sizes.cumsum(0) - 1)[sizes > 0]] = True
        kept = (length > 1e-6 * scale) | (ends & ~lines.closed[lines.line])
        # A closed line of one place keeps its first vertex.
        left = torch.zeros_like(sizes).index_add_(0, lines.line, kept.long())
        begins = starts(sizes)[(left == 0) & (sizes > 0)]
        kept[begins] = True
        closed = lines.closed & (left > 0)
    if bool(kept.all()):
        return lines._replace(closed=closed)
    return Polylines(
        lines.vertices[kept], lines.line[kept], closed, lines.anchor[kept], lines.tangents[kept]
    )


def _quads(
    points: Tensor,
    after: Tensor,
    begin: Tensor,
    end: Tensor,
    width: Tensor,
    chord: Tensor,
    smooth: Tensor,
    before: Tensor,
) -> tuple[Tensor, Tensor]:
    """Per chord: left begin, left end, right end, right begin; open towards smooth neighbours."""
    which = chord.nonzero().squeeze(1)
    number = torch.zeros_like(after)
    number[which] = torch.arange(len(which), device=which.device)
    here, there = take(points, which), take(points, after[which])
    reach = take(width, which)
    begin, end = reach * take(begin, which), reach * take(end, which)
    n = len(which)
    left0, left1, right1, right0 = (k * n + torch.arange(n, device=which.device) for k in range(4))
    joined = smooth[after[which]]
    follows_left1 = torch.where(joined, number[after[which]] * joined, right1)
    joined = smooth[which]
    follows_right0 = torch.where(joined, 2 * n + number[before[which]] * joined, left0)
    vertices = torch.cat([here + begin, there + end, there - end, here - begin])
    return vertices, torch.cat([left1, follows_left1, right0, follows_right0])


def _rotated(v: Tensor, angle: Tensor) -> Tensor:
    """Vectors (..., 2) turned by angles (...), from x towards y."""
    c, s = angle.cos(), angle.sin()
    return torch.stack([c * v[..., 0] - s * v[..., 1], s * v[..., 0] + c * v[..., 1]], dim=-1)


def _joins(
    lines: Polylines,
    pens: Sequence[Pen],
    radius: Tensor,
    corner: Tensor,
    arriving: Tensor,
    departing: Tensor,
) -> list[_Fans]:
    """The outer sides of corners, between the ends of the two chords."""
    at = corner.nonzero().squeeze(1)
    if len(at) == 0:
        return []
    d1, d2 = take(arriving, at), take(departing, at)
    cross = d1[:, 0] * d2[:, 1] - d1[:, 1] * d2[:, 0]
    cosine = (d1 * d2).sum(dim=1)
    left = cross.detach() > 0  # turns towards the normal; the outer side is the other
    side = torch.where(left, -1.0, 1.0).to(d1)[:, None]
    n1 = side * _left(d1)
    n2 = side * _left(d2)
    line = lines.line[at]
    joins = torch.tensor([_JOINS[p.join] for p in pens], device=at.device)
    # A corner inside of a Bezier is a cusp or a tight bend: the pen turns round it.
    kind = torch.where(lines.anchor[at], joins[line], _JOINS[Join.ROUND])
    limit = torch.tensor([float(p.miter_limit) for p in pens], device=at.device)[line]
    sharp = 2 > limit.square() * (1 + cosine.detach())  # 1 / sin(angle / 2) > limit
    zero = torch.zeros_like(n1)
    rounds = kind == _JOINS[Join.ROUND]
    miters = (kind == _JOINS[Join.MITER]) & ~sharp
    fans = []
    for which, middle in (
        (rounds, None),
        (miters, (n1 + n2) / (1 + torch.where(miters, cosine, 1.0))[:, None]),
        (~rounds & ~miters, zero[:, :0]),
    ):
        if not which.any():
            continue
        a, b = n1[which], n2[which]
        if middle is None:
            angle = torch.atan2(cross[which], cosine[which])
            count = pieces_of_turn(math.pi, float(radius[line[which]].max()))
            share = torch.linspace(0, 1, count + 1, device=at.device, dtype=a.dtype)
            arc = _rotated(a[:, None], angle[:, None] * share)
        elif middle.shape[1]:
            arc = torch.stack([a, middle[which], b], dim=1)
        else:
            arc = torch.stack([a, b], dim=1)
        ring = torch.cat([zero[which][:, None], arc], dim=1)
        ring = torch.where(left[which, None, None], ring.flip(1), ring)
        fans.append(_Fans(at[which], ring))
    return fans


def _caps(
    lines: Polylines,
    pens: Sequence[Pen],
    radius: Tensor,
    ends: Tensor,
    first: Tensor,
    departing: Tensor,
    arriving: Tensor,
) -> list[_Fans]:
    """Half discs and half squares beyond the ends of open lines."""
    fans = []
    caps = torch.tensor([_CAPS[p.cap] for p in pens], device=ends.device)[lines.line]
    alone = (lines.sizes == 1)[lines.line]
    for cap in (Cap.ROUND, Cap.SQUARE):
        some = ends & (caps == _CAPS[cap])
        if not some.any():
            continue
        if cap is Cap.ROUND:
            count = pieces_of_turn(math.pi, float(radius[lines.line[some]].max()))
            angles = torch.linspace(0.5, -0.5, count + 1, device=ends.device) * math.pi
            arc = torch.stack([angles.cos(), angles.sin()], dim=1)
        else:
            arc = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, -1.0], [0.0, -1.0]])
        arc = arc.to(departing)
        # Beginnings look back along their chord; a line of one vertex is both.
        for at, out in (
            ((some & first).nonzero().squeeze(1), -1.0),
            ((some & (~first | alone)).nonzero().squeeze(1), 1.0),
        ):
            along = -take(departing, at) if out < 0 else take(arriving, at)
            across = _left(along)
            offset = arc[:, :1] * along[:, None] + arc[:, 1:] * across[:, None]
            fans.append(_Fans(at, offset))
    return fans
