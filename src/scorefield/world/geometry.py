"""Exact ray casting of affine spheres, boxes and cones.

An object is a list of `Part`s, each one unit primitive under an affine map. A ray meets each
primitive in closed form, so an image costs one evaluation per part and pixel where sphere tracing
of a distance field costs one per part, pixel and step, and normals, part masks and visibility come
out exact.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor


class Kind(IntEnum):
    """The unit primitives: each fills [-1, 1] on all three axes of its own frame."""

    SPHERE = 0
    BOX = 1
    CONE = 2
    """Truncated cone along z: radius 1 at z = -1 and `taper` at z = +1."""


@dataclass(frozen=True)
class Part:
    """One coloured primitive of an object: world point = centre + linear @ local point."""

    name: str
    kind: Kind
    centre: np.ndarray
    linear: np.ndarray
    color: np.ndarray
    taper: float | int = 1.0

    def moved(self, scale: float | int, shift: np.ndarray) -> "Part":
        """The part of the object that is first shifted, then scaled."""
        centre = (self.centre + shift) * scale
        return Part(self.name, self.kind, centre, self.linear * scale, self.color, self.taper)


def rotation(axis: int, degrees: float | int) -> np.ndarray:
    """Right-handed rotation about a coordinate axis (0, 1, 2)."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    i, j = (axis + 1) % 3, (axis + 2) % 3
    out = np.eye(3)
    out[i, i], out[i, j], out[j, i], out[j, j] = c, -s, s, c
    return out


@dataclass
class PackedParts:
    """The parts of a batch of objects, flattened, as tensors.

    `owner` says which object each part belongs to, `slots` lists the parts of each object, padded
    with the index one past the last part.
    """

    owner: Int[Tensor, "parts"]
    kind: Int[Tensor, "parts"]
    centre: Float[Tensor, "parts 3"]
    inverse: Float[Tensor, "parts 3 3"]
    taper: Float[Tensor, "parts"]
    color: Float[Tensor, "parts 3"]
    slots: Int[Tensor, "batch slots"]
    names: list[str] = field(default_factory=list)

    @classmethod
    def pack(cls, objects: Sequence[Sequence[Part]]) -> "PackedParts":
        """Flatten the parts of several objects."""
        flat = [part for parts in objects for part in parts]
        counts = [len(parts) for parts in objects]
        slots = np.full((len(objects), max(counts)), len(flat))
        start = 0
        for row, count in enumerate(counts):
            slots[row, :count] = np.arange(start, start + count)
            start += count
        inverse = np.linalg.inv(np.stack([part.linear for part in flat]))

        def tensor(values: object) -> Tensor:
            return torch.as_tensor(np.asarray(values), dtype=torch.float32)

        return cls(
            owner=torch.as_tensor(np.repeat(np.arange(len(objects)), counts)),
            kind=torch.tensor([int(part.kind) for part in flat]),
            centre=tensor(np.stack([part.centre for part in flat])),
            inverse=tensor(inverse),
            taper=tensor([part.taper for part in flat]),
            color=tensor(np.stack([part.color for part in flat])),
            slots=torch.as_tensor(slots),
            names=[part.name for part in flat],
        )


@dataclass
class Hits:
    """What the rays of a batch of images meet first.

    `part` is the flat index into the packed parts, -1 where a ray meets nothing (`depth` is inf and
    `normal` zero there).
    """

    depth: Float[Tensor, "batch rays"]
    part: Int[Tensor, "batch rays"]
    normal: Float[Tensor, "batch rays 3"]


def cast(
    parts: PackedParts,
    origins: Float[Tensor, "batch 3"],
    directions: Float[Tensor, "batch rays 3"],
) -> Hits:
    """Meet the rays of each image with the parts of its object.

    Origins must lie outside every part. Depth is in multiples of the ray's direction.
    """
    origin = torch.einsum("pij,pj->pi", parts.inverse, origins[parts.owner] - parts.centre)
    # Rays in each part's own frame, components first, so that each is a contiguous (parts, rays).
    local = parts.inverse @ directions.mT[parts.owner]  # (parts, 3, rays)
    depth = torch.empty(local.shape[0] + 1, local.shape[2])
    depth[-1] = torch.inf  # the padding part
    for kind, meet in ((Kind.SPHERE, _sphere), (Kind.BOX, _box), (Kind.CONE, _cone)):
        rows = (parts.kind == kind).nonzero()[:, 0]
        if len(rows):
            depth[rows] = meet(origin[rows, :, None], local[rows], parts.taper[rows, None])
    nearest, slot = depth[parts.slots].min(dim=1)  # (batch, rays)
    part = parts.slots.gather(1, slot)
    missed = torch.isinf(nearest)
    normal = _normals(parts, origin, local, nearest, part.masked_fill(missed, 0))
    normal.masked_fill_(missed[..., None], 0.0)
    return Hits(nearest, part.masked_fill(missed, -1), normal)


def _sphere(o: Tensor, d: Tensor, taper: Tensor) -> Tensor:
    a = d.square().sum(1)
    b = (o * d).sum(1)
    c = o.square().sum(1) - 1
    disc = b * b - a * c
    near = (-b - disc.clamp(min=0).sqrt()) / a
    return torch.where((disc > 0) & (near > 0), near, torch.inf)


def _box(o: Tensor, d: Tensor, taper: Tensor) -> Tensor:
    # A ray parallel to a face is tilted a little: 1 / 0 would make the far end inf - inf.
    inverse = 1 / torch.where(d == 0, 1e-20, d)
    near = (-o * inverse - inverse.abs()).amax(1)
    far = (-o * inverse + inverse.abs()).amin(1)
    return torch.where((near <= far) & (near > 0), near, torch.inf)


def _cone(o: Tensor, d: Tensor, taper: Tensor) -> Tensor:
    # The side is x^2 + y^2 = r(z)^2 with r(z) = mid + slope z.
    mid, slope = (1 + taper) / 2, (taper - 1) / 2
    ox, oy, oz = o[:, 0], o[:, 1], o[:, 2]
    dx, dy, dz = d[:, 0], d[:, 1], d[:, 2]
    radius = mid + slope * oz
    a = dx * dx + dy * dy - slope * slope * dz * dz
    b = ox * dx + oy * dy - slope * dz * radius
    c = ox * ox + oy * oy - radius * radius
    root = (b * b - a * c).clamp(min=0).sqrt()
    hit = b * b - a * c > 0
    best = torch.full_like(a, torch.inf)
    for sign in (-1, 1):
        t = (-b + sign * root) / a
        z = oz + t * dz
        valid = hit & (z.abs() <= 1) & (mid + slope * z >= 0) & (t > 0)
        best = torch.where(valid & (t < best), t, best)
    for end in (-1, 1):
        t = (end - oz) / dz
        r2 = (ox + t * dx).square() + (oy + t * dy).square()
        valid = (r2 <= (mid + end * slope).square()) & (t > 0)
        best = torch.where(valid & (t < best), t, best)
    return best


def _normals(
    parts: PackedParts, origin: Tensor, local: Tensor, depth: Tensor, part: Tensor
) -> Tensor:
    rays = torch.arange(local.shape[2]).expand_as(part)
    t = torch.where(torch.isinf(depth), 0.0, depth)[..., None]
    p = origin[part] + t * local[part, :, rays]  # (batch, rays, 3), in the part's frame
    kind = parts.kind[part][..., None]
    slope = ((parts.taper - 1) / 2)[part]
    radius = p[..., :2].norm(dim=-1)
    cap = torch.stack([torch.zeros_like(radius), torch.zeros_like(radius), p[..., 2]], -1)
    side = torch.stack([p[..., 0], p[..., 1], -slope * radius], -1)
    face = p * (p.abs() >= p.abs().amax(-1, keepdim=True))
    on_side = ((1 + slope + slope * p[..., 2]) - radius).abs() < 1 - p[..., 2].abs()
    cone = torch.where(on_side[..., None], side, cap)
    n = torch.where(kind == Kind.SPHERE, p, torch.where(kind == Kind.BOX, face, cone))
    n = torch.einsum("brji,brj->bri", parts.inverse[part], n)  # normals map by inverse transpose
    return torch.nn.functional.normalize(n, dim=-1)
