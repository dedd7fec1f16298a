"""A mesh that the user has, brought into this library's axes and unit sphere."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import trimesh
from numpy.typing import NDArray

from scorefield.sds.nerf.assets.mesh_files import Y_UP
from scorefield.sds.nerf.assets.rasterise import rasterise, texture_coordinates
from scorefield.sds.nerf.assets.settings import UpAxis

__all__ = ["UserMesh", "is_unwrapped", "load_mesh"]

SUFFIXES = (".glb", ".gltf", ".obj", ".ply", ".stl", ".off")
RADIUS = 0.8
"""Of the sphere around the mesh, where the cameras expect an object."""
TRIED = 512
"""Texels a side at which overlaps of texture coordinates are looked for."""
LEAST = 1e-10
"""Share of the texture below which a triangle has no place in it."""


@dataclass(frozen=True)
class UserMesh:
    """A mesh within the unit sphere, z up, and the way back to where it was.

    Attributes:
        mesh: in this library's axes; its own materials are left out.
        back: the 4 x 4 matrix to the size and place that it had, in these axes.
    """

    mesh: trimesh.Trimesh
    back: NDArray[np.float64]


def load_mesh(path: str | os.PathLike[str], up: UpAxis | None = None) -> UserMesh:
    """Read a mesh; the parts of a file become one.

    Args:
        path: a .glb, .gltf, .obj, .ply, .stl or .off.
        up: the axis that is up in the file (y: the front faces +z; z: it faces +x). None: y in
            .glb, .gltf and .obj, z in the others.

    Raises:
        ValueError: it is missing, damaged or no mesh, or has no surface.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise ValueError(f"{path}: a mesh ends in one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise ValueError(f"{path}: there is no such file")
    try:
        mesh: Any = trimesh.load_scene(path).to_mesh()
        faces = np.asarray(getattr(mesh, "faces", ()))
        sound = len(faces) > 0 and bool(np.isfinite(mesh.vertices).all()) and 0 < mesh.area < np.inf
        if sound:
            mesh.update_faces(mesh.nondegenerate_faces())
            mesh.remove_unreferenced_vertices()
            sound = len(mesh.faces) > 0
    except Exception as error:  # each reader has its own kinds
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{path}: cannot be read as a mesh ({reason})") from error
    if not sound:
        raise ValueError(f"{path}: the mesh has no surface; give one with triangles")
    if (up or ("y" if suffix in (".glb", ".gltf", ".obj") else "z")) == "y":
        mesh.apply_transform(np.linalg.inv(Y_UP))
    middle = mesh.bounds.mean(axis=0)
    reach = float(np.linalg.norm(mesh.vertices - middle, axis=1).max())
    back = np.diag([reach / RADIUS] * 3 + [1.0])
    back[:3, 3] = middle
    mesh.apply_transform(np.linalg.inv(back))
    return UserMesh(mesh, back)


def is_unwrapped(mesh: trimesh.Trimesh) -> bool:
    """Whether every triangle has a place of its own in the texture."""
    try:
        uv = texture_coordinates(mesh)
    except ValueError:
        return False
    if not (torch.isfinite(uv).all() and uv.min() >= 0 and uv.max() <= 1):
        return False
    corners = uv[torch.as_tensor(np.array(mesh.faces))]
    along, across = (corners[:, 1:] - corners[:, :1]).unbind(1)
    areas = (along[:, 0] * across[:, 1] - along[:, 1] * across[:, 0]).abs().numpy()
    # One colour of a palette, or a part whose repeated texture trimesh folded as it joined parts.
    if mesh.area_faces[areas < LEAST].sum() > 1e-3 * mesh.area:
        return False
    found = rasterise(TRIED * corners, TRIED)
    texels = (found.row * TRIED + found.column).unique()
    # Centres on an edge belong to two triangles.
    return len(texels) > 0 and len(found.row) < 1.02 * len(texels)
