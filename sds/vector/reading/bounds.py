"""The rectangles that shapes and groups fill."""

from collections.abc import Sequence

import torch
from torch import Tensor

from scorefield.sds.vector.nodes import Group, Shape
from scorefield.sds.vector.reading.values import IDENTITY, Matrix, multiply
from scorefield.sds.vector.reading.viewport import Box

__all__ = ["bounds", "matrix_from"]


def matrix_from(transform: Tensor | None) -> Matrix:
    """A transform (2, 3) as six numbers."""
    if transform is None:
        return IDENTITY
    (a, c, e), (b, d, f) = transform.tolist()
    return a, b, c, d, e, f


def bounds(nodes: Sequence[Shape | Group], matrix: Matrix = IDENTITY) -> Box | None:
    """The bounding box of all outlines, as SVG has it: without strokes, clips and masks.

    Args:
        nodes: what is looked at; their own transforms count.
        matrix: applied to them.

    Returns:
        The box, or None if there is nothing.
    """
    found = [box for node in nodes for box in _sides(node, matrix)]
    if not found:
        return None
    low = [min(box[i] for box in found) for i in (0, 1)]
    high = [max(box[i] for box in found) for i in (2, 3)]
    return Box(low[0], low[1], high[0] - low[0], high[1] - low[1])


def _sides(node: Shape | Group, matrix: Matrix) -> list[list[float]]:
    inner = multiply(matrix, matrix_from(node.transform))
    if isinstance(node, Group):
        return [box for child in node.children for box in _sides(child, inner)]
    topology, points = node.geometry.topology, node.geometry.points().detach().double()
    if not len(topology.picks):
        return []
    a, b, c, d, e, f = inner
    moved = points @ points.new_tensor([[a, b], [c, d]]) + points.new_tensor([e, f])
    control = topology.mix.double() @ moved[topology.picks.view(-1)].view(-1, 4, 2)
    p0, p1, p2, p3 = control.unbind(1)
    # Where the derivative of a cubic, u t^2 + v t + w, vanishes.
    u, v, w = p3 - 3 * p2 + 3 * p1 - p0, 2 * (p2 - 2 * p1 + p0), p1 - p0
    root = (v * v - 4 * u * w).clamp_min(0).sqrt()
    half = -0.5 * (v + torch.where(v < 0, -1.0, 1.0) * root)
    turns = torch.stack([half / u, w / half]).nan_to_num(0.0, 0.0, 0.0).clamp(0, 1)
    s = 1 - turns
    inside = s**3 * p0 + 3 * s**2 * turns * p1 + 3 * s * turns**2 * p2 + turns**3 * p3
    places = torch.cat([inside.reshape(-1, 2), p0, p3])
    return [[*places.amin(0).tolist(), *places.amax(0).tolist()]]
