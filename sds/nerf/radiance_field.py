"""A radiance field rendered by ray marching, with empty space skipped.

An occupancy grid tells which samples are worth a look: only those reach the field (Instant-NGP,
Müller et al. 2022, appendix E).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from scorefield.cameras import Cameras
from scorefield.devices import to_device
from scorefield.sds.nerf.fields import Field, VoxelGrid
from scorefield.sds.nerf.lights import Lights, Shading
from scorefield.sds.nerf.marching import Marched, Rays, Samples, march, worth_a_look

__all__ = ["RadianceField", "Rendering", "Sky"]

RAYS_AT_ONCE = 2**14  # bounds the memory of large images
NORMALS = 4
"""Normals of a ray, enough to learn from: an update sees thousands of rays."""


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


class RadianceField(nn.Module):
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
    reached: Tensor

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
        self.register_buffer("reached", _cells_of_the_sphere(cells), persistent=False)

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
        corner = _cell_corners(self.cells)
        offset = torch.full(corner.shape, 0.5)
        if generator is not None:
            offset = torch.rand(corner.shape, generator=generator, device=generator.device)
        points = (corner + offset) * (2 / self.cells) - 1
        points = to_device(points, self.peak.device)[self.reached]
        density = torch.zeros_like(self.peak).flatten()
        density[self.reached] = self.field.density(points).to(density)
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
        normals_per_ray: int = NORMALS,
        background: Float[Tensor, "..."] | None = None,
        generator: torch.Generator | None = None,
    ) -> Rendering:
        """What the cameras see.

        Args:
            cameras: B of them.
            height: of the images, in pixels.
            width: of the images, in pixels.
            samples: along the sphere's diameter; a shorter chord gets proportionally fewer.
            shading: any but `Shading.ALBEDO` computes normals.
            lights: one per camera; None: a lamp at each camera.
            normals: compute normals (and the orientation) whatever the shading.
            normals_per_ray: in how many places on a ray, each where an equal part of its light
                stops; more show a soft surface more smoothly.
            background: a colour in place of the scene's background: (3,), or (B, 3), or anything
                else that broadcasts with images (B, 3, H, W).
            generator: jitters the samples along each ray; None: their middles.
        """
        if min(height, width, samples, normals_per_ray) < 1:
            raise ValueError(
                "height, width, samples and normals_per_ray must be at least 1, got "
                f"{height}, {width}, {samples} and {normals_per_ray}"
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
        jitter = to_device(jitter.to(origins.dtype), origins.device)
        rays = Rays(origins, directions, camera, jitter)
        lit = None if shading is Shading.ALBEDO else lights
        count = normals_per_ray if normals or lit is not None else 0
        white = shading is Shading.TEXTURELESS
        marched = self.march_rays(rays, samples, lights=lit, white=white, normals=count)

        def image(name: str) -> Tensor:
            flat = torch.cat([getattr(part, name) for part in marched])
            return flat.view(len(cameras), height, width, -1).permute(0, 3, 1, 2)

        opacity = image("opacity")
        if background is None:
            behind = self.background(directions).view(len(cameras), height, width, 3)
            behind = behind.permute(0, 3, 1, 2)
        else:
            behind = background.to(opacity)
            behind = behind.view(*behind.shape, 1, 1) if behind.ndim <= 2 else behind
        return Rendering(
            images=image("colour") + (1 - opacity) * behind,
            opacity=opacity,
            depth=image("depth"),
            spread=image("spread"),
            normals=image("normals") if marched[0].normals is not None else None,
            orientation=image("orientation") if marched[0].normals is not None else None,
        )

    def march_rays(
        self,
        rays: Rays,
        samples: int = 64,
        *,
        lights: Lights | None = None,
        white: bool = False,
        normals: int = 0,
    ) -> list[Marched]:
        """What is summed along rays, before any background; as many at once as memory allows.

        Args:
            rays: from anywhere, of any camera.
            samples: along the sphere's diameter.
            lights: one per camera, which scale the colours; None: unlit.
            white: white in place of the field's colours.
            normals: also sum normals, so many of each ray, which lights need.
        """
        with self.field.held():
            return [
                march(self.field, part, kept, lights=lights, white=white)
                for group in self._groups(rays.split(RAYS_AT_ONCE))
                for part, kept in zip(group, self._look(group, samples, normals), strict=True)
            ]

    def _groups(self, parts: list[Rays]) -> list[list[Rays]]:
        """Rays looked at together: all where a graph keeps everything anyway, else few."""
        return [parts] if torch.is_grad_enabled() else [[part] for part in parts]

    def _look(self, parts: list[Rays], samples: int, normals: int) -> list[Samples]:
        return worth_a_look(self.field, self.occupied, parts, samples, normals=normals)

    def _is_occupied(self, points: Float[Tensor, "*shape 3"]) -> Bool[Tensor, "*shape"]:
        cell = ((points + 1) * (0.5 * self.cells)).int().clamp(0, self.cells - 1)
        x, y, z = cell.unbind(-1)
        return self.occupied.flatten()[(x * self.cells + y) * self.cells + z]


def _cell_corners(cells: int) -> Float[Tensor, "all 3"]:
    """The lowest corner of every cell of a grid, in cells, in the order of its flat index."""
    along = torch.arange(cells)
    return torch.cartesian_prod(along, along, along).float()


def _cells_of_the_sphere(cells: int) -> Int[Tensor, " some"]:
    """Flat indices of the cells of [-1, 1]^3 that the unit sphere reaches into."""
    low = _cell_corners(cells) * (2 / cells) - 1
    nearest = torch.maximum(low.clamp(min=0), (-low - 2 / cells).clamp(min=0))
    return (nearest.square().sum(dim=-1) <= 1 + 1e-5).nonzero()[:, 0]
