"""Scenes of the procedural world: an object, a camera, a light, a background and a caption."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from scorefield.cameras import Cameras
from scorefield.views import FOV, view_name
from scorefield.world.geometry import Kind, PackedParts, Part, cast
from scorefield.world.objects import CATEGORIES, COLORS, FRONTED, build


@dataclass(frozen=True)
class WorldScene:
    """One image's contents. Angles in degrees, colours RGB in [0, 1]."""

    category: str
    color: str
    parts: list[Part]
    azimuth: float | int
    elevation: float | int
    distance: float | int
    look_at: np.ndarray
    light: np.ndarray
    """Unit vector towards the light, in the world's frame."""
    ambient: float | int
    """Share of the light that comes from everywhere; 1 is flat colour without shading."""
    background: np.ndarray
    """(2, 3): colour at the top and at the bottom of the image."""
    caption: str

    @property
    def view(self) -> str:
        """The view word of the camera."""
        return view_name(self.azimuth, self.elevation)

    @property
    def fronted(self) -> bool:
        """Whether the object's front, side and back differ."""
        return self.category in FRONTED


def draw_scene(
    seed: int, index: int, *, category: str | None = None, color: str | None = None
) -> WorldScene:
    """The scene number `index` of the world with this seed; the same numbers give the same scene.

    A category or colour may be fixed; the other draws do not move.

    Raises:
        ValueError: a category or colour that the world does not have.
    """
    rng = np.random.default_rng([seed, index])
    category = _choose(rng, "category", category, list(CATEGORIES))
    color = _choose(rng, "color", color, list(COLORS))
    icon = rng.random() < 0.12
    white = icon or rng.random() < 0.15
    if icon:
        azimuth, elevation = rng.uniform(-60, 60), rng.uniform(0, 30)
    else:
        overhead = rng.random() < 0.15
        elevation = rng.uniform(60, 88) if overhead else rng.uniform(-10, 55)
        azimuth = rng.uniform(-180, 180)
    side, up = rng.uniform(-70, 70), rng.uniform(-5, 60)
    parts = build(category, color, np.random.default_rng([seed, index, 1]))
    return WorldScene(
        category=category,
        color=color,
        parts=parts,
        azimuth=azimuth,
        elevation=elevation,
        distance=rng.uniform(2.8, 3.2),
        look_at=rng.normal(0, 0.03, 3),
        light=_direction(azimuth + side, min(elevation + up, 85)),
        ambient=1.0 if icon else rng.uniform(0.4, 0.65),
        background=np.full((2, 3), 1.0) if white else _background(rng),
        caption=_caption(rng, category, color, view_name(azimuth, elevation), icon, white),
    )


def cameras_of(scenes: Sequence[WorldScene]) -> Cameras:
    """What the scenes are seen by, but for where exactly it looks."""
    seen = [(scene.azimuth, scene.elevation, scene.distance) for scene in scenes]
    return Cameras.at(*(list(numbers) for numbers in zip(*seen, strict=True)))


def _choose(rng: np.random.Generator, what: str, fixed: str | None, names: list[str]) -> str:
    """A random name, or the fixed one; drawn either way, so that later draws do not move."""
    drawn = names[rng.integers(len(names))]
    if fixed is not None and fixed not in names:
        raise ValueError(f"{what} must be one of {', '.join(names)}; got {fixed!r}")
    return drawn if fixed is None else fixed


def _direction(azimuth: float | int, elevation: float | int) -> np.ndarray:
    a, e = np.radians(azimuth), np.radians(elevation)
    return np.array([np.cos(e) * np.cos(a), np.cos(e) * np.sin(a), np.sin(e)])


def _background(rng: np.random.Generator) -> np.ndarray:
    """A vertical gradient of two dull colours, so that no background is taken for the object."""
    tone = rng.uniform(0.3, 0.95, (2, 1)) * np.ones((2, 3))
    if rng.random() < 0.4:
        tone[1] = tone[0]
    return np.clip(tone + rng.uniform(-0.07, 0.07, (2, 3)), 0, 1)


def _caption(
    rng: np.random.Generator, category: str, color: str, view: str, icon: bool, white: bool
) -> str:
    noun = category if rng.random() < 0.1 else f"{color} {category}"
    noun = f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
    if icon:
        noun = f"a flat icon of {noun}"
    elif rng.random() < 0.1:
        noun = f"a photo of {noun}"
    if rng.random() < (0.2 if icon else 0.75):
        noun += f", {view}"
    if white and rng.random() < 0.5:
        noun += ", white background"
    return noun


@dataclass
class Images:
    """A batch of rendered scenes with their ground truth.

    `part` is an index into `part_names`, the sorted names of all parts in the batch (-1 is
    background). `depth` is along the camera's axis, inf on the background. `landmarks` are pixel
    coordinates (x, y) of the ends of each part's axes, `visible` says which the camera sees, and
    `landmark_names` lists, per image, names such as "cap0 +z", the upper end of the first cap,
    that agree between instances. Rows of fewer points are padded with NaN, which is not visible.
    """

    images: Float[Tensor, "batch 3 height width"]
    part: Int[Tensor, "batch height width"]
    depth: Float[Tensor, "batch height width"]
    landmarks: Float[Tensor, "batch points 2"]
    visible: Bool[Tensor, "batch points"]
    part_names: list[str] = field(default_factory=list)
    landmark_names: list[list[str]] = field(default_factory=list)

    @property
    def mask(self) -> Bool[Tensor, "batch height width"]:
        """Where the object is."""
        return self.part >= 0


def render(scenes: Sequence[WorldScene], size: int = 64, antialias: int = 2) -> Images:
    """Render scenes at size x size pixels, `antialias` squared rays a pixel.

    Masks and depths are those of each pixel's first ray, which for antialias = 1 is its centre.
    """
    packed = PackedParts.pack([scene.parts for scene in scenes])
    fine = size * antialias
    origins, frames = _cameras(scenes)
    focal = 0.5 / np.tan(np.radians(FOV) / 2)
    step = (torch.arange(fine) + 0.5) / fine - 0.5
    y, x = torch.meshgrid(-step, step, indexing="ij")
    rays = torch.stack([x / focal, y / focal, -torch.ones_like(x)], -1).view(-1, 3)
    directions = rays @ frames.mT  # (batch, rays, 3)
    hits = cast(packed, origins, directions)

    light = torch.as_tensor(np.stack([s.light for s in scenes]), dtype=torch.float32)
    ambient = torch.tensor([s.ambient for s in scenes])[:, None]
    lambert = _rotated(hits.normal, light[..., None])[..., 0].clamp(min=0)
    shading = ambient + (1 - ambient) * lambert
    background = torch.as_tensor(np.stack([s.background for s in scenes]), dtype=torch.float32)
    down = torch.linspace(0, 1, fine)[:, None].expand(fine, fine).reshape(1, -1, 1)
    sky = torch.lerp(background[:, None, 0], background[:, None, 1], down)
    found = (hits.part >= 0)[..., None]
    image = torch.where(found, packed.color[hits.part.clamp(min=0)] * shading[..., None], sky)

    image = image.view(-1, fine, fine, 3).permute(0, 3, 1, 2)
    image = torch.nn.functional.avg_pool2d(image, antialias).clamp(0, 1)
    names = sorted(set(packed.names))
    lookup = torch.tensor([names.index(name) for name in packed.names] + [-1])

    def coarse(values: Tensor) -> Tensor:
        return values.view(-1, fine, fine)[:, ::antialias, ::antialias]

    points, ends_of, labels = _landmarks(scenes, packed.slots)
    pixels, visible = _project(points, ends_of, packed, origins, frames, focal, size)
    return Images(
        images=image,
        part=lookup[coarse(hits.part)],
        depth=coarse(hits.depth),
        landmarks=pixels,
        visible=visible,
        part_names=names,
        landmark_names=labels,
    )


def _rotated(
    vectors: Float[Tensor, "batch n 3"], matrices: Float[Tensor, "batch 3 m"]
) -> Float[Tensor, "batch n m"]:
    """`vectors @ matrices`, summed component by component.

    On some processors a matrix product rounds by the size of the batch.
    """
    x, y, z = (vectors[..., i, None] * matrices[:, None, i] for i in range(3))
    return x + y + z


def _cameras(scenes: Sequence[WorldScene]) -> tuple[Tensor, Tensor]:
    """Positions (batch, 3) and rotations (batch, 3, 3), columns right, up, backward."""
    positions = np.stack([s.distance * _direction(s.azimuth, s.elevation) for s in scenes])
    backward = positions - np.stack([s.look_at for s in scenes])
    backward /= np.linalg.norm(backward, axis=1, keepdims=True)
    right = np.cross([0.0, 0.0, 1.0], backward)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    frames = np.stack([right, np.cross(backward, right), backward], axis=-1)
    return (
        torch.as_tensor(positions, dtype=torch.float32),
        torch.as_tensor(frames, dtype=torch.float32),
    )


def _landmarks(
    scenes: Sequence[WorldScene], slots: Int[Tensor, "batch slots"]
) -> tuple[Float[Tensor, "batch points 3"], Int[Tensor, "batch points"], list[list[str]]]:
    """The ends of the axes of each part, the flat index of that part, and their names.

    Padded with NaN and -1. The horizontal ends mean the same on two instances only where the object
    has a front.
    """
    all_points, all_parts, all_names = [], [], []
    for scene, row in zip(scenes, slots.tolist(), strict=True):
        points, parts, names, seen = [], [], [], dict[str, int]()
        for part, index in zip(scene.parts, row, strict=False):
            seen[part.name] = seen.get(part.name, -1) + 1
            for axis in range(3) if scene.fronted else (2,):
                for sign in (-1, 1):
                    local = np.zeros(3)
                    local[axis] = sign
                    if part.kind == Kind.CONE and axis < 2:
                        local *= (1 + part.taper) / 2
                    points.append(part.centre + part.linear @ local)
                    parts.append(index)
                    names.append(f"{part.name}{seen[part.name]} {'-+'[sign > 0]}{'xyz'[axis]}")
        all_points.append(np.array(points))
        all_parts.append(parts)
        all_names.append(names)
    longest = max(map(len, all_names))
    padded = np.full((len(scenes), longest, 3), np.nan)
    ends_of = np.full((len(scenes), longest), -1)
    for i, indices in enumerate(all_parts):
        padded[i, : len(indices)] = all_points[i]
        ends_of[i, : len(indices)] = indices
    return torch.as_tensor(padded, dtype=torch.float32), torch.as_tensor(ends_of), all_names


def _project(
    points: Float[Tensor, "batch points 3"],
    ends_of: Int[Tensor, "batch points"],
    packed: PackedParts,
    origins: Float[Tensor, "batch 3"],
    frames: Float[Tensor, "batch 3 3"],
    focal: float,
    size: int,
) -> tuple[Float[Tensor, "batch points 2"], Bool[Tensor, "batch points"]]:
    """Pixel coordinates of points on parts, and whether the ray to each meets it first."""
    away = points - origins[:, None]
    camera = _rotated(away, frames)
    pixels = camera[..., :2] / -camera[..., 2:] * torch.tensor([focal, -focal], dtype=torch.float32)
    pixels = (pixels + 0.5) * size
    hits = cast(packed, origins, torch.nan_to_num(away, nan=1.0))
    inside = ((pixels >= 0) & (pixels < size)).all(-1)  # NaN, the padding, is not inside
    # A ray that meets the part itself earlier ends at its far side.
    return pixels, inside & (hits.part == ends_of) & (hits.depth > 0.998)
