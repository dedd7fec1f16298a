"""Lines cut into dashes.

Where the cuts fall is not differentiated; the vertices are.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from scorefield.sds.vector.flatten import Polylines
from scorefield.sds.vector.stroke import Pen

__all__ = ["dashed"]

MOST_DASHES = 100_000


def dashed(lines: Polylines, pens: Sequence[Pen]) -> tuple[Polylines, Tensor]:
    """The dashes of those lines whose pen has them, and the line that each part comes from.

    Lengths are along the polylines, in their units. A dash that crosses the first vertex of a
    closed line ends there.

    Raises:
        ValueError: if the lines together would have more than `MOST_DASHES` dashes and gaps.
    """
    parts: list[Polylines] = []
    origin: list[int] = []
    left = MOST_DASHES
    for number, pen in enumerate(pens):
        line = lines.of(torch.arange(len(pens), device=lines.line.device) == number)
        found = [line]
        if pen.dashes:
            found = _dashes(line, pen, left)
            left -= 2 * len(found)
        parts += found
        origin += [number] * len(found)
    device = lines.line.device
    parts.append(lines.of(torch.zeros_like(lines.closed)))  # so that there is something to join
    sizes = torch.tensor([len(p.vertices) for p in parts], device=device)
    return Polylines(
        torch.cat([p.vertices for p in parts]),
        torch.arange(len(parts), device=device).repeat_interleave(sizes),
        torch.cat([p.closed for p in parts]),
        torch.cat([p.anchor for p in parts]),
        torch.cat([p.tangents for p in parts]),
    ), torch.tensor(origin, dtype=torch.long, device=device)


def _dashes(line: Polylines, pen: Pen, most: int) -> list[Polylines]:
    """The dashes of one line, of which there may be so many, gaps included."""
    points, anchor = line.vertices, line.anchor
    begin, end = line.tangents[:, :2], line.tangents[:, 2:]
    if bool(line.closed):
        points, anchor = torch.cat([points, points[:1]]), torch.cat([anchor, anchor[:1]])
    lengths = points.detach().double().diff(dim=0).norm(dim=1)
    reach = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
    total = float(reach[-1])
    pattern = [float(d) for d in pen.dashes] * (1 + len(pen.dashes) % 2)
    if total == 0:
        return [line]
    if total / sum(pattern) * len(pattern) > most:
        raise ValueError(
            f"dashes {pen.dashes} are too short for a line of length {total:.6g}: an image may "
            f"have {MOST_DASHES} dashes and gaps"
        )

    def place(length: float) -> tuple[int, float]:
        """The chord that is `length` along the line, and how far along the chord."""
        i = int(torch.searchsorted(reach, length, right=True)) - 1
        i = min(max(i, 0), len(lengths) - 1)
        return i, min(1.0, (length - float(reach[i])) / max(float(lengths[i]), 1e-30))

    parts = []
    position, nth = -(float(pen.dash_offset) % sum(pattern)), 0
    while position < total:
        after = position + pattern[nth]
        if nth % 2 == 0 and after >= 0:
            (i, first), (j, last) = place(max(position, 0.0)), place(min(after, total))
            heads, tails = begin[i : j + 1].clone(), end[i : j + 1].clone()
            heads[0] = torch.lerp(begin[i], end[i], first)
            tails[-1] = torch.lerp(begin[j], end[j], last)
            vertices = torch.cat(
                [
                    torch.lerp(points[i], points[i + 1], first)[None],
                    points[i + 1 : j + 1],
                    torch.lerp(points[j], points[j + 1], last)[None],
                ]
            )
            tangents = torch.cat([heads, tails], dim=1)
            ends = torch.ones(1, dtype=torch.bool, device=anchor.device)
            parts.append(
                Polylines(
                    vertices,
                    torch.zeros(len(vertices), dtype=torch.long, device=anchor.device),
                    torch.zeros_like(line.closed),
                    torch.cat([ends, anchor[i + 1 : j + 1], ends]),
                    torch.cat([tangents, tangents[-1:]]),
                )
            )
        position, nth = after, (nth + 1) % len(pattern)
    return parts
