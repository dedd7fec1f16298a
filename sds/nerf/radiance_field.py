"""A radiance field rendered by ray marching, with empty space skipped.

Along a ray, samples of density sigma and length delta have opacity a = 1 - exp(-sigma delta);
sample k gets the weight w_k = a_k prod_{j<k} (1 - a_j) (Mildenhall et al. 2020, eq. 3). The
samples of a ray tile its chord through the unit sphere exactly, so a constant density has the
closed-form opacity 1 - exp(-sigma chord).

An occupancy grid tells which samples are worth a look: only those reach the field (Instant-NGP,
Müller et al. 2022, appendix E), packed together and scattered back without accumulation, so that
the same generator gives the same bits.
"""

import math
from dataclasses import dataclass, fields
from enum import StrEnum

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from scorefield.sds.nerf.cameras import Cameras
from scorefield.sds.nerf.fields import Field, VoxelGrid

__all__ = [
    "Lights",
    "Rendering",
    "Scene",
    "Shading",
    "Sky",
    "draw_lights",
]

RAYS_AT_ONCE = 2**14  # bounds the memory of large pictures
VISIBLE = 1e-4  # samples behind less transmittance than this are not evaluated
NORMAL_WEIGHT = 1e-3  # samples that weigh less get no normal: they take ambient light only
FLAT = 1e-2  # a density that differs by less over two steps has no direction: bounds gradients
NORMAL_STEP = 1 / 32  # of the finite differences, about one voxel of the default field


class Shading(StrEnum):
    """How the surface answers the light; DreamFusion, section 3.1."""

    ALBEDO = "albedo"  # the colour itself, unlit
    LAMBERTIAN = "lambertian"  # albedo * (ambient + diffuse * max(0, n.l))
    TEXTURELESS = "textureless"  # the same with a white albedo: shows the geometry alone


@dataclass(frozen=True)
class Lights:
    """One point light per camera.

    Attributes:
        position: in the world, shape (B, 3).
        ambient: intensity from everywhere, shape (B,).
        diffuse: intensity from the light, shape (B,).
    """

    position: Float[Tensor, "batch 3"]
    ambient: Float[Tensor, " batch"]
    diffuse: Float[Tensor, " batch"]

    @classmethod
    def at(
        cls, position: Float[Tensor, "batch 3"], ambient: float = 0.1, diffuse: float = 0.9
    ) -> "Lights":
        """Lights of one ambient and diffuse intensity."""
        one = torch.ones_like(position[:, 0])
        return cls(position, ambient * one, diffuse * one)


def draw_lights(cameras: Cameras, generator: torch.Generator, spread: float = 0.8) -> Lights:
    """Point lights around the cameras.

    The direction is the camera's plus N(0, spread^2) per axis (threestudio's 1.0 at a camera
    distance of 1.25), the distance U(0.8, 1.5) times the camera's.
    """
    n, device = len(cameras), generator.device
    noise = torch.randn(n, 3, generator=generator, device=device).to(cameras.fov)
    far = 0.8 + 0.7 * torch.rand(n, 1, generator=generator, device=device).to(cameras.fov)
    towards = F.normalize(F.normalize(cameras.position, dim=-1) + spread * noise, dim=-1)
    return Lights.at(far * cameras.distance[:, None] * towards)


@dataclass(frozen=True)
class Rendering:
    """What the cameras saw.

    Attributes:
        images: over the background, in [0, 1], shape (B, 3, H, W).
        opacity: sum of the weights, in [0, 1], shape (B, 1, H, W).
        depth: mean distance along the ray at which light stops, 0 where nothing stops it.
        spread: variance of that distance, times the opacity.
        normals: mean outward normal, shape (B, 3, H, W); None unless computed.
        orientation: sum of w max(0, n.d)^2, the weights detached; None unless computed.
    """

    images: Float[Tensor, "batch 3 height width"]
    opacity: Float[Tensor, "batch 1 height width"]
    depth: Float[Tensor, "batch 1 height width"]
    spread: Float[Tensor, "batch 1 height width"]
    normals: Float[Tensor, "batch 3 height width"] | None = None
    orientation: Float[Tensor, "batch 1 height width"] | None = None


class Sky(nn.Module):
    """A learned background: sigmoid of spherical harmonics of the direction, up to degree 2.

    Nine numbers per colour channel paint a smooth sky and cannot paint an object.

    Args:
        brightness: the grey it starts as; lighter than a new field, which is 0.5.
    """

    def __init__(self, brightness: float = 0.8) -> None:
        super().__init__()
        start = torch.zeros(9, 3)
        start[0] = math.log(brightness / (1 - brightness))
        self.coefficients = nn.Parameter(start)

    def forward(self, directions: Float[Tensor, "rays 3"]) -> Float[Tensor, "rays 3"]:
        """Colour in [0, 1] seen along unit directions."""
        x, y, z = directions.unbind(-1)
        basis = [torch.ones_like(x), x, y, z, x * y, y * z, x * z, x * x - y * y, 3 * z * z - 1]
        return torch.sigmoid(torch.stack(basis, dim=-1) @ self.coefficients)


class Scene(nn.Module):
    """A field, a background and the occupancy grid that makes rendering cheap.

    The grid starts full; call `update_occupancy` every 16 steps or so, the first time at once.
    It is a buffer: it is saved, and a resumed run skips the same samples.

    Args:
        field: what is rendered; None: `VoxelGrid()`.
        background: colour (N, 3) of unit directions (N, 3); None: `Sky()`.
        cells: of the occupancy grid, per axis of [-1, 1]^3.
        occupied_density: cells below this density count as empty.
    """

    peak: Tensor
    occupied: Tensor

    def __init__(
        self,
        field: Field | None = None,
        background: nn.Module | None = None,
        cells: int = 64,
        occupied_density: float = 0.1,
    ) -> None:
        super().__init__()
        self.field = VoxelGrid() if field is None else field
        self.background = Sky() if background is None else background
        self.cells = cells
        self.occupied_density = occupied_density
        self.register_buffer("peak", torch.zeros(cells, cells, cells))
        self.register_buffer("occupied", torch.ones(cells, cells, cells, dtype=torch.bool))

    def density(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        """The density that is rendered: the field's, zero in the cells that are skipped."""
        index = self._is_occupied(points).nonzero()[:, 0]
        density = self.field.density(points[index])
        return density.new_zeros(len(points)).index_put((index,), density)

    @torch.no_grad()
    def update_occupancy(
        self, generator: torch.Generator | None = None, decay: float = 0.7
    ) -> None:
        """Look at the density again, once in every cell, and grow what is occupied by one cell.

        The grid remembers peak <- max(decay * peak, density), so that a cell is not lost to one
        low look.

        Args:
            generator: jitters the look within the cells; None looks at their centres.
            decay: what a peak keeps per update.
        """
        grid = torch.arange(self.cells, device=self.peak.device)
        index = torch.cartesian_prod(grid, grid, grid)
        offset = torch.full((len(index), 3), 0.5)
        if generator is not None:
            offset = torch.rand(len(index), 3, generator=generator, device=generator.device)
        points = (index + offset.to(self.peak)) * (2 / self.cells) - 1
        inside = (points.norm(dim=-1) <= 1).nonzero()[:, 0]
        density = torch.zeros_like(self.peak).flatten()
        density[inside] = self.field.density(points[inside]).to(density)
        self.peak.copy_(torch.maximum(decay * self.peak, density.view_as(self.peak)))
        full = (self.peak > self.occupied_density).to(self.peak)
        self.occupied.copy_(F.max_pool3d(full[None], 3, stride=1, padding=1)[0] > 0)

    def render(
        self,
        cameras: Cameras,
        height: int,
        width: int,
        *,
        samples: int = 64,
        shading: Shading = Shading.ALBEDO,
        lights: Lights | None = None,
        normals: bool = False,
        background: Float[Tensor, "..."] | None = None,
        generator: torch.Generator | None = None,
    ) -> Rendering:
        """What the cameras see.

        Args:
            cameras: B of them.
            height: of the pictures, in pixels.
            width: of the pictures, in pixels.
            samples: along the sphere's diameter; a shorter chord gets proportionally fewer.
            shading: any but `Shading.ALBEDO` computes normals.
            lights: one per camera; None: a lamp at each camera.
            normals: compute normals (and the orientation) whatever the shading.
            background: a colour in place of the scene's background: (3,), or (B, 3), or anything
                else that broadcasts with images (B, 3, H, W).
            generator: jitters the samples along each ray; None: their middles.
        """
        if min(height, width, samples) < 1:
            raise ValueError(
                f"height, width and samples must be at least 1, got {height}, {width} and {samples}"
            )
        shading = Shading(shading)
        if lights is None:
            lights = Lights.at(cameras.position)
        origins, directions = cameras.origins_and_directions(height, width)
        camera = torch.arange(len(cameras), device=origins.device)
        camera = camera.repeat_interleave(height * width)
        origins, directions = origins.reshape(-1, 3), directions.reshape(-1, 3)
        jitter = torch.full((len(origins),), 0.5)
        if generator is not None:
            jitter = torch.rand(len(origins), generator=generator, device=generator.device)
        rays = _Rays(origins, directions, camera, jitter.to(origins))

        lit = None if shading is Shading.ALBEDO else lights
        white = shading is Shading.TEXTURELESS
        marched = [
            self._march(part, samples, lit, white, normals or lit is not None)
            for part in rays.split(RAYS_AT_ONCE)
        ]

        def picture(name: str) -> Tensor:
            flat = torch.cat([getattr(part, name) for part in marched])
            return flat.view(len(cameras), height, width, -1).permute(0, 3, 1, 2)

        opacity = picture("opacity")
        if background is None:
            behind = self.background(directions).view(len(cameras), height, width, 3)
            behind = behind.permute(0, 3, 1, 2)
        else:
            behind = background.to(opacity)
            behind = behind.view(*behind.shape, 1, 1) if behind.ndim <= 2 else behind
        return Rendering(
            images=picture("colour") + (1 - opacity) * behind,
            opacity=opacity,
            depth=picture("depth"),
            spread=picture("spread"),
            normals=picture("normals") if marched[0].normals is not None else None,
            orientation=picture("orientation") if marched[0].normals is not None else None,
        )

    def _march(
        self, rays: "_Rays", samples: int, lights: Lights | None, white: bool, normals: bool
    ) -> "_Marched":
        """The sums along each ray."""
        t, delta = rays.tile(samples)
        index = delta.flatten().nonzero()[:, 0]
        points = rays.points(t, index)
        index = index[self._is_occupied(points)]
        index = index[self._is_visible(rays.points(t, index), index, delta)]
        points = rays.points(t, index)

        density, albedo = self.field(points)
        optical = _scatter(density, index, delta.numel()).view_as(delta) * delta
        weights = _weights(optical)
        opacity = -torch.expm1(-optical.sum(dim=1))
        depth = (weights * t).sum(dim=1) / opacity.clamp_min(1e-6)
        spread = (weights * (t - depth[:, None]).square()).sum(dim=1)

        weight = weights.flatten()[index]
        ray = index // samples
        if white:
            albedo = torch.ones_like(albedo)
        if not normals:
            colour = _sum_per_ray(weight[:, None] * albedo, index, delta)
            return _Marched(opacity, depth, spread, colour)

        heavy = (weight > NORMAL_WEIGHT).nonzero()[:, 0]
        normal = _scatter(self.normals(points[heavy]), heavy, len(points))
        if lights is not None:
            camera = rays.camera[ray]
            towards = F.normalize(lights.position.to(points)[camera] - points, dim=-1)
            cosine = (normal * towards).sum(dim=-1).clamp_min(0)
            ambient, diffuse = lights.ambient.to(points), lights.diffuse.to(points)
            albedo = albedo * (ambient[camera] + diffuse[camera] * cosine)[:, None]
        away = (normal * rays.directions[ray]).sum(dim=-1, keepdim=True).clamp_min(0)
        values = [weight[:, None] * torch.cat([albedo, normal], dim=-1)]
        values += [weight.detach()[:, None] * away.square()]
        sums = _sum_per_ray(torch.cat(values, dim=-1), index, delta)
        colour, normal, orientation = sums.split([3, 3, 1], dim=-1)
        return _Marched(opacity, depth, spread, colour, normal, orientation)

    def normals(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """Unit outward normals -grad(density) / |grad(density)|, short or zero where it is flat.

        The gradient is taken by central differences, second order in their step and
        differentiable in the field's parameters.
        """
        steps = NORMAL_STEP * torch.eye(3, dtype=points.dtype, device=points.device)
        around = points + torch.stack([steps, -steps])[:, :, None]  # (2, 3, N, 3)
        ahead, behind = self.field.density(around.view(-1, 3)).view(2, 3, -1)
        return F.normalize((behind - ahead).T, dim=-1, eps=FLAT)

    def _is_occupied(self, points: Float[Tensor, "points 3"]) -> Bool[Tensor, " points"]:
        cell = ((points + 1) * (0.5 * self.cells)).long().clamp(0, self.cells - 1)
        index = (cell[:, 0] * self.cells + cell[:, 1]) * self.cells + cell[:, 2]
        return self.occupied.flatten()[index]

    @torch.no_grad()
    def _is_visible(
        self, points: Float[Tensor, "points 3"], index: Tensor, delta: Tensor
    ) -> Bool[Tensor, " points"]:
        """Which samples enough light reaches, by a look at the densities alone."""
        density = self.field.density(points)
        passed = _scatter(density, index, delta.numel()).view_as(delta) * delta
        before = passed.cumsum(dim=1) - passed
        return before.flatten()[index] < -math.log(VISIBLE)


@dataclass(frozen=True)
class _Rays:
    """Rays in any order: origins and unit directions (R, 3), camera and jitter (R,)."""

    origins: Tensor
    directions: Tensor
    camera: Tensor
    jitter: Tensor

    def split(self, size: int) -> list["_Rays"]:
        parts = [getattr(self, field.name).split(size) for field in fields(self)]
        return [_Rays(*part) for part in zip(*parts, strict=True)]

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

    def points(self, t: Tensor, index: Tensor) -> Tensor:
        """The points (N, 3) of the flat sample indices (N,)."""
        ray = index // t.shape[1]
        return self.origins[ray] + t.flatten()[index, None] * self.directions[ray]


@dataclass(frozen=True)
class _Marched:
    """Sums along rays: (R,) or (R, 3); `orientation` (R, 1)."""

    opacity: Tensor
    depth: Tensor
    spread: Tensor
    colour: Tensor
    normals: Tensor | None = None
    orientation: Tensor | None = None


def _scatter(values: Tensor, index: Tensor, size: int) -> Tensor:
    """Zeros of length `size` with `values` at the distinct places `index`."""
    return values.new_zeros(size, *values.shape[1:]).index_put((index,), values)


def _sum_per_ray(values: Tensor, index: Tensor, delta: Tensor) -> Tensor:
    """Sum of the values (N, C) of each ray, (R, C), in a fixed order."""
    return _scatter(values, index, delta.numel()).view(*delta.shape, -1).sum(dim=1)


def _weights(optical: Tensor) -> Tensor:
    """Weights of the samples from their sigma delta (R, S): a_k prod_{j<k} (1 - a_j)."""
    before = optical.cumsum(dim=1) - optical
    return torch.exp(-before) * -torch.expm1(-optical)
