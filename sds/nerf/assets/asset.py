"""From a scene to an asset: a light, closed mesh whose colours are in a texture.

The dense surface is simplified by quadric errors (Garland and Heckbert 1997, fast-simplification),
unwrapped (xatlas) and painted: every texel takes the field's colour at its place on the surface.
The normals are those of the dense surface.
"""

from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import KDTree
from torch import Tensor

from scorefield.sds.nerf.assets.mesh import albedo_at, extract_surface, seen_points
from scorefield.sds.nerf.assets.normal_map import add_normal_map
from scorefield.sds.nerf.assets.rasterise import texture_coordinates
from scorefield.sds.nerf.assets.settings import AssetSettings
from scorefield.sds.nerf.assets.texels import fill_gaps, texel_values
from scorefield.sds.nerf.fields import Field
from scorefield.sds.nerf.radiance_field import RadianceField

__all__ = [
    "Surface",
    "bake",
    "baked_asset",
    "make_asset",
    "painted",
    "scene_surface",
    "simplify",
    "unwrap",
]

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
        dense: what the mesh was simplified from, if it was.
    """

    mesh: trimesh.Trimesh
    places: Float[Tensor, "vertices shares 3"]
    dense: trimesh.Trimesh | None = None


def make_asset(scene: RadianceField, settings: AssetSettings | None = None) -> trimesh.Trimesh:
    """The scene's surface as a mesh of one matte material with a base-colour texture (z up).

    A vertex on a seam of the texture is there once for each side; merged by their places, the mesh
    is closed where the surface is.

    Args:
        scene: what to make it of.
        settings: its `mesh_resolution`, `faces`, `texture` and `normal_map`; None: the defaults.

    Raises:
        EmptySceneError: there is no surface.
    """
    settings = settings or AssetSettings()
    return baked_asset(scene_surface(scene, settings), scene.field, settings)


def baked_asset(surface: Surface, field: Field, settings: AssetSettings) -> trimesh.Trimesh:
    """The mesh with a texture of the field's colours and, if it is asked for, one of normals."""
    mesh = bake(surface, field, settings.texture)
    if settings.normal_map and surface.dense is not None:
        return add_normal_map(mesh, surface.dense, settings.texture)
    return mesh


def scene_surface(scene: RadianceField, settings: AssetSettings) -> Surface:
    """The scene's surface, simplified and unwrapped.

    Raises:
        EmptySceneError: there is none.
    """
    dense = extract_surface(scene, settings.mesh_resolution)
    mesh = unwrap(simplify(dense, settings.faces), settings.texture)
    return Surface(mesh, seen_points(scene, mesh, 2 / (settings.mesh_resolution - 1)), dense)


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
