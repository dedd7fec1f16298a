"""Which triangles cover which pixels, in plain torch: for silhouettes, textures and baking."""

from dataclasses import dataclass

import numpy as np
import torch
import trimesh
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from scorefield.cameras import Cameras

__all__ = ["Fragments", "blend", "rasterise", "silhouette", "texture_coordinates"]


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

    def mix(
        self,
        values: Float[Tensor, "vertices channels"],
        faces: Int64[Tensor, "faces 3"],
        part: slice = slice(None),
    ) -> Float[Tensor, "some channels"]:
        """What the vertices' values are at the pixels' centres, of a part of the pairs."""
        return blend(values, faces.index_select(0, self.face[part]), self.weights[part])


def blend(
    values: Float[Tensor, "vertices channels"],
    corners: Int64[Tensor, "n 3"],
    weights: Float[Tensor, "n 3"],
) -> Float[Tensor, "n channels"]:
    """Sums of the corners' values, weighted; one corner after the other, which is fast."""
    found = [
        values.index_select(0, vertex) * weight[:, None]
        for vertex, weight in zip(corners.unbind(1), weights.unbind(1), strict=True)
    ]
    return found[0].add_(found[1]).add_(found[2])


def rasterise(triangles: Float[Tensor, "faces 3 2"], size: int) -> Fragments:
    """All pixels of a (size, size) image whose centres lie in the triangles, edges included.

    Every triangle is tested against the pixel centres of its bounding box, in one vectorised
    sweep. A pixel comes once for each triangle over it; a triangle without area covers nothing.

    Args:
        triangles: corners (x, y) in pixels; the centre of pixel (row i, column j) is
            (j + 0.5, i + 0.5).
        size: side of the image.
    """
    x, y = triangles.permute(2, 1, 0).contiguous()  # (3, F) each
    left, right = _centres(x, size)
    top, bottom = _centres(y, size)
    width = (right - left + 1).clamp_min(0)
    count = width * (bottom - top + 1).clamp_min(0)
    face = torch.arange(len(triangles), device=triangles.device).repeat_interleave(count)
    start, left, top, width = (
        one.index_select(0, face) for one in (count.cumsum(0) - count, left, top, width)
    )
    nth = torch.arange(len(face), device=face.device) - start
    down = torch.div(nth, width, rounding_mode="floor")
    row, column = top + down, left + nth - down * width

    # From the centre, an edge that two triangles share has exactly opposite signs in them.
    dx = x.index_select(1, face) - (column + 0.5)
    dy = y.index_select(1, face) - (row + 0.5)
    sides = [dx[i - 2] * dy[i - 1] - dx[i - 1] * dy[i - 2] for i in range(3)]
    area = sides[0] + sides[1] + sides[2]
    weights = torch.stack(sides) / torch.where(area == 0, torch.nan, area)
    inside = (weights.amin(dim=0) >= 0).nonzero()[:, 0]
    weights = weights.index_select(1, inside).T
    face, row, column = (one.index_select(0, inside) for one in (face, row, column))
    return Fragments(face, row, column, weights)


def _centres(corners: Float[Tensor, "3 faces"], size: int) -> tuple[Tensor, Tensor]:
    """The first and the last pixel centre between a triangle's corners, along one axis."""
    first = (torch.minimum(torch.minimum(*corners[:2]), corners[2]) - 0.5).ceil()
    last = (torch.maximum(torch.maximum(*corners[:2]), corners[2]) - 0.5).floor()
    return first.clamp(0, size).long(), last.clamp(-1, size - 1).long()


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
    for image, corners in zip(covered, pixels[:, torch.as_tensor(mesh.faces)], strict=True):
        found = rasterise(corners, size)
        image[found.row, found.column] = True
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
