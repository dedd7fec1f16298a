"""Ray marching: the volume rendering integral along rays through the unit sphere.

Along a ray, samples of density sigma and length delta have opacity a = 1 - exp(-sigma delta);
sample k gets the weight w_k = a_k prod_{j<k} (1 - a_j) (Mildenhall et al. 2020, eq. 3). The
samples of a ray tile its chord through the unit sphere exactly, so a constant density has the
closed-form opacity 1 - exp(-sigma chord).

Only samples that are worth a look reach the field and the sums, packed together ray by ray and
never accumulated out of order, so that the same generator gives the same bits. How many they are is
asked of the device twice, for all rays at once: a GPU stands still while it is asked.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from scorefield.sds.nerf.fields import Field
from scorefield.sds.nerf.lights import Lights

__all__ = ["Marched", "Rays", "Samples", "brightness", "march", "normals_of", "worth_a_look"]

VISIBLE = 1e-4  # samples behind less transmittance than this are not evaluated
FAINT = 1e-3  # rays of less optical depth get no normals: they take ambient light only
FLAT = 0.16  # a density that changes by less per unit of length has no direction: bounds gradients


@dataclass(frozen=True)
class Rays:
    """R rays in any order.

    Attributes:
        origins, directions: (R, 3), the directions of unit length.
        camera: number of the camera of each, (R,).
        jitter: where in its interval a sample is taken, in [0, 1), (R,).
    """

    origins: Tensor
    directions: Tensor
    camera: Tensor
    jitter: Tensor

    def split(self, size: int) -> list["Rays"]:
        """The same in pieces of at most `size` rays."""
        parts = [getattr(self, field.name).split(size) for field in fields(self)]
        return [Rays(*part) for part in zip(*parts, strict=True)]

    def tile(self, samples: int) -> tuple[Tensor, Tensor]:
        """Distances and lengths (R, samples) of samples that tile the chord of the sphere.

        All are diameter / samples long but the last, which ends with the chord; those after it
        have length 0, as all of a ray that misses.
        """
        middle = -(self.origins * self.directions).sum(dim=-1)
        closest = self.origins + middle[:, None] * self.directions
        half = (1 - closest.square().sum(dim=-1)).clamp_min(0).sqrt()
        near, far = (middle - half).clamp_min(0), (middle + half).clamp_min(0)
        step = 2 / samples
        edges = torch.arange(samples, device=near.device, dtype=near.dtype) * step
        edges = near[:, None] + edges
        delta = (far[:, None] - edges).clamp(0, step)
        return edges + self.jitter[:, None] * delta, delta

    def are_in(self, cells: Bool[Tensor, "x y z"], t: Tensor) -> Tensor:
        """Which samples (R, S) lie in the true cells of a grid on [-1, 1]^3.

        What is asked of samples outside of the unit sphere is answered at random.
        """
        count = cells.shape[0]
        first, step = (self.origins + 1) * (0.5 * count), self.directions * (0.5 * count)
        flat = torch.zeros_like(t, dtype=torch.int32)
        for axis in range(3):
            along = (t * step[:, axis, None]).add_(first[:, axis, None])
            flat = flat.mul_(count).add_(along.int())
        flat = flat.clamp_(0, cells.numel() - 1).flatten()
        return cells.flatten().index_select(0, flat).view(t.shape)

    def points(self, ray: Tensor, t: Tensor) -> Tensor:
        """The points (N, 3) at distances (N,) along rays (N,)."""
        return _take(self.origins, ray) + t[:, None] * _take(self.directions, ray)


@dataclass(frozen=True)
class Marched:
    """Sums along rays: (R,) or (R, 3); `orientation` (R, 1)."""

    opacity: Tensor
    depth: Tensor
    spread: Tensor
    colour: Tensor
    normals: Tensor | None = None
    orientation: Tensor | None = None


@dataclass(frozen=True)
class Samples:
    """Those samples of R rays that are worth a look: N of the R S there are, ray by ray.

    Attributes:
        t, delta: distances and lengths, (N,).
        index: where each is among all, (N,), rising.
        count: S.
        surface: where normals are taken; None where nobody asks.
        seen: what the field has found of each, (values, N); see `Field.look`.
    """

    t: Tensor
    delta: Tensor
    index: Tensor
    count: int
    surface: "Surface | None" = None
    seen: Tensor | None = None

    @property
    def ray(self) -> Tensor:
        """The ray of each, (N,)."""
        return torch.div(self.index, self.count, rounding_mode="floor")


@dataclass(frozen=True)
class Surface:
    """Which samples get a normal, and which normal the others take: a few for each ray.

    A ray's light stops in equal parts around its normals. A soft surface is many samples thick, and
    a normal for each would cost more than all the rest of the look.

    Attributes:
        rays: those that have normals, (Q,) of R, rising.
        count: K, of the normals of each.
        at: the sample of each normal, (Q K,) of N; some may be the same.
        part: which part of its ray's light each sample stops in, ray * K + number, (N,).
    """

    rays: Tensor
    count: int
    at: Tensor
    part: Tensor

    @classmethod
    def of(cls, rays: Tensor, count: int, ray: Tensor, stopped: Tensor) -> "Surface":
        """That of N samples, each on a ray, of whose light a share has stopped at its end."""
        wanted = (torch.arange(count, device=ray.device, dtype=torch.float64) + 0.5) / count
        along = ray + stopped.double()  # rises from ray to ray
        at = torch.searchsorted(along, (rays[:, None] + wanted).flatten())
        part = (count * stopped).ceil().long().clamp(1, count) - 1
        return cls(rays, count, at.clamp_max(len(ray) - 1), ray * count + part)


@torch.no_grad()
def worth_a_look(
    field: Field,
    occupied: Bool[Tensor, "x y z"],
    parts: Sequence[Rays],
    samples: int,
    *,
    normals: int,
) -> list[Samples]:
    """The samples in occupied space that enough light reaches, of each part.

    Args:
        field: what is looked at, its density alone.
        occupied: the cells of [-1, 1]^3 that are worth a look.
        parts: of rays.
        samples: along the sphere's diameter.
        normals: also find those that get normals, so many on a ray; 0: none.
    """
    tiles = [rays.tile(samples) for rays in parts]
    there = [
        (rays.are_in(occupied, t) & (delta > 0)).flatten()
        for rays, (t, delta) in zip(parts, tiles, strict=True)
    ]
    inside = [
        Samples(_take(t.flatten(), index), _take(delta.flatten(), index), index, samples)
        for index, (t, delta) in zip(_places(there), tiles, strict=True)
    ]
    light, solid, stopped, seen = [], [], [], list[Tensor | None]()
    for rays, found in zip(parts, inside, strict=True):
        density, values = field.look(rays.points(found.ray, found.t))
        seen.append(values)
        optical = density * found.delta
        before, whole = _before(optical, found.index, (len(rays.origins), samples))
        light.append(before < -math.log(VISIBLE))
        if normals:
            solid.append(whole > FAINT)
            all_of_it = torch.expm1(-whole.clamp_min(FAINT))
            stopped.append(torch.expm1(-before - optical) / _take(all_of_it, found.ray))
    places = _places([*light, *solid])
    kept = []
    for i, (found, place) in enumerate(zip(inside, places, strict=False)):
        index = _take(found.index, place)
        some = Samples(_take(found.t, place), _take(found.delta, place), index, samples)
        if (values := seen[i]) is not None:
            some, seen[i] = replace(some, seen=values.index_select(1, place)), None
        if normals:
            solid_rays, share = places[len(parts) + i], _take(stopped[i], place)
            surface = Surface.of(solid_rays, normals, some.ray, share)
            some = replace(some, surface=surface)
        kept.append(some)
    return kept


def march(
    field: Field,
    rays: Rays,
    kept: Samples,
    *,
    lights: Lights | None = None,
    white: bool = False,
) -> Marched:
    """The sums along each ray, with normals and the orientation where samples for them are kept.

    Args:
        field: what is looked at.
        rays: R of them.
        kept: those of their samples that are looked at.
        lights: one per camera, which scale the colours; None: unlit.
        white: white in place of the field's colours.
    """
    t, ray = kept.t, kept.ray
    points = rays.points(ray, t)
    surface = kept.surface
    density, albedo = field(points) if kept.seen is None else field(points, kept.seen)
    if surface is not None:
        normal = normals_of(field.gradient(_take(points, surface.at)))
    if white:
        albedo = torch.ones_like(albedo)
    if surface is not None and lights is not None:
        camera, there = _take(rays.camera, _take(ray, surface.at)), _take(points, surface.at)
        bright = lights.to(points).ambient[rays.camera, None].expand(-1, surface.count)
        lit = brightness(lights, camera, there, normal).view(-1, surface.count)
        bright = bright.index_copy(0, surface.rays, lit)
        albedo = albedo * _take(bright.flatten(), surface.part)[:, None]

    values = torch.cat([torch.ones_like(t)[:, None], t[:, None], albedo], dim=-1)
    shape = (len(rays.origins), kept.count)
    sums, weight = _Composite.apply(density * kept.delta, values, kept.index, ray, shape)
    opacity, depth, colour = sums.split([1, 1, 3], dim=-1)
    opacity, depth = opacity[:, 0], depth[:, 0] / opacity[:, 0].clamp_min(1e-6)
    # The spread is least around the depth: it does not change with it.
    spread = weight * (t - _take(depth.detach(), ray)).square()
    spread = _sum_per_ray(spread[:, None], ray, shape[0])[:, 0]
    if surface is None:
        return Marched(opacity, depth, spread, colour)

    count = surface.count
    weight = _sum_per_ray(weight[:, None], surface.part, shape[0] * count).view(-1, count)
    normal = _scatter(normal.view(-1, count, 3), surface.rays, shape[0])
    facing = (normal @ rays.directions[:, :, None])[..., 0].clamp_min(0)
    orientation = (weight.detach() * facing.square()).sum(dim=1, keepdim=True)
    return Marched(
        opacity, depth, spread, colour, (weight[..., None] * normal).sum(dim=1), orientation
    )


def normals_of(gradient: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
    """Unit outward normals of a density's gradient, short or zero where it is flat."""
    return _unit(-gradient, FLAT)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Of vectors (N, 3), (N,); a sum over so few numbers is several times as slow."""
    return (a * b) @ a.new_ones(3)


def _unit(vectors: Tensor, least: float) -> Tensor:
    """Vectors (N, 3) of length 1; those shorter than `least` are divided by it."""
    return vectors / _dot(vectors, vectors).clamp_min(least**2).sqrt()[:, None]


def brightness(lights: Lights, camera: Tensor, points: Tensor, normal: Tensor) -> Tensor:
    """Of points (N, 3) with unit normals (N, 3), each in the light of its camera (N,), (N, 1)."""
    lights = lights.to(points)
    towards = _unit(_take(lights.position, camera) - points, 1e-12)
    cosine = _dot(normal, towards).clamp_min(0)
    return (_take(lights.ambient, camera) + _take(lights.diffuse, camera) * cosine)[:, None]


def _places(masks: Sequence[Tensor]) -> list[Tensor]:
    """Where each mask is true, for one look at the device."""
    counts = torch.stack([mask.sum() for mask in masks]).cpu().tolist()
    pairs = zip(masks, counts, strict=True)
    return [torch.nonzero_static(mask, size=count)[:, 0] for mask, count in pairs]


def _take(values: Tensor, index: Tensor) -> Tensor:
    """`values[index]`, which is several times as slow."""
    return values.index_select(0, index)


def _scatter(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Zeros of length `size` with `values` at the distinct places `index`."""
    return values.new_zeros(size, *values.shape[1:]).index_copy(0, index, values)


def _sum_per_ray(values: Tensor, ray: Tensor, count: int) -> Tensor:
    """Sum of the values (N, C) of each of so many rays, (count, C), in a fixed order."""
    lengths = torch.bincount(ray, minlength=count)
    return torch.segment_reduce(values, "sum", lengths=lengths)


def _before(values: Tensor, index: Tensor, shape: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Sums of the values (N,) that come before each on its ray, and of all on each ray (R,).

    `index` is among all (R, S).
    """
    dense = _scatter(values, index, shape[0] * shape[1]).view(shape)
    until = dense.cumsum(dim=1)
    return _take((until - dense).flatten(), index), until[:, -1]


class _Composite(torch.autograd.Function):
    """Sums of w_k v_k along rays, and the weights w_k = a_k prod_{j<k} (1 - a_j) themselves.

    Takes sigma delta (N,) and values (N, C) of samples, their places among all (R, S), their rays,
    and (R, S); returns (R, C) and (N,). By hand, because autograd would keep, and walk through, all
    R S samples in every step of this.
    """

    @staticmethod
    def forward(
        ctx: Any,
        optical: Tensor,
        values: Tensor,
        index: Tensor,
        ray: Tensor,
        shape: tuple[int, int],
    ) -> tuple[Tensor, Tensor]:
        light = torch.exp(-_before(optical, index, shape)[0])
        weight = light * -torch.expm1(-optical)
        ctx.save_for_backward(light, weight, values, index, ray)
        ctx.shape = shape
        return _sum_per_ray(weight[:, None] * values, ray, shape[0]), weight

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(
        ctx: Any, sums: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor, None, None, None]:
        light, weight, values, index, ray = ctx.saved_tensors
        each = _take(sums, ray)
        slope = weights + (each * values) @ values.new_ones(values.shape[1])
        # A sample takes its share of the light from all those behind it.
        lost = _scatter(slope * weight, index, math.prod(ctx.shape)).view(ctx.shape)
        behind = _take((lost.sum(dim=1, keepdim=True) - lost.cumsum(dim=1)).flatten(), index)
        return slope * (light - weight) - behind, weight[:, None] * each, None, None, None
