"""A dense surface's normals in the texture of a light one, in the tangent space of glTF.

That space is MikkTSpace (Mikkelsen 2008): tangents of the triangles at a corner, turned into the
plane of its normal and weighted by their angles; the bitangent is the cross product of normal and
tangent, and a pixel takes both as they are interpolated.
"""

import numpy as np
import torch
import torch.nn.functional as F
import trimesh
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import KDTree
from torch import Tensor

from scorefield.sds.nerf.assets.rasterise import texture_coordinates
from scorefield.sds.nerf.assets.texels import fill_gaps, texel_values

__all__ = ["add_normal_map", "tangents"]


def add_normal_map(mesh: trimesh.Trimesh, dense: trimesh.Trimesh, size: int) -> trimesh.Trimesh:
    """The mesh with the dense surface's normals as a normal texture, so many texels a side.

    A texel takes those of the four nearest vertices, the nearer the more.

    Args:
        mesh: from `bake`, simplified from the dense one.
        dense: the surface that it stands for.
        size: of the texture.
    """
    vectors = np.concatenate([mesh.vertices, mesh.vertex_normals, tangents(mesh)], axis=1)
    tree, normals = KDTree(dense.vertices), np.asarray(dense.vertex_normals)
    local = torch.zeros(size, size, 3)
    covered = torch.zeros(size, size, dtype=torch.bool)
    for row, column, at in texel_values(mesh, torch.from_numpy(vectors).float(), size):
        place, normal, tangent, side = at.split([3, 3, 3, 1], dim=1)
        far, nearest = tree.query(place.numpy(), k=4)
        outward = (normals[nearest] / np.maximum(far, 1e-9)[..., None]).sum(axis=1)
        found = _in_frame(torch.from_numpy(outward).float(), tangent, side, normal)
        # Where the dense one is turned away, as on the far side of a thin part, ours stays.
        local[row, column] = torch.where(found[:, 2:] > 0, found, found.new_tensor([0, 0, 1]))
        covered[row, column] = True
    pixels: NDArray[np.uint8] = (127.5 * fill_gaps(local, covered) + 128).to(torch.uint8).numpy()
    out = mesh.copy(include_cache=True)
    visual = out.visual
    assert isinstance(visual, trimesh.visual.TextureVisuals)
    assert isinstance(visual.material, trimesh.visual.material.PBRMaterial)
    visual.material.normalTexture = Image.fromarray(pixels)
    return out


def tangents(mesh: trimesh.Trimesh) -> Float[np.ndarray, "vertices 4"]:
    """Where u rises, as unit vectors, then the side of the bitangent (1; -1 where mirrored).

    The bitangent, `side * cross(normal, tangent)`, is where v (up) rises.

    Args:
        mesh: an unwrapped one with normals.
    """
    faces, normals = np.asarray(mesh.faces), np.asarray(mesh.vertex_normals)
    corners = np.asarray(mesh.vertices)[faces]
    uv = texture_coordinates(mesh).double().numpy()[faces]
    one, two = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    (s, t), (p, q) = (uv[:, 1] - uv[:, 0]).T, (uv[:, 2] - uv[:, 0]).T
    side = np.sign(s * q - p * t)[:, None]
    rising = _unit(side * (q[:, None] * one - t[:, None] * two))

    sums = np.zeros((len(normals), 4))
    for corner in range(3):
        vertex, here = faces[:, corner], corners[:, corner]
        normal = normals[vertex]
        before, after, along = (
            _unit(vector - (vector * normal).sum(axis=1, keepdims=True) * normal)
            for vector in (corners[:, corner - 1] - here, corners[:, corner - 2] - here, rising)
        )
        angle = np.arccos(np.clip((before * after).sum(axis=1, keepdims=True), -1, 1))
        np.add.at(sums, vertex, angle * np.concatenate([along, side], axis=1))
    return np.concatenate([_unit(sums[:, :3]), np.where(sums[:, 3:] < 0, -1, 1)], axis=1)


def _unit(vectors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Vectors (N, 3) of length 1; what has no length becomes the x axis."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.where(length > 0, vectors / np.where(length > 0, length, 1), [1.0, 0.0, 0.0])


def _in_frame(
    vectors: Float[Tensor, "n 3"],
    tangent: Float[Tensor, "n 3"],
    side: Float[Tensor, "n 1"],
    normal: Float[Tensor, "n 3"],
) -> Float[Tensor, "n 3"]:
    """Unit vectors x, y, z with x tangent + y bitangent + z normal along the given ones."""
    bitangent = side.sign() * torch.linalg.cross(normal, tangent)
    sides = [(bitangent, normal), (normal, tangent), (tangent, bitangent)]
    parts = [(torch.linalg.cross(*pair) * vectors).sum(dim=1) for pair in sides]
    # By Cramer's rule; the determinant, by which all are to be divided, only scales.
    determinant = (torch.linalg.cross(*sides[2]) * normal).sum(dim=1)
    return F.normalize(torch.stack(parts, dim=1) * determinant.sign()[:, None], dim=1)
