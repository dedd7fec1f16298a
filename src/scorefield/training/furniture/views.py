"""Small pictures of painted meshes: rays by Embree, textures, two lights, layers of glass."""

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
import torch
import trimesh
from jaxtyping import Float, Int

from scorefield.cameras import Cameras
from scorefield.training.furniture.models import PaintedMesh
from scorefield.views import FOV

__all__ = ["COLORS", "Renderer", "ViewSettings", "check_embree", "draw_view"]

COLORS: Mapping[str, tuple[float, float, float]] = {
    "red": (0.80, 0.12, 0.12),
    "orange": (0.95, 0.50, 0.10),
    "yellow": (0.95, 0.82, 0.15),
    "green": (0.18, 0.60, 0.25),
    "teal": (0.08, 0.55, 0.55),
    "blue": (0.15, 0.35, 0.85),
    "purple": (0.50, 0.25, 0.75),
    "pink": (0.95, 0.50, 0.70),
    "white": (0.93, 0.93, 0.92),
    "black": (0.10, 0.10, 0.11),
}
"""What a part of the views paints the things in, by the word of the caption."""

_RECOLOURED, _OVERHEAD, _WHITE = 0.4, 0.15, 0.3  # shares of the views
_LAYERS = 4  # of glass, the last of them taken as opaque
_SUPERSAMPLED = 2
_AWAY = 1e-4  # beyond a surface, where the next layer is looked for


@dataclass(frozen=True)
class ViewSettings:
    """One picture of a thing. Angles in degrees, colours RGB in [0, 1].

    color: word of `COLORS` that the thing is painted in; None leaves its own.
    light: unit vector towards the light.
    ambient: share of the light that comes from everywhere.
    background: colour at the top and at the bottom.
    """

    azimuth: float | int
    elevation: float | int
    distance: float | int
    color: str | None
    light: Float[np.ndarray, "3"]
    ambient: float | int
    background: Float[np.ndarray, "2 3"]

    @property
    def white(self) -> bool:
        """Whether the background is white."""
        return bool((self.background == 1).all())

    @property
    def plain(self) -> bool:
        """Whether the thing is unpainted, on white."""
        return self.white and self.color is None


def draw_view(rng: np.random.Generator, *, paint: bool = True, plain: bool = False) -> ViewSettings:
    """A camera all around and mostly at eye level, a light near it, and an empty background.

    paint: whether it may be in another colour.
    plain: whether it is in its own colours and on white, whatever else is drawn.
    """
    azimuth = rng.uniform(-180, 180)
    overhead = rng.random() < _OVERHEAD
    elevation = rng.uniform(60, 88) if overhead else rng.uniform(-10, 60)
    color = list(COLORS)[rng.integers(len(COLORS))] if rng.random() < _RECOLOURED else None
    tone = rng.uniform(0.3, 0.95, (2, 1)) * np.ones((2, 3)) + rng.uniform(-0.07, 0.07, (2, 3))
    if rng.random() < 0.4:
        tone[1] = tone[0]
    white = rng.random() < _WHITE or plain
    turn, up = rng.uniform(-70, 70), rng.uniform(5, 60)
    a, e = np.radians(azimuth + turn), np.radians(min(elevation + up, 85))
    return ViewSettings(
        azimuth,
        elevation,
        distance=rng.uniform(2.8, 3.2),
        color=color if paint and not plain else None,
        light=np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)]),
        ambient=rng.uniform(0.4, 0.65),
        background=np.ones((2, 3)) if white else np.clip(tone, 0, 1),
    )


def check_embree() -> None:
    """Refuse where Embree is not installed.

    Raises:
        ValueError: it is not.
    """
    if find_spec("embreex") is None:
        raise ValueError(
            "meshes are rendered by embreex, which is not installed; pip install "
            "scorefield[objects]"
        )


class Renderer:
    """Renders one mesh; what Embree needs of it is built once.

    Raises:
        ValueError: embreex is not installed.
    """

    def __init__(self, mesh: PaintedMesh) -> None:
        check_embree()
        from trimesh.ray.ray_pyembree import RayMeshIntersector

        self.mesh = mesh
        count = len(mesh.vertices)
        soup = trimesh.Trimesh(
            mesh.vertices.reshape(-1, 3), np.arange(3 * count).reshape(-1, 3), process=False
        )
        self.embree = RayMeshIntersector(soup)
        self.edges = mesh.vertices[:, 1:] - mesh.vertices[:, :1]
        # the painted thing keeps its lights and darks: each texel's luminance beside the mean
        self.light = mesh.texels @ np.array([0.299, 0.587, 0.114])
        self.mean_light = float(self.light.mean())

    def render(self, view: ViewSettings, size: int = 64) -> Float[np.ndarray, "size size 3"]:
        """The picture, in [0, 1]."""
        side = size * _SUPERSAMPLED
        cameras = Cameras.at(float(view.azimuth), float(view.elevation), float(view.distance), FOV)
        origins, directions = (
            x[0].contiguous().numpy()  # else all origins are one place in memory, and rays go on
            for x in cameras.to(dtype=torch.float64).origins_and_directions(side, side)
        )
        shade = np.linspace(0, 1, side)[:, None, None]
        rows = view.background[0] * (1 - shade) + view.background[1] * shade
        behind = np.broadcast_to(rows, (side, side, 3)).reshape(-1, 3)
        color, left = np.zeros((side * side, 3)), np.ones(side * side)
        alive = np.arange(side * side)
        for layer in range(_LAYERS):
            face = self.embree.intersects_first(origins[alive], directions[alive])
            hit = face >= 0
            alive, face = alive[hit], face[hit]
            if not len(alive):
                break
            depth, u, v = self._meet(face, origins[alive], directions[alive])
            opacity = self.mesh.opacity[self.mesh.material[face]]
            if layer == _LAYERS - 1:
                opacity = np.ones_like(opacity)
            shaded = self._shaded(face, u, v, directions[alive], view)
            color[alive] += (left[alive] * opacity)[:, None] * shaded
            left[alive] *= 1 - opacity
            origins[alive] += (depth + _AWAY)[:, None] * directions[alive]
            alive = alive[left[alive] > 0.01]
        image = (color + left[:, None] * behind).reshape(size, 2, size, 2, 3).mean((1, 3))
        return np.clip(image, 0, 1)

    def _meet(
        self,
        face: Int[np.ndarray, " n"],
        origins: Float[np.ndarray, "n 3"],
        directions: Float[np.ndarray, "n 3"],
    ) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
        """Depth and barycentric coordinates of rays on faces (Moeller and Trumbore 1997)."""
        first, second = self.edges[face, 0], self.edges[face, 1]
        p = np.cross(directions, second)
        determinant = (first * p).sum(1)
        inverse = 1 / np.where(np.abs(determinant) < 1e-15, 1e-15, determinant)
        t = origins - self.mesh.vertices[face, 0]
        u = (t * p).sum(1) * inverse
        q = np.cross(t, first)
        v = (directions * q).sum(1) * inverse
        return (second * q).sum(1) * inverse, np.clip(u, 0, 1), np.clip(v, 0, 1)

    def _shaded(
        self,
        face: Int[np.ndarray, " n"],
        u: Float[np.ndarray, " n"],
        v: Float[np.ndarray, " n"],
        directions: Float[np.ndarray, "n 3"],
        view: ViewSettings,
    ) -> Float[np.ndarray, "n 3"]:
        """Diffuse light of one lamp, of the sky, and of the camera's own weak lamp."""
        share = np.stack([1 - u - v, u, v], axis=1)[..., None]
        normal = (share * self.mesh.normals[face]).sum(1)
        normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
        facing = (normal * directions).sum(1, keepdims=True)
        normal = np.where(facing > 0, -normal, normal)  # thin things are seen from both sides
        lamp = np.clip(normal @ view.light, 0, 1)
        sky = 0.75 + 0.25 * normal[:, 2]
        own = np.abs(facing[:, 0])
        light = view.ambient * sky + (1 - view.ambient) * (0.8 * lamp + 0.25 * own)
        return self._albedo(face, share, view.color) * light[:, None] * 1.15

    def _albedo(
        self,
        face: Int[np.ndarray, " n"],
        share: Float[np.ndarray, "n 3 1"],
        color: str | None,
    ) -> Float[np.ndarray, "n 3"]:
        place = (share * self.mesh.places[face]).sum(1) % 1
        first, rows, columns = self.mesh.textures[self.mesh.material[face]].T
        row = np.minimum(((1 - place[:, 1]) * rows).astype(int), rows - 1)
        column = np.minimum((place[:, 0] * columns).astype(int), columns - 1)
        texel = first + row * columns + column
        if color is None:
            return self.mesh.texels[texel]
        contrast = np.clip(self.light[texel] / max(self.mean_light, 0.05), 0.4, 1.5)
        target = np.array(COLORS[color])
        value = colorsys.rgb_to_hsv(*target)[2]
        return np.clip(target * (0.6 + 0.4 * contrast)[:, None], 0, max(value, 0.25) * 1.1)
