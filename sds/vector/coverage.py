"""Exact-area coverage of polygons under the even-odd and the non-zero rule, and its gradient.

A layer's polygons are cut by K equally spaced lines per pixel, once by rows and once by columns.
Along a line the crossings are sorted, a running sum of their directions is the winding number, and
the fill rule keeps those crossings at which inside changes to outside. Across the line the
coverage of a kept crossing is exact: inside a strip of height 1/K the edge is taken as the straight
line it is, so that only corners and self-intersections inside a strip are seen in the K-th of a
pixel. Each pixel takes its value from the family of lines that most of its edges cross steeply.

The gradient is the boundary integral of the same area (Reynolds' transport theorem): a point of
the boundary that moves by v uncovers <v, n> of its pixel per unit of length. It is summed over the
kept crossings of both families, each edge counted by the one that it crosses steeply, so a level
edge has its right gradient too. The first and the last crossing of an edge stand for all of it up
to its end: what moves the two sides of a thin stroke together leaves a small difference of large
sums, in which a K-th of a pixel counts.

Sums are in integers: the same on every device, the same in any order, and exactly 0 and 1 outside
and inside.
"""

from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scorefield.sds.vector.blocks import BEFORE, Layout, Polygons, Upright, by_layer
from scorefield.sds.vector.flatten import starts
from scorefield.sds.vector.gather import places, sum_into

__all__ = ["coverage"]

LINES = 8  # per pixel, of layers without thin parts
WHOLE = 2**23  # the integer that stands for a covered pixel


class _Kept(NamedTuple):
    """Crossings at which inside changes to outside, of edges that their lines cross steeply."""

    edges: Tensor  # (E,) the vertices at which the edges begin
    slope: Tensor  # (E,) across the line per unit along the edge's steep axis
    edge: Tensor  # (C,) which of them
    row: Tensor  # of all layers' pixel rows
    cell: Tensor  # first cell touched, along the line
    sign: Tensor  # +1: inside begins, -1: it ends
    first: Tensor  # share of the crossing in the first cell; the rest lies in the second
    where: Tensor  # from the edge's first vertex (0) to its second (1)
    reach: Tensor  # how much of the edge it stands for, in lines
    centre: Tensor  # cell of the middle of the crossing


def _scan(
    polygons: Polygons, even_odd: Tensor, layout: Layout, level: bool
) -> tuple[Tensor, _Kept]:
    """The integer coverage by row-wise lines, in the layout, and the crossings that count.

    With `level` edges at 45 degrees are among them.
    """
    x, y = polygons.vertices.unbind(1)
    device, per_pixel = x.device, layout.lines
    # The rank of a vertex among the lines decides which of them its edges cross, so neighbours
    # agree on it and every line crosses a polygon an even number of times.
    top = (layout.low[:, 1] * per_pixel).index_select(0, polygons.owner)
    lines = (layout.size[:, 1] * per_pixel).index_select(0, polygons.owner)
    rank = (y * per_pixel - 0.5).ceil().nan_to_num(0).clamp(-1e9, 1e9).long() - top
    rank = torch.minimum(rank.clamp_min(0), lines)
    change = rank.index_select(0, polygons.follows) - rank
    edges = places(change)
    change = change.index_select(0, edges)
    after, owner = polygons.follows.index_select(0, edges), polygons.owner.index_select(0, edges)
    x0, y0, x1, y1 = (v.index_select(0, i) for i in (edges, after) for v in (x, y))
    slope = (x1 - x0) / (y1 - y0)
    # Of each edge: its first line, and where that meets it; of each crossing the steps from there.
    first = torch.minimum(rank.index_select(0, edges), rank.index_select(0, after))
    at_y = (first + top.index_select(0, edges) + 0.5) / per_pixel
    left = (layout.low[:, 0] - BEFORE).index_select(0, owner)
    right = (layout.size[:, 0] + (BEFORE + 0.5)).index_select(0, owner)
    # Where an edge is nearly level the division is inexact.
    low = torch.minimum((torch.minimum(x0, x1) - left).clamp_min(0.5), right)
    high = torch.minimum((torch.maximum(x0, x1) - left).clamp_min(0.5), right)
    begin, step = x0 + slope * (at_y - y0) - left, slope / per_pixel
    number = starts(layout.size[:, 1] * per_pixel).index_select(0, owner) + first

    counts = change.abs()
    nth = torch.arange(len(edges), device=device).repeat_interleave(counts)
    begun = starts(counts)
    along = torch.arange(len(nth), device=device) - begun.index_select(0, nth)
    edgewise = (v.nan_to_num(0.5).index_select(0, nth) for v in (begin, step, low, high))
    begin, slant, low, high = edgewise
    x = torch.addcmul(begin, slant, along.to(slant)).clamp_(low, high)
    key, bits, shift = _sorted(number - begun, change < 0, nth, x, layout)
    # The winding number: crossings until now, less twice those that wind down.
    inside = torch.arange(1, len(key) + 1, dtype=torch.int32, device=device)
    inside.sub_((key & (1 << bits)).bool().cumsum(0, dtype=torch.int32), alpha=2)
    if bool(even_odd.any()):
        odd = even_odd[layout.layer].index_select(0, (key >> shift) // per_pixel)
        inside = torch.where(odd, (inside & 1) != 0, inside != 0)
    else:
        inside = inside != 0
    # Every line ends outside, so what was before the first crossing of a line is outside too.
    was = torch.zeros_like(inside)
    was[1:] = inside[:-1]
    active = places(inside != was)
    key = key.index_select(0, active)
    sign = inside.index_select(0, active).int().mul_(2).sub_(1)

    kept = key & ((1 << bits) - 1)
    nth, x = nth.index_select(0, kept), x.index_select(0, kept)
    line = key >> shift
    row = line >> (per_pixel.bit_length() - 1)
    unit = WHOLE // per_pixel
    span = step.abs().clamp_max(1.0).index_select(0, nth)
    begin = x - span / 2
    cell = begin.floor()
    ahead = cell + 1 - begin
    front = (ahead / span).clamp_max_(1)  # of a crossing, what lies in its first cell
    # The area to the right of the edge in the first cell, and in the first two.
    one = (cell + 1 - x).addcmul_((span - ahead).clamp_min_(0), 1 - front, value=0.5)
    two = (cell + 2 - x).sub_(one, alpha=2)
    taps = [part.mul_(unit).round_().int().mul_(sign) for part in (one, two)]
    column = cell.long()
    place = layout.begin.index_select(0, row).add_(column)
    area = torch.zeros(layout.cells, dtype=torch.int32, device=device)
    area.index_add_(0, place, taps[0])
    area.index_add_(0, place.add_(1), taps[1])
    area.index_add_(0, place.add_(1), (sign * unit).sub_(taps[0]).sub_(taps[1]))
    # Rows sum to nothing, so one sum runs through all of them.
    area = area.cumsum(0, dtype=torch.int32)

    steep = span * per_pixel
    some = places(steep <= 1 if level else steep < 1)
    nth, x, kept = (v.index_select(0, some) for v in (nth, x, kept))
    # Up to its ends an edge reaches between 0 and 1 lines. One that leaves the box reaches further,
    # and one shorter than a line is from the next is right on average.
    before = (at_y - torch.minimum(y0, y1)).mul_(per_pixel)
    extent = (y1 - y0).abs_().mul_(per_pixel)
    behind = extent - before - (counts - 1)
    reach = torch.ones(len(along), dtype=x.dtype, device=device)
    for extra, end in ((before, begun), (behind, begun + counts - 1)):
        extra.nan_to_num_(1.0)  # of edges whose extent is beyond all numbers
        reach[end] += (extra - 0.5) * ((extra < 1) & (extent > 1))
    share, rise = (at_y - y0) / (y1 - y0), 1 / (per_pixel * (y1 - y0))
    share, rise = share.index_select(0, nth), rise.index_select(0, nth)
    where = torch.addcmul(share, rise, along.index_select(0, kept).to(rise)).clamp_(0, 1)
    reach, centre = reach.index_select(0, kept), x.floor().long()
    row, column, sign, front = (v.index_select(0, some) for v in (row, column, sign, front))
    slope = slope.nan_to_num_(0.0).clamp_(-1, 1)  # what is steeper the other way has no crossing
    return area, _Kept(edges, slope, nth, row, column, sign, front, where, reach, centre)


def _sorted(
    number: Tensor, falls: Tensor, nth: Tensor, x: Tensor, layout: Layout
) -> tuple[Tensor, int, int]:
    """Crossings sorted by line, then by place; in one place those come first that wind up.

    Line, place, direction and position are packed into one integer: sorting those is much faster
    than finding the order of others.

    Args:
        number: of each edge its first line, less its first crossing's position.
        falls: of each edge whether it winds down.
        nth: of each crossing its edge.
        x: of each crossing its place on its line.
        layout: of the lines.

    Returns:
        The sorted integers, and how many bits lie below the direction (1: down), which are the
        position, and below the line.
    """
    count = len(x)
    position = max(1, count - 1).bit_length()
    lines = max(1, len(layout.row) * layout.lines).bit_length()
    place = (int(layout.stride.max()) if len(layout.stride) else 1).bit_length()
    fraction = min(12, 62 - position - lines - place)
    if fraction < 0:  # billions of lines
        raise ValueError("the image is too large to be drawn at once")
    shift = position + 1 + fraction + place
    key = ((number << shift) + (falls.long() << position)).index_select(0, nth)
    # A crossing's line and its position grow together; what overflows on the way comes back.
    key += torch.arange(count, device=x.device).mul_((1 << shift) + 1)
    key += (x * 2**fraction).long().bitwise_left_shift_(position + 1)
    if key.is_cuda:
        key = key.sort().values
    else:
        key.numpy().sort(kind="stable")  # merges runs: every edge comes as one, in ascending order
    return key, position, shift


class _Coverage(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        vertices: Tensor,
        follows: Tensor,
        owner: Tensor,
        even_odd: Tensor,
        boxes: Tensor,
        lines: int,
    ) -> tuple[Tensor, ...]:
        rows, turned = Layout.of(boxes, lines), Layout.of(boxes[:, [1, 0, 3, 2]], lines)
        area, by_row = _scan(Polygons(vertices, follows, owner), even_odd, rows, True)
        other, by_column = _scan(
            Polygons(vertices.flip(1), follows, owner), even_odd, turned, False
        )

        # Of each pixel: how many more steep than shallow edges it has.
        votes = torch.zeros(rows.cells, dtype=torch.int32, device=vertices.device)
        here = rows.begin.index_select(0, by_row.row)
        votes.index_add_(0, here + by_row.centre, torch.ones_like(by_row.sign))
        upright = Upright(rows, turned, by_column.row)
        place, inside = upright.cells(by_column.centre)
        inside = places(inside)
        place = place.index_select(0, inside)
        there = turned.begin.index_select(0, by_column.row) + by_column.centre
        there = there.index_select(0, inside)
        votes.index_add_(0, place, torch.full_like(place, -1, dtype=torch.int32))
        shallow = places(votes.index_select(0, place) < 0)
        place, there = place.index_select(0, shallow), there.index_select(0, shallow)
        # Crossings of one pixel write the same value.
        area[place] = other.index_select(0, there)

        if ctx.needs_input_grad[0]:
            near, far = here + by_row.cell, here + by_row.cell + 1
            tensors = _gains(by_row, lines, near, far, None, None)
            near, near_inside = upright.cells(by_column.cell)
            far, far_inside = upright.cells(by_column.cell + 1)
            tensors += _gains(by_column, lines, near, far, near_inside, far_inside)
            ctx.save_for_backward(follows, *tensors)
        ctx.vertices, ctx.cells, ctx.layers = len(vertices), rows.cells, rows.size.tolist()
        ctx.set_materialize_grads(False)
        return tuple(by_layer(area.clamp_(0, WHOLE).to(vertices.dtype).mul_(1 / WHOLE), ctx.layers))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        follows, *saved = ctx.saved_tensors
        grad = saved[1].new_zeros(ctx.cells)
        for layer, given in zip(by_layer(grad, ctx.layers), grads, strict=True):
            if given is not None:
                layer.copy_(given)
        begin, end = grad.new_zeros(2, ctx.vertices), grad.new_zeros(2, ctx.vertices)
        for axis, tensors in enumerate((saved[:8], saved[8:])):
            edges, slope, edge, place, next_place, near, far, where = tensors
            # What the image gains when the boundary moves along its line by one.
            gain = near * grad.index_select(0, place) + far * grad.index_select(0, next_place)
            later = gain * where
            for corner, part in ((begin, gain.sub_(later)), (end, later)):
                moved = sum_into(len(edges), edge, part)
                corner[axis, edges] += moved  # no edge twice
                corner[1 - axis, edges] -= moved * slope
        total = begin.T.contiguous()
        total[follows] += end.T  # a permutation: no vertex twice
        return total, None, None, None, None, None


def _gains(
    kept: _Kept,
    lines: int,
    near: Tensor,
    far: Tensor,
    near_inside: Tensor | None,
    far_inside: Tensor | None,
) -> list[Tensor]:
    """What the gradient needs: the edges, two cells with their shares, places on the edge."""
    share = kept.sign * kept.reach / -lines
    first = kept.first * share
    second = share - first
    if near_inside is not None and far_inside is not None:
        near, first = near * near_inside, first * near_inside
        far, second = far * far_inside, second * far_inside
    return [kept.edges, kept.slope, kept.edge, near, far, first, second, kept.where]


def coverage(
    polygons: Polygons,
    even_odd: Bool[Tensor, " layers"],
    boxes: Int[Tensor, "layers 4"],
    lines: int = LINES,
) -> list[Float[Tensor, "height width"]]:
    """The share of each pixel that each layer's polygons cover, in [0, 1].

    Args:
        polygons: in pixels, pixel (row i, column j) being [j, j + 1] x [i, i + 1].
        even_odd: for each layer, whether a point is inside when its winding number is odd, or
            else when it is not zero.
        boxes: for each layer the pixels asked for: first column, first row, and one past the last.
        lines: of each family per pixel, a power of two up to 64.

    Returns:
        For each layer the pixels of its box. Differentiable in the vertices: the gradient is that
        of the exact area, and does not depend on the device's order of summation.
    """
    return list(
        _Coverage.apply(polygons.vertices, polygons.follows, polygons.owner, even_odd, boxes, lines)
    )
