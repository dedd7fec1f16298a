"""From a scene to an asset: a light, closed mesh whose colours are in a texture.

The dense surface is simplified by quadric errors (Garland and Heckbert 1997, fast-simplification),
unwrapped (xatlas) and painted: every texel takes the field's colour at its place on the surface.
The normals are those of the dense surface.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from scipy.spatial import KDTree
from torch import Tensor

from scorefield.sds.nerf.assets.mesh import albedo_at, extract_surface, seen_points
from scorefield.sds.nerf.assets.rasterise import rasterise, texture_coordinates
from scorefield.sds.nerf.assets.settings import AssetSettings
from scorefield.sds.nerf.fields import Field
from scorefield.sds.nerf.radiance_field import RadianceField

__all__ = [
    "Surface",
    "bake",
    "fill_gaps",
    "make_asset",
    "painted",
    "scene_surface",
    "simplify",
    "texel_values",
    "unwrap",
]

FACES_AT_ONCE = 4096
TEXELS_AT_ONCE = 2**17
"""These bound the memory of a large texture."""
GUTTER = 4
"""Texels between charts, which mipmaps would mix otherwise."""
CHART = 1 / 64
"""Largest chart, as a share of the surface: without a limit xatlas takes several times as long."""


@dataclass(frozen=True)
class Surface:
    """An unwrapped mesh, and where its colours are in a field.

    Attributes:
        mesh: with texture coordinates.
        places: of each vertex, the points of the field whose mean colour is seen there; between
            the vertices they are interpolated.
    """

    mesh: trimesh.Trimesh
    places: Float[Tensor, "vertices shares 3"]


def make_asset(scene: RadianceField, settings: AssetSettings | None = None) -> trimesh.Trimesh:
    """The scene's surface as a mesh of one matte material with a base-colour texture (z up).

    A vertex on a seam of the texture is there once for each side; merged by their places, the mesh
    is closed where the surface is.

    Args:
        scene: what to make it of.
        settings: its `mesh_resolution`, `faces` and `texture`; None: the defaults.

    Raises:
        EmptySceneError: there is no surface.
    """
    settings = settings or AssetSettings()
    return bake(scene_surface(scene, settings), scene.field, settings.texture)


def scene_surface(scene: RadianceField, settings: AssetSettings) -> Surface:
    """The scene's surface, simplified and unwrapped.

    Raises:
        EmptySceneError: there is none.
    """
    dense = extract_surface(scene, settings.mesh_resolution)
    mesh = unwrap(simplify(dense, settings.faces), settings.texture)
    return Surface(mesh, seen_points(scene, mesh, 2 / (settings.mesh_resolution - 1)))


def bake(surface: Surface, field: Field, texture: int) -> trimesh.Trimesh:
    """The mesh with a texture, so many texels a side, of the field's colours."""
    places = surface.places
    colours = torch.zeros(texture, texture, 3)
    covered = torch.zeros(texture, texture, dtype=torch.bool)
    with torch.no_grad():
        for row, column, at in texel_values(surface.mesh, places.flatten(1).cpu(), texture):
            found = albedo_at(field, at.view(-1, *places.shape[1:]).to(places))
            colours[row, column] = found.clamp(0, 1).float().cpu()
            covered[row, column] = True
    return painted(surface.mesh, fill_gaps(colours, covered))


def simplify(mesh: trimesh.Trimesh, faces: int) -> trimesh.Trimesh:
    """At most so many triangles of the same shape, with the normals of the nearest old vertices."""
    import fast_simplification

    if len(mesh.faces) <= faces:
        return mesh
    vertices, triangles = fast_simplification.simplify(
        mesh.vertices, mesh.faces, target_count=faces
    )
    nearest = KDTree(mesh.vertices).query(vertices)[1]
    return trimesh.Trimesh(
        vertices, triangles, vertex_normals=mesh.vertex_normals[nearest], process=False
    )


def unwrap(mesh: trimesh.Trimesh, texture: int) -> trimesh.Trimesh:
    """The mesh with texture coordinates in [0, 1]^2, v up; vertices on seams are doubled.

    Args:
        mesh: with triangles that have an area.
        texture: side of the texture that it is for, texels.
    """
    import xatlas

    atlas = xatlas.Atlas()
    atlas.add_mesh(
        np.asarray(mesh.vertices, np.float32),
        np.asarray(mesh.faces, np.uint32),
        np.asarray(mesh.vertex_normals, np.float32),
    )
    charts, packing = xatlas.ChartOptions(), xatlas.PackOptions()
    charts.max_chart_area = CHART * float(mesh.area)
    packing.resolution, packing.padding = texture, GUTTER
    atlas.generate(charts, packing)
    old, faces, uv = atlas[0]
    return trimesh.Trimesh(
        mesh.vertices[old],
        faces.astype(np.int64),
        vertex_normals=mesh.vertex_normals[old],
        visual=trimesh.visual.TextureVisuals(uv=uv.astype(np.float64)),
        process=False,
    )


def texel_values(
    mesh: trimesh.Trimesh, values: Float[Tensor, "vertices channels"], size: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """The vertices' values at the centres of the texels that have any, some at a time.

    Args:
        mesh: an unwrapped one.
        values: one row per vertex.
        size: side of the texture; row 0 has the largest v.

    Yields:
        Rows (n,), columns (n,) and values (n, channels); a texel on an edge of two triangles comes
        twice.
    """
    uv = texture_coordinates(mesh).to(values)
    places = size * torch.stack([uv[:, 0], 1 - uv[:, 1]], dim=-1)
    for faces in torch.as_tensor(np.array(mesh.faces)).split(FACES_AT_ONCE):
        found = rasterise(places[faces], size)
        for start in range(0, len(found.face), TEXELS_AT_ONCE):
            part = slice(start, start + TEXELS_AT_ONCE)
            yield found.row[part], found.column[part], found.mix(values, faces, part)


def fill_gaps(
    image: Float[Tensor, "size size channels"], covered: Bool[Tensor, "size size"]
) -> Float[Tensor, "size size channels"]:
    """Texels that nothing covers take the value of the nearest one that something does.

    A reader mixes neighbouring texels; at a seam these are outside of the chart.
    """
    if not covered.any():
        raise ValueError("no triangle covers the centre of a texel; take a larger texture")
    row, column = ndimage.distance_transform_edt(
        ~covered.numpy(), return_distances=False, return_indices=True
    )
    return image[torch.from_numpy(row).long(), torch.from_numpy(column).long()]


def painted(mesh: trimesh.Trimesh, colours: Float[Tensor, "size size 3"]) -> trimesh.Trimesh:
    """The unwrapped mesh with a texture of sRGB colours in [0, 1], as a matte material."""
    pixels: NDArray[np.uint8] = (255 * colours.clamp(0, 1) + 0.5).to(torch.uint8).numpy()
    material = trimesh.visual.material.PBRMaterial(
        name="surface",
        baseColorTexture=Image.fromarray(pixels),
        baseColorFactor=[255, 255, 255, 255],
        metallicFactor=0.0,
        roughnessFactor=1.0,
    )
    out = mesh.copy()
    uv = texture_coordinates(mesh).numpy()
    out.visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    return out
