"""Which triangles cover which pixels, in plain torch: for silhouettes, textures and baking."""

from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from scorefield.sds.nerf.cameras import Cameras

__all__ = ["Fragments", "rasterise", "silhouette", "texture_coordinates"]


@dataclass(frozen=True)
class Fragments:
    """Pairs of a triangle and a pixel whose centre lies in it.

    Attributes:
        face: number of the triangle.
        row: of the pixel.
        column: of the pixel.
        weights: barycentric weights of the triangle's corners at the pixel's centre.
    """

    face: Int64[Tensor, " n"]
    row: Int64[Tensor, " n"]
    column: Int64[Tensor, " n"]
    weights: Float[Tensor, "n 3"]

    def mix(self, corners: Float[Tensor, "faces 3 channels"]) -> Float[Tensor, "n channels"]:
        """What the corners' values are at the pixels' centres."""
        return (self.weights[:, :, None] * corners[self.face]).sum(dim=1)


def rasterise(triangles: Float[Tensor, "faces 3 2"], size: int) -> Fragments:
    """All pixels of a (size, size) picture whose centres lie in the triangles, edges included.

    Every triangle is tested against the pixel centres of its bounding box, in one vectorised
    sweep. A pixel comes once for each triangle over it; a triangle without area covers nothing.

    Args:
        triangles: corners (x, y) in pixels; the centre of pixel (row i, column j) is
            (j + 0.5, i + 0.5).
        size: side of the picture.
    """
    first = (triangles.amin(dim=1) - 0.5).ceil().clamp(0, size).long()  # (F, 2), as (x, y)
    last = (triangles.amax(dim=1) - 0.5).floor().clamp(-1, size - 1).long()
    width, height = (last - first + 1).clamp_min(0).unbind(-1)
    count = width * height
    face = torch.arange(len(triangles), device=triangles.device).repeat_interleave(count)
    nth = torch.arange(len(face), device=face.device) - (count.cumsum(0) - count)[face]
    column, row = first[face, 0] + nth % width[face], first[face, 1] + nth // width[face]

    corners = triangles[face]
    centre = torch.stack([column, row], dim=-1).to(triangles) + 0.5
    opposite = [_turn(corners[:, (i + 1) % 3], corners[:, (i + 2) % 3], centre) for i in range(3)]
    sides = torch.stack(opposite, dim=-1)
    area = sides.sum(dim=-1, keepdim=True)
    weights = sides / torch.where(area == 0, torch.nan, area)
    inside = (weights >= 0).all(dim=-1)
    return Fragments(face[inside], row[inside], column[inside], weights[inside])


def _turn(a: Tensor, b: Tensor, p: Tensor) -> Tensor:
    """Twice the signed area of the triangle a, b, p."""
    along, to = b - a, p - a
    return along[:, 0] * to[:, 1] - along[:, 1] * to[:, 0]


def silhouette(
    mesh: trimesh.Trimesh, cameras: Cameras, size: int
) -> Bool[Tensor, "batch size size"]:
    """Which pixels' centres the mesh covers; all of it must be in front of the cameras.

    The answer of casting a ray per pixel, in milliseconds.
    """
    vertices = torch.as_tensor(np.array(mesh.vertices)).expand(len(cameras), -1, -1)
    pixels, depth = cameras.to("cpu", torch.float64).project(vertices, size, size)
    if not (depth > 0).all():
        raise ValueError("the mesh reaches behind a camera; move the cameras away from it")
    covered = torch.zeros(len(cameras), size, size, dtype=torch.bool)
    for picture, corners in zip(covered, pixels[:, torch.as_tensor(mesh.faces)], strict=True):
        found = rasterise(corners, size)
        picture[found.row, found.column] = True
    return covered


def texture_coordinates(mesh: trimesh.Trimesh) -> Float[Tensor, "vertices 2"]:
    """Where the vertices are in the texture, (u, v) in [0, 1]^2, v up.

    Raises:
        ValueError: the mesh is not unwrapped.
    """
    uv = getattr(mesh.visual, "uv", None)
    if uv is None or len(uv) != len(mesh.vertices):
        raise ValueError("the mesh has no texture coordinates; unwrap it first")
    return torch.as_tensor(np.array(uv))
