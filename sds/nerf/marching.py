"""Ray marching: the volume rendering integral along rays through the unit sphere.

Along a ray, samples of density sigma and length delta have opacity a = 1 - exp(-sigma delta);
sample k gets the weight w_k = a_k prod_{j<k} (1 - a_j) (Mildenhall et al. 2020, eq. 3). The
samples of a ray tile its chord through the unit sphere exactly, so a constant density has the
closed-form opacity 1 - exp(-sigma chord).

Only samples that are worth a look reach the field, packed together and scattered back without
accumulation, so that the same generator gives the same bits. How many they are is asked of the
device twice, for all rays at once: a GPU stands still while it is asked.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.sds.nerf.fields import Field
from scorefield.sds.nerf.lights import Lights

__all__ = ["Marched", "Rays", "Samples", "brightness", "march", "normals_of", "worth_a_look"]

VISIBLE = 1e-4  # samples behind less transmittance than this are not evaluated
NORMAL_WEIGHT = 1e-3  # samples that weigh less get no normal: they take ambient light only
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

    def everywhere(self, t: Tensor) -> Tensor:
        """The points (R, samples, 3) of all samples; in memory one axis after the other."""
        origins, directions = self.origins.T[:, :, None], self.directions.T[:, :, None]
        return (origins + t * directions).permute(1, 2, 0)

    def points(self, t: Tensor, index: Tensor) -> Tensor:
        """The points (N, 3) of the flat sample indices (N,)."""
        ray = index // t.shape[1]
        return self.origins[ray] + t.flatten()[index, None] * self.directions[ray]


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
    """Those samples of R rays that are worth a look, N of the R S there are.

    Attributes:
        t, delta: distances and lengths of all, (R, S).
        index: the flat indices of the N.
        heavy: which of the N weigh enough to get a normal, (M,); None where nobody asks.
    """

    t: Tensor
    delta: Tensor
    index: Tensor
    heavy: Tensor | None = None


@torch.no_grad()
def worth_a_look(
    field: Field,
    occupied: Callable[[Tensor], Tensor],
    parts: Sequence[Rays],
    samples: int,
    *,
    normals: bool,
) -> list[Samples]:
    """The samples in occupied space that enough light reaches, of each part.

    Args:
        field: what is looked at, its density alone.
        occupied: which of points (..., 3) are worth a look, (...).
        parts: of rays.
        samples: along the sphere's diameter.
        normals: also find those that get a normal.
    """
    tiles = [rays.tile(samples) for rays in parts]
    there = [
        (occupied(rays.everywhere(t)) & (delta > 0)).flatten()
        for rays, (t, delta) in zip(parts, tiles, strict=True)
    ]
    indices = _places(there)
    light, weighs = [], []
    for rays, (t, delta), index in zip(parts, tiles, indices, strict=True):
        optical = _scatter(field.density(rays.points(t, index)), index, delta.numel())
        optical = optical.view_as(delta) * delta
        before = (optical.cumsum(dim=1) - optical).flatten()[index]
        light.append(before < -math.log(VISIBLE))
        if normals:
            weight = torch.exp(-before) * -torch.expm1(-optical.flatten()[index])
            weighs.append(weight > NORMAL_WEIGHT)  # light reaches those that do
    places = _places([*light, *weighs])
    rank = [mask.cumsum(0) - 1 for mask in light[: len(weighs)]]
    heavy = [rank[i][place] for i, place in enumerate(places[len(light) :])]
    return [
        Samples(*tile, index[place], heavy[i] if normals else None)
        for i, (tile, index, place) in enumerate(zip(tiles, indices, places, strict=False))
    ]


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
    t, delta, index = kept.t, kept.delta, kept.index
    points = rays.points(t, index)
    density, albedo = field(points)
    optical = _scatter(density, index, delta.numel()).view_as(delta) * delta
    weights = _weights(optical)
    opacity = -torch.expm1(-optical.sum(dim=1))
    depth = (weights * t).sum(dim=1) / opacity.clamp_min(1e-6)
    spread = (weights * (t - depth[:, None]).square()).sum(dim=1)

    weight = weights.flatten()[index]
    ray = index // t.shape[1]
    if white:
        albedo = torch.ones_like(albedo)
    if kept.heavy is None:
        colour = _sum_per_ray(weight[:, None] * albedo, index, delta)
        return Marched(opacity, depth, spread, colour)

    normal = _scatter(normals_of(field, points[kept.heavy]), kept.heavy, len(points))
    if lights is not None:
        albedo = albedo * brightness(lights, rays.camera[ray], points, normal)
    away = _dot(normal, rays.directions[ray])[:, None].clamp_min(0)
    values = [weight[:, None] * torch.cat([albedo, normal], dim=-1)]
    values += [weight.detach()[:, None] * away.square()]
    sums = _sum_per_ray(torch.cat(values, dim=-1), index, delta)
    colour, normal, orientation = sums.split([3, 3, 1], dim=-1)
    return Marched(opacity, depth, spread, colour, normal, orientation)


def normals_of(field: Field, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
    """Unit outward normals -grad(density) / |grad(density)|, short or zero where it is flat."""
    return _unit(-field.gradient(points), FLAT)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Of vectors (N, 3), (N,); a sum over so few numbers is several times as slow."""
    return (a * b) @ a.new_ones(3)


def _unit(vectors: Tensor, least: float) -> Tensor:
    """Vectors (N, 3) of length 1; those shorter than `least` are divided by it."""
    return vectors / _dot(vectors, vectors).clamp_min(least**2).sqrt()[:, None]


def brightness(lights: Lights, camera: Tensor, points: Tensor, normal: Tensor) -> Tensor:
    """Of points (N, 3) with unit normals (N, 3), each in the light of its camera (N,), (N, 1)."""
    lights = lights.to(points)
    towards = _unit(lights.position[camera] - points, 1e-12)
    cosine = _dot(normal, towards).clamp_min(0)
    return (lights.ambient[camera] + lights.diffuse[camera] * cosine)[:, None]


def _places(masks: Sequence[Tensor]) -> list[Tensor]:
    """Where each mask is true, for one look at the device."""
    counts = torch.stack([mask.sum() for mask in masks]).cpu().tolist()
    pairs = zip(masks, counts, strict=True)
    return [torch.nonzero_static(mask, size=count)[:, 0] for mask, count in pairs]


def _scatter(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Zeros of length `size` with `values` at the distinct places `index`."""
    return values.new_zeros(size, *values.shape[1:]).index_put((index,), values)


def _sum_per_ray(values: Tensor, index: Tensor, delta: Tensor) -> Tensor:
    """Sum of the values (N, C) of each ray, (R, C), in a fixed order."""
    rays, samples = delta.shape
    lengths = torch.bincount(index // samples, minlength=rays)
    return torch.segment_reduce(values, "sum", lengths=lengths)


def _weights(optical: Tensor) -> Tensor:
    """Weights of the samples from their sigma delta (R, S): a_k prod_{j<k} (1 - a_j)."""
    before = optical.cumsum(dim=1) - optical
    return torch.exp(-before) * -torch.expm1(-optical)
