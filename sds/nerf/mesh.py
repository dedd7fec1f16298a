"""From a scene to a coloured triangle mesh, its silhouette, and files other tools open."""

import math
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import trimesh
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import marching_cubes
from torch import Tensor

from scorefield.files import whole_file
from scorefield.sds.nerf.cameras import Cameras
from scorefield.sds.nerf.radiance_field import Scene

__all__ = [
    "EmptySceneError",
    "export_mesh",
    "extract_mesh",
    "silhouette",
    "silhouette_threshold",
]

POINTS_AT_ONCE = 2**19


class EmptySceneError(ValueError):
    """There is nothing in the scene that a mesh could show."""


@torch.no_grad()
def silhouette_threshold(scene: Scene, size: int = 64, samples: int = 128) -> float:
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


@torch.no_grad()
def extract_mesh(
    scene: Scene,
    resolution: int = 128,
    threshold: float | None = None,
    smallest: float = 0.02,
) -> trimesh.Trimesh:
    """The level set of the rendered density as a closed, outward, coloured mesh (z up).

    Marching cubes on resolution^3 points of [-1, 1]^3. Solid pieces smaller than a share
    `smallest` of the largest are dropped (floaters), and hollows that no one can see from outside
    are filled. A vertex takes the colour that a ray along its inward normal would see.

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
    volume = _clean(density.view(resolution, resolution, resolution), threshold, smallest)

    spacing = 2 / (resolution - 1)
    vertices, faces, _, _ = marching_cubes(volume, threshold, gradient_direction="ascent")
    vertices = (vertices - 1) * spacing - 1  # the volume is padded by one
    mesh = trimesh.Trimesh(vertices, faces)
    mesh.update_faces(mesh.nondegenerate_faces())
    mesh.remove_unreferenced_vertices()
    if mesh.volume < 0:
        mesh.invert()
    colours = _colours(scene, mesh, spacing)
    mesh.visual = trimesh.visual.ColorVisuals(mesh, vertex_colors=_bytes(colours))
    return mesh


def _clean(
    density: Float[Tensor, "x y z"], threshold: float, smallest: float
) -> NDArray[np.float32]:
    """The density in a border of zeros, without its floaters and hollows."""
    volume = np.pad(density.float().cpu().numpy(), 1)
    solid = volume > threshold
    if not solid.any():
        raise EmptySceneError(
            f"no density above {threshold:.3g} (highest {volume.max():.3g}); train longer, lower "
            "the threshold or lower the weight of the opacity penalty"
        )
    pieces, count = ndimage.label(solid)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    kept = (sizes >= smallest * sizes.max())[pieces] & solid
    volume[solid & ~kept] = 0
    volume[ndimage.binary_fill_holes(kept) & ~kept] = volume.max()
    return volume


def _colours(scene: Scene, mesh: trimesh.Trimesh, spacing: float) -> NDArray[np.float32]:
    """What a short ray from outside, against the normal, sees at each vertex; (V, 3)."""
    vertices = torch.tensor(np.array(mesh.vertices)).to(scene.peak)
    normals = F.normalize(torch.tensor(np.array(mesh.vertex_normals)).to(scene.peak), dim=-1)
    steps = spacing * torch.arange(1.0, -4.0, -0.5).to(scene.peak)
    points = vertices[:, None] + steps[:, None] * normals[:, None]
    density, albedo = [], []
    for part in points.reshape(-1, 3).split(POINTS_AT_ONCE):
        sigma, rgb = scene.field(part)
        density.append(sigma)
        albedo.append(rgb)
    optical = torch.cat(density).view(-1, len(steps)) * (0.5 * spacing)
    weights = torch.exp(optical - optical.cumsum(1)) * -torch.expm1(-optical)
    # A little of every depth keeps the mean defined where the field is thin.
    weights = weights + 1e-6
    mean = (weights[..., None] * torch.cat(albedo).view(-1, len(steps), 3)).sum(1)
    colours: NDArray[np.float32]
    colours = (mean / weights.sum(1, keepdim=True)).clamp(0, 1).float().cpu().numpy()
    return colours


def silhouette(
    mesh: trimesh.Trimesh, cameras: Cameras, size: int
) -> Bool[Tensor, "batch size size"]:
    """Which pixels' centres the mesh covers; all of it must be in front of the cameras.

    Every triangle is projected and tested against the pixel centres of its bounding box, in one
    vectorised sweep per view: the answer of casting a ray per pixel, in milliseconds.
    """
    vertices = torch.as_tensor(np.array(mesh.vertices)).expand(len(cameras), -1, -1)
    pixels, depth = cameras.to("cpu", torch.float64).project(vertices, size, size)
    if not (depth > 0).all():
        raise ValueError("the mesh reaches behind a camera; move the cameras away from it")
    corners = pixels[:, torch.as_tensor(np.array(mesh.faces))]  # (B, F, 3, 2)
    return torch.stack([_covered(triangles, size) for triangles in corners])


def _covered(triangles: Float[Tensor, "faces 3 2"], size: int) -> Bool[Tensor, "size size"]:
    """The pixels of a (size, size) picture whose centres lie in one of the triangles."""
    first = (triangles.amin(dim=1) - 0.5).ceil().clamp(0, size).long()  # (F, 2), as (x, y)
    last = (triangles.amax(dim=1) - 0.5).floor().clamp(-1, size - 1).long()
    width, height = (last - first + 1).clamp_min(0).unbind(-1)
    count = width * height
    face = torch.arange(len(triangles)).repeat_interleave(count)
    nth = torch.arange(len(face)) - (count.cumsum(0) - count)[face]
    x, y = first[face, 0] + nth % width[face], first[face, 1] + nth // width[face]

    a, b, c = triangles[face].unbind(1)
    centre = torch.stack([x, y], dim=-1) + 0.5
    sides = torch.stack([_turn(a, b, centre), _turn(b, c, centre), _turn(c, a, centre)])
    inside = (sides >= 0).all(dim=0) | (sides <= 0).all(dim=0)
    picture = torch.zeros(size, size, dtype=torch.bool)
    picture[y[inside], x[inside]] = True
    return picture


def _turn(a: Tensor, b: Tensor, p: Tensor) -> Tensor:
    """Positive where p lies to one side of the line from a to b, negative on the other."""
    along, to = b - a, p - a
    return along[:, 0] * to[:, 1] - along[:, 1] * to[:, 0]


def export_mesh(
    mesh: trimesh.Trimesh, folder: str | PathLike[str], name: str = "mesh"
) -> list[Path]:
    """Write `name`.glb, .obj and .ply into a folder, with the vertices' colours.

    OBJ and PLY keep this library's axes, z up and the front towards +x. glTF is y up with the
    front towards +z, so in the GLB (x, y, z) becomes (y, z, x); its colours are linear, as the
    format asks, and its material is matte.
    """
    visual = mesh.visual
    if not isinstance(visual, trimesh.visual.ColorVisuals):
        raise ValueError(f"the mesh must have vertex colours, got {type(visual).__name__}")
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{name}.{suffix}" for suffix in ("glb", "obj", "ply")]
    srgb = np.asarray(visual.vertex_colors, dtype=np.float64)[:, :3] / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    turned = mesh.copy()
    turned.apply_transform(np.eye(4)[[1, 2, 0, 3]])
    turned.visual = trimesh.visual.ColorVisuals(turned, vertex_colors=_bytes(linear))
    glb = trimesh.exchange.gltf.export_glb(
        turned.scene(), include_normals=True, tree_postprocessor=_make_matte
    )
    with whole_file(paths[0]) as part:
        part.write_bytes(glb)
    for path in paths[1:]:
        with whole_file(path) as part:
            mesh.export(part)
    return paths


def _bytes(colours: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colours in [0, 1] as the nearest of 0..255."""
    return (255 * colours + 0.5).astype(np.uint8)


def _make_matte(tree: dict[str, Any]) -> None:
    """A material for every primitive: glTF's default is metal, which hides vertex colours."""
    tree["materials"] = [{"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}}]
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            primitive["material"] = 0
