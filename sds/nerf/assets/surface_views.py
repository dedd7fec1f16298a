"""What cameras see of a mesh, differentiable in its colours, in plain torch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import trimesh
from jaxtyping import Bool, Float
from torch import Tensor

from scorefield.cameras import Cameras
from scorefield.sds.nerf.assets.rasterise import blend, rasterise, texture_coordinates
from scorefield.sds.nerf.lights import Lights
from scorefield.sds.nerf.marching import brightness

__all__ = [
    "asset_views",
    "is_closed",
    "look_up",
    "on_background",
    "render_texture",
    "shaded_views",
    "surface_values",
    "texture_of",
]

GREY = 0.8
"""Behind a mesh that is looked at; as bright as the background of a new scene."""


def is_closed(mesh: trimesh.Trimesh) -> bool:
    """Whether the mesh bounds solid bodies, its triangles outward; seams of a texture are none.

    No triangle of such a mesh that is turned away is seen from outside.
    """
    whole = trimesh.Trimesh(mesh.vertices, mesh.faces)  # vertices at one place become one
    if not (whole.is_watertight and whole.is_winding_consistent):
        return False
    body = trimesh.graph.connected_component_labels(whole.face_adjacency, len(whole.faces))
    a, b, c = whole.triangles.transpose(1, 0, 2)
    return bool((np.bincount(body, (np.cross(a, b) * c).sum(axis=1)) > 0).all())


@torch.no_grad()
def surface_values(
    mesh: trimesh.Trimesh,
    values: Float[Tensor, "vertices channels"],
    cameras: Cameras,
    size: int,
    *,
    closed: bool = False,
) -> tuple[Float[Tensor, "batch size size channels"], Bool[Tensor, "batch size size"]]:
    """What the vertices' values are where each pixel's centre looks, and which pixels see the mesh.

    Of the triangles over a pixel the nearest one is seen, from either side. The values are
    interpolated in space, not in the image.

    Args:
        mesh: all of it in front of the cameras.
        values: one row per vertex: texture coordinates, places, colours.
        cameras: B of them.
        size: side of the images.
        closed: `is_closed(mesh)`; triangles that are turned away are then not looked at, which
            takes half the time.
    """
    vertices = torch.as_tensor(np.array(mesh.vertices)).expand(len(cameras), -1, -1)
    all_faces = torch.as_tensor(np.array(mesh.faces))
    pixels, depths = cameras.to("cpu", torch.float64).project(vertices, size, size)
    if not (depths > 0).all():
        raise ValueError("the mesh reaches behind a camera; move the cameras away from it")
    images = torch.zeros(len(cameras), size * size, values.shape[1])
    seen = torch.zeros(len(cameras), size * size, dtype=torch.bool)
    for i in range(len(cameras)):
        faces, triangles = all_faces, _take(pixels[i].float(), all_faces)
        if closed:
            towards = _turned_to_us(triangles)
            faces, triangles = _take(all_faces, towards), _take(triangles, towards)
        found = rasterise(triangles, size)
        near = (1 / depths[i]).float()
        nearness = found.mix(near[:, None], faces)[:, 0]  # linear in the image
        pixel = found.row * size + found.column
        nearest = nearness.new_zeros(size * size).scatter_reduce(0, pixel, nearness, "amax")
        first = (nearness == nearest.index_select(0, pixel)).nonzero()[:, 0]
        corners, pixel = _take(faces, _take(found.face, first)), _take(pixel, first)
        share = _take(found.weights, first) * _take(near, corners)
        share = share / _take(nearness, first)[:, None]
        images[i, pixel] = blend(values, corners, share.to(values)).float()
        seen[i, pixel] = True
    shape = (len(cameras), size, size)
    return images.view(*shape, -1), seen.view(shape)


def _take(values: Tensor, faces: Tensor) -> Tensor:
    """`values[faces]`, which is several times as slow."""
    return values.index_select(0, faces.flatten()).view(*faces.shape, *values.shape[1:])


def _turned_to_us(triangles: Float[Tensor, "faces 3 2"]) -> Tensor:
    """The triangles whose corners go around anticlockwise in an image, whose rows go down."""
    (ax, ay), (bx, by), (cx, cy) = triangles.permute(1, 2, 0)
    return ((bx - ax) * (cy - ay) < (by - ay) * (cx - ax)).nonzero()[:, 0]


def look_up(
    texture: Float[Tensor, "3 rows columns"], places: Float[Tensor, "n 2"]
) -> Float[Tensor, "n 3"]:
    """The texture at places (u, v) in [0, 1]^2, v up, between the texels bilinearly."""
    where = torch.stack([2 * places[:, 0] - 1, 1 - 2 * places[:, 1]], dim=-1)
    found = F.grid_sample(
        texture[None], where[None, None], padding_mode="border", align_corners=False
    )
    return found[0, :, 0].T


def render_texture(
    mesh: trimesh.Trimesh,
    texture: Float[Tensor, "3 rows columns"],
    cameras: Cameras,
    size: int,
    background: Float[Tensor, "..."],
    *,
    closed: bool = False,
) -> Float[Tensor, "batch 3 size size"]:
    """What unlit cameras see of a mesh in front of a background; differentiable in the texture.

    Args:
        mesh: an unwrapped one.
        texture: colours in [0, 1].
        cameras: B of them.
        size: side of the images.
        background: what broadcasts with the images.
        closed: `is_closed(mesh)`, for speed.
    """
    uv = texture_coordinates(mesh)
    places, seen = surface_values(mesh, uv, cameras, size, closed=closed)
    return on_background(look_up(texture, places[seen].to(texture)), seen, background)


def on_background(
    colours: Float[Tensor, "n 3"],
    seen: Bool[Tensor, "batch size size"],
    background: Float[Tensor, "..."],
) -> Float[Tensor, "batch 3 size size"]:
    """Images with the colours in the pixels that see the mesh, and a background in the others.

    Args:
        colours: of the pixels that are `seen`, one after the other.
        seen: from `surface_values`.
        background: what broadcasts with the images.
    """
    batch, size, _ = seen.shape
    behind = background.to(colours).expand(batch, 3, size, size)
    flat = behind.permute(0, 2, 3, 1).reshape(-1, 3)
    where = seen.flatten().nonzero()[:, 0].to(flat.device)
    return flat.index_put((where,), colours).view(*seen.shape, 3).permute(0, 3, 1, 2)


def asset_views(
    mesh: trimesh.Trimesh, cameras: Cameras, size: int
) -> Float[Tensor, "views 3 size size"]:
    """Images of a mesh with a texture, unlit in front of a light grey, for looking at."""
    texture, grey, closed = texture_of(mesh), torch.full((3, 1, 1), GREY), is_closed(mesh)
    return _smooth(
        lambda one, fine: render_texture(mesh, texture, one, fine, grey, closed=closed),
        cameras,
        size,
    )


def shaded_views(
    mesh: trimesh.Trimesh, cameras: Cameras, size: int
) -> Float[Tensor, "views 3 size size"]:
    """Images of a mesh all white, with a lamp at each camera, in front of a light grey."""
    places_and_normals = np.concatenate([mesh.vertices, mesh.vertex_normals], axis=1)
    values, closed = torch.from_numpy(places_and_normals).float(), is_closed(mesh)

    def shade(one: Cameras, fine: int) -> Tensor:
        found, seen = surface_values(mesh, values, one, fine, closed=closed)
        places, normals = found[seen].split(3, dim=1)
        camera = torch.zeros(len(places), dtype=torch.long)
        light = brightness(Lights.at(one.position), camera, places, F.normalize(normals, dim=1))
        return on_background(light.expand(-1, 3), seen, torch.full((3, 1, 1), GREY))

    return _smooth(shade, cameras, size)


@torch.no_grad()
def _smooth(
    render: Callable[[Cameras, int], Tensor], cameras: Cameras, size: int
) -> Float[Tensor, "views 3 size size"]:
    """Rendered twice as fine and averaged: smooth edges. One by one, for the memory of many."""
    views = [render(cameras[i : i + 1], 2 * size) for i in range(len(cameras))]
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
