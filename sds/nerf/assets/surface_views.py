"""What cameras see of a mesh, differentiable in its colours, in plain torch."""

from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import trimesh
from jaxtyping import Bool, Float
from torch import Tensor

from scorefield.sds.nerf.assets.rasterise import blend, rasterise, texture_coordinates
from scorefield.sds.nerf.cameras import Cameras

__all__ = ["asset_views", "look_up", "render_texture", "surface_values", "texture_of"]


@torch.no_grad()
def surface_values(
    mesh: trimesh.Trimesh,
    values: Float[Tensor, "vertices channels"],
    cameras: Cameras,
    size: int,
) -> tuple[Float[Tensor, "batch size size channels"], Bool[Tensor, "batch size size"]]:
    """What the vertices' values are where each pixel's centre looks, and which pixels see the mesh.

    Of the triangles over a pixel the nearest one is seen, from either side. The values are
    interpolated in space, not in the image.

    Args:
        mesh: all of it in front of the cameras.
        values: one row per vertex: texture coordinates, places, colours.
        cameras: B of them.
        size: side of the images.
    """
    vertices = torch.as_tensor(np.array(mesh.vertices)).expand(len(cameras), -1, -1)
    faces = torch.as_tensor(np.array(mesh.faces))
    pixels, depths = cameras.to("cpu", torch.float64).project(vertices, size, size)
    if not (depths > 0).all():
        raise ValueError("the mesh reaches behind a camera; move the cameras away from it")
    images = torch.zeros(len(cameras), size * size, values.shape[1])
    seen = torch.zeros(len(cameras), size * size, dtype=torch.bool)
    for i in range(len(cameras)):
        found = rasterise(pixels[i, faces].float(), size)
        near = (1 / depths[i]).float()
        nearness = found.mix(near[:, None], faces)[:, 0]  # linear in the image
        pixel = found.row * size + found.column
        nearest = nearness.new_zeros(size * size).scatter_reduce(0, pixel, nearness, "amax")
        first = (nearness == nearest.index_select(0, pixel)).nonzero()[:, 0]
        corners, pixel = faces[found.face[first]], pixel[first]
        share = found.weights[first] * near[corners] / nearness[first, None]
        images[i, pixel] = blend(values, corners, share.to(values)).float()
        seen[i, pixel] = True
    shape = (len(cameras), size, size)
    return images.view(*shape, -1), seen.view(shape)


def look_up(
    texture: Float[Tensor, "3 rows columns"], places: Float[Tensor, "batch height width 2"]
) -> Float[Tensor, "batch 3 height width"]:
    """The texture at places (u, v) in [0, 1]^2, v up, between the texels bilinearly."""
    where = torch.stack([2 * places[..., 0] - 1, 1 - 2 * places[..., 1]], dim=-1)
    images = texture.expand(len(places), -1, -1, -1)
    return F.grid_sample(images, where, padding_mode="border", align_corners=False)


def render_texture(
    mesh: trimesh.Trimesh,
    texture: Float[Tensor, "3 rows columns"],
    cameras: Cameras,
    size: int,
    background: Float[Tensor, "..."],
) -> Float[Tensor, "batch 3 size size"]:
    """What unlit cameras see of a mesh in front of a background; differentiable in the texture.

    Args:
        mesh: an unwrapped one.
        texture: colours in [0, 1].
        cameras: B of them.
        size: side of the images.
        background: what broadcasts with the images.
    """
    places, seen = surface_values(mesh, texture_coordinates(mesh), cameras, size)
    seen = seen.to(texture.device)[:, None]
    return torch.where(seen, look_up(texture, places.to(texture)), background.to(texture))


@torch.no_grad()
def asset_views(
    mesh: trimesh.Trimesh, cameras: Cameras, size: int
) -> Float[Tensor, "views 3 size size"]:
    """Images of a mesh with a texture, unlit in front of a light grey, for looking at."""
    texture, grey = texture_of(mesh), torch.full((3, 1, 1), 0.8)
    # Twice as fine and averaged: smooth edges. One by one, for the memory of many views.
    views = [
        render_texture(mesh, texture, cameras[i : i + 1], 2 * size, grey)
        for i in range(len(cameras))
    ]
    return F.avg_pool2d(torch.cat(views), 2)


def texture_of(mesh: trimesh.Trimesh) -> Float[Tensor, "3 rows columns"]:
    """The mesh's base-colour texture, in [0, 1].

    Raises:
        ValueError: it has none.
    """
    material: Any = getattr(mesh.visual, "material", None)
    picture = getattr(material, "baseColorTexture", None)
    if picture is None:
        raise ValueError("the mesh has no base-colour texture")
    image = np.array(picture.convert("RGB"))
    return torch.from_numpy(image).permute(2, 0, 1).float() / 255
