"""One mesh of the catalogue, upright, with its materials in arrays that a ray can look up."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import trimesh
from jaxtyping import Float, Int
from PIL import Image

from scorefield.training.furniture.catalogue import FurnitureModel

__all__ = ["PaintedMesh", "load_model"]

_TEXTURE = 128  # side that textures are reduced to, pixels: a view of 64 shows no more
_MOST_FACES = 400_000


@dataclass(frozen=True)
class PaintedMesh:
    """Triangles with texture coordinates, each of one material.

    It stands upright (z) with its front to +x, its box centred, its farthest vertex at radius 1.

    Attributes:
        vertices: of each triangle's corners.
        normals: at the corners, unit length.
        places: texture coordinates of the corners, (u, v) with v up.
        material: number of each triangle's.
        texels: colours of all textures one after another, RGB in [0, 1], linear in what files hold.
        textures: of each material, (first texel, rows, columns) of its texture.
        opacity: of each material, in [0, 1].
    """

    vertices: Float[np.ndarray, "faces 3 3"]
    normals: Float[np.ndarray, "faces 3 3"]
    places: Float[np.ndarray, "faces 3 2"]
    material: Int[np.ndarray, " faces"]
    texels: Float[np.ndarray, "texels 3"]
    textures: Int[np.ndarray, "materials 3"]
    opacity: Float[np.ndarray, " materials"]


def load_model(model: FurnitureModel) -> PaintedMesh:
    """Read a model's OBJ with its materials, and turn it as the catalogue says.

    Raises:
        ValueError: it cannot be read, is empty or too large; says which.
    """
    try:
        scene = trimesh.load_scene(model.path, process=False, group_material=True)
        parts = [g for g in scene.dump() if isinstance(g, trimesh.Trimesh) and len(g.faces)]
    except Exception as error:  # a parser of foreign files fails in its own ways
        raise ValueError(f"{model.path}: cannot be read as a mesh ({error})") from error
    faces = sum(len(part.faces) for part in parts)
    if not 0 < faces <= _MOST_FACES:
        raise ValueError(f"{model.path}: has {faces} faces; 1 to {_MOST_FACES} are drawn")
    materials = [_material(part) for part in parts]
    sizes = [image.shape[:2] for image, _ in materials]
    first = np.cumsum([0, *(rows * columns for rows, columns in sizes)])[:-1]
    vertices = _upright(np.concatenate([_corners(p.vertices, p) for p in parts]), model)
    flat = np.cross(vertices[:, 1] - vertices[:, 0], vertices[:, 2] - vertices[:, 0])
    solid = np.linalg.norm(flat, axis=1) > 1e-12
    smooth = np.concatenate([_smooth_normals(part) for part in parts])
    return PaintedMesh(
        vertices[solid],
        _unit(_turned(smooth, model))[solid],
        np.concatenate([_places(part) for part in parts])[solid],
        np.repeat(np.arange(len(parts)), [len(part.faces) for part in parts])[solid],
        np.concatenate([image.reshape(-1, 3) for image, _ in materials]),
        np.array([(start, *size) for start, size in zip(first, sizes, strict=True)]),
        np.array([opacity for _, opacity in materials]),
    )


def _corners(values: Any, part: trimesh.Trimesh) -> Float[np.ndarray, "faces 3 n"]:
    return np.asarray(values, np.float64)[np.asarray(part.faces)]


def _smooth_normals(part: trimesh.Trimesh) -> Float[np.ndarray, "faces 3 3"]:
    """At the corners: the vertex's where the surface is smooth, the face's at an edge."""
    flat = np.asarray(part.face_normals)[:, None].repeat(3, axis=1)
    vertex = _corners(part.vertex_normals, part)
    return np.where((flat * vertex).sum(-1, keepdims=True) > 0.6, vertex, flat)


def _places(part: trimesh.Trimesh) -> Float[np.ndarray, "faces 3 2"]:
    uv = getattr(part.visual, "uv", None)
    if uv is None or len(uv) != len(part.vertices):
        return np.zeros((len(part.faces), 3, 2))
    return np.nan_to_num(_corners(uv, part))


def _material(part: trimesh.Trimesh) -> tuple[Float[np.ndarray, "rows columns 3"], float]:
    """The colours of a part, as a picture of one texel where it has no texture, and its opacity."""
    material = getattr(part.visual, "material", None)
    color = np.asarray(getattr(material, "diffuse", (178, 178, 178, 255)), float).ravel() / 255
    image = getattr(material, "image", None)
    told = getattr(material, "kwargs", {})
    opacity = _number(told.get("d", 1.0)) * (1 - _number(told.get("tr", 0.0)))
    if image is None:
        return color[None, None, :3], opacity
    image = image.convert("RGBA")
    image.thumbnail((_TEXTURE, _TEXTURE), Image.Resampling.BOX)
    pixels = np.asarray(image).astype(np.float64) / 255
    return pixels[..., :3], opacity * float(pixels[..., 3].mean() > 0.02)


def _number(values: Any) -> float:
    """The number that a line of an MTL file gives."""
    return float(np.ravel(np.asarray(values, float))[0])


def _turned(
    vectors: Float[np.ndarray, "*shape 3"], model: FurnitureModel
) -> Float[np.ndarray, "*shape 3"]:
    """By the catalogue's rotation, then from its axes (y up, front to +z) to ours."""
    turned = vectors @ np.array(model.rotation).reshape(3, 3).T
    return turned[..., [2, 0, 1]]


def _upright(
    vertices: Float[np.ndarray, "faces 3 3"], model: FurnitureModel
) -> Float[np.ndarray, "faces 3 3"]:
    """Stretched to the catalogue's width, height and depth, centred and scaled."""
    turned = vertices @ np.array(model.rotation).reshape(3, 3).T
    low, high = turned.min((0, 1)), turned.max((0, 1))
    turned = (turned - (low + high) / 2) * np.array(model.size) / np.maximum(high - low, 1e-9)
    turned = turned[..., [2, 0, 1]]
    return turned / np.linalg.norm(turned, axis=-1).max()


def _unit(vectors: Float[np.ndarray, "*shape 3"]) -> Float[np.ndarray, "*shape 3"]:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)
