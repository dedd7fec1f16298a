"""From a scene to a triangle mesh: where its surface is, and what colour is seen there."""

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import trimesh
from jaxtyping import Float
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import marching_cubes
from torch import Tensor

from scorefield.cameras import Cameras
from scorefield.sds.nerf.fields import Field
from scorefield.sds.nerf.radiance_field import RadianceField

__all__ = [
    "EmptySceneError",
    "albedo_at",
    "extract_mesh",
    "extract_surface",
    "seen_points",
    "silhouette_threshold",
]

POINTS_AT_ONCE = 2**19


class EmptySceneError(ValueError):
    """There is nothing in the scene that a mesh could show.

    written: the files that were written all the same, by what they are.
    """

    def __init__(self, message: str, written: Mapping[str, Path] | None = None) -> None:
        super().__init__(message)
        self.written = dict(written or {})


@torch.no_grad()
def silhouette_threshold(scene: RadianceField, size: int = 64, samples: int = 64) -> float:
    """The density whose level set has the silhouette of the rendered scene.

    Seen along a ray, the level set {density > threshold} is hit when the ray's highest density
    is above the threshold, and the rendering counts as object when its opacity is above 1/2. Of
    all thresholds the one is taken that makes the two agree best, by intersection over union of
    the pixels of ten views (eight around, one from above, one from below). Where a whole interval
    agrees equally well, its middle.

    Raises:
        EmptySceneError: if no ray has an opacity above 1/2.
    """
    cameras = Cameras.at([45.0 * i for i in range(8)] + [0.0, 0.0], [15.0] * 8 + [90.0, -90.0])
    cameras = cameras.to(scene.peak.device)
    near, step = 2.0, 2 / samples
    along = near + step * (torch.arange(samples, device=scene.peak.device) + 0.5)
    highest, total = [], []
    for i in range(len(cameras)):
        origins, directions = (x[0] for x in cameras[i : i + 1].origins_and_directions(size, size))
        points = origins[:, None] + along[:, None] * directions[:, None]
        density = scene.density(points.reshape(-1, 3)).view(-1, samples)
        highest.append(density.amax(dim=1))
        total.append(step * density.sum(dim=1))
    peak = torch.cat(highest).double()
    solid = torch.cat(total) > math.log(2)
    if not solid.any():
        raise EmptySceneError(
            f"no ray has an opacity above 1/2 (highest density {peak.max():.3g}); train longer or "
            "lower the weight of the opacity penalty"
        )
    # From the highest peak down, lowering the threshold takes in one ray after the other.
    peak, order = peak.sort(descending=True)
    hits = solid[order].cumsum(0)
    union = solid.sum() + torch.arange(1, len(peak) + 1, device=peak.device) - hits
    below = torch.cat([peak[1:], peak.new_zeros(1)])
    agreement = torch.where(peak > below, hits / union, -1.0)
    best = int(agreement.argmax())
    return float(0.5 * (peak[best] + below[best]))


def extract_mesh(
    scene: RadianceField,
    resolution: int = 128,
    threshold: float | None = None,
    smallest: float = 0.02,
) -> trimesh.Trimesh:
    """`extract_surface` with a colour at every vertex: what a ray along its inward normal sees."""
    mesh = extract_surface(scene, resolution, threshold, smallest)
    places = seen_points(scene, mesh, 2 / (resolution - 1))
    with torch.no_grad():
        colours = albedo_at(scene.field, places).clamp(0, 1).float().cpu().numpy()
    mesh.visual = trimesh.visual.ColorVisuals(
        mesh, vertex_colors=(255 * colours + 0.5).astype(np.uint8)
    )
    return mesh


@torch.no_grad()
def extract_surface(
    scene: RadianceField,
    resolution: int = 128,
    threshold: float | None = None,
    smallest: float = 0.02,
) -> trimesh.Trimesh:
    """The level set of the rendered density as a closed, outward mesh (z up).

    Marching cubes on resolution^3 points of [-1, 1]^3. Solid pieces smaller than a share
    `smallest` of the largest are dropped (floaters), and hollows that no one can see from outside
    are filled.

    Args:
        scene: what to extract.
        resolution: grid points per axis.
        threshold: density of the surface; None: `silhouette_threshold(scene)`.
        smallest: share of the largest piece's volume below which a piece is dropped.

    Raises:
        EmptySceneError: if no density is above the threshold.
    """
    if resolution < 8:
        raise ValueError(f"resolution must be at least 8 points per axis, got {resolution}")
    if threshold is None:
        threshold = silhouette_threshold(scene)
    if not threshold > 0:
        raise ValueError(f"threshold must be a density above 0, got {threshold}")

    axis = torch.linspace(-1, 1, resolution, device=scene.peak.device, dtype=scene.peak.dtype)
    points = torch.cartesian_prod(axis, axis, axis)
    density = torch.cat([scene.density(part) for part in points.split(POINTS_AT_ONCE)])
    volume, corner = _clean(density.view(3 * (resolution,)), threshold, smallest)

    spacing = 2 / (resolution - 1)
    vertices, faces, _, _ = marching_cubes(volume, threshold, gradient_direction="ascent")
    vertices = (vertices + corner) * spacing - 1
    mesh = trimesh.Trimesh(vertices, faces)
    mesh.update_faces(mesh.nondegenerate_faces())
    mesh.remove_unreferenced_vertices()
    return mesh


def _clean(
    density: Float[Tensor, "x y z"], threshold: float, smallest: float
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The box of the density that holds what is solid, without floaters and hollows.

    Around the density there is nothing. Where the box begins in it comes second.
    """
    volume = np.pad(density.float().cpu().numpy(), 1)
    solid = volume > threshold
    if not solid.any():
        raise EmptySceneError(
            f"no density above {threshold:.3g} (highest {volume.max():.3g}); train longer, lower "
            "the threshold or lower the weight of the opacity penalty"
        )
    whole = ndimage.find_objects(solid.astype(np.int8))[0]
    box = tuple(slice(side.start - 1, side.stop + 1) for side in whole)
    volume, solid = volume[box], solid[box]
    pieces, count = ndimage.label(solid)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept = (sizes >= smallest * sizes.max())[pieces] & solid
    volume[solid & ~kept] = 0
    volume[ndimage.binary_fill_holes(kept) & ~kept] = volume.max()
    return volume, np.array([side.start - 1 for side in box])  # one less: the border


@torch.no_grad()
def seen_points(
    scene: RadianceField, mesh: trimesh.Trimesh, spacing: float, shares: int = 4
) -> Float[Tensor, "vertices shares 3"]:
    """Where light stops along a ray against the normal: one point for each equal share of it.

    One sees into a soft surface: the mean of the field's colours at these points is what a ray sees
    that meets the surface straight on.

    Args:
        scene: what the mesh is of.
        mesh: its surface.
        spacing: of the grid it was extracted from; the rays begin 8 of them outside.
        shares: number of points per vertex.
    """
    vertices = torch.tensor(np.array(mesh.vertices)).to(scene.peak)
    normals = F.normalize(torch.tensor(np.array(mesh.vertex_normals)).to(scene.peak), dim=-1)
    depth = spacing * torch.arange(-8.0, 32.0, 0.5).to(scene.peak)
    points = vertices[:, None] - depth[:, None] * normals[:, None]
    density = [scene.density(part) for part in points.view(-1, 3).split(POINTS_AT_ONCE)]
    optical = torch.cat(density).view(-1, len(depth)) * (0.5 * spacing)
    # A little everywhere keeps this defined where there is no density at all.
    stopped = -torch.expm1(-optical.cumsum(dim=1)) + 1e-6 * (depth - depth[0] + spacing)
    wanted = stopped[:, -1:] * (torch.arange(shares).to(stopped) + 0.5) / shares
    index = torch.searchsorted(stopped, wanted).clamp_max(len(depth) - 1)
    return vertices[:, None] - depth[index][..., None] * normals[:, None]


def albedo_at(field: Field, points: Float[Tensor, "n shares 3"]) -> Float[Tensor, "n 3"]:
    """The mean of the field's colours over the shares."""
    return field(points.flatten(0, 1))[1].view(points.shape).mean(dim=1)
