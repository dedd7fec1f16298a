"""Penalties on drawings: outlines that cross themselves, and colours that are too strong."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.sds.vector.geometry import Geometry

__all__ = ["crossing_penalty", "saturation_penalty"]


def crossing_penalty(geometries: Sequence[Geometry]) -> Float[Tensor, ""]:
    """How far cubics are bent into loops: the Xing loss (Ma et al. 2022, "LIVE", eq. 4).

    A cubic A B C D whose last leg turns to the other side of the first than the middle leg does
    crosses itself, or is about to. The penalty is the sine of that turn, averaged over all
    segments; 0 where every segment turns one way.
    """
    picks, mixes, points, base = [], [], [], 0
    for geometry in geometries:
        own, topology = geometry.points(), geometry.topology
        points.append(own)
        picks.append(topology.picks + base)
        mixes.append(topology.mix)
        base += len(own)
    if not points:
        return torch.zeros(())
    vertices = torch.cat(points)
    corners = vertices[torch.cat(picks).to(vertices.device)]  # (segments, 4, 2)
    control = torch.cat(mixes).to(vertices) @ corners
    first, middle, last = control.diff(dim=1).unbind(1)
    turn = _cross(first, middle)
    lengths = first.norm(dim=1) * last.norm(dim=1)
    sine = _cross(first, last) / lengths.clamp_min(1e-8)
    against = torch.where(turn.detach() >= 0, -sine, sine)
    return against.clamp_min(0).mean()


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]


def saturation_penalty(image: Float[Tensor, "*views 3 height width"]) -> Float[Tensor, ""]:
    """Mean square of the pixels in [-1, 1], of an image in [0, 1]: against garish pixel art.

    Jain et al. 2022, "VectorFusion", section 4.4.
    """
    return (2 * image - 1).square().mean()
