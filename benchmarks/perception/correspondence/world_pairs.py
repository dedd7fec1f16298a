"""Semantic pairs of the procedural world: two instances of a category whose landmarks are known."""

from collections import Counter
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.world.geometry import rotation
from scorefield.world.objects import COLORS, FRONTED
from scorefield.world.scenes import WorldScene, draw_scene, render

_LEAST = 3
_ASIDE = 0.3
_ATTEMPTS = 40


@dataclass(frozen=True)
class SemanticPair:
    """Two images of one category and the landmarks that both show, in pixels (x, y).

    Pixel (row i, column j) covers x from j to j + 1 and y from i to i + 1.

    size: the longer side of the second object's bounding box, pixels.
    """

    category: str
    images: Float[Tensor, "2 3 height width"]
    source: Float[Tensor, "points 2"]
    target: Float[Tensor, "points 2"]
    size: float | int


def draw_pairs(
    seed: int, n: int, *, turn: float | int = 45.0, size: int = 64, flat: bool = False
) -> list[SemanticPair]:
    """Pairs number 0 to n - 1 of a seed; the categories that have a front take turns.

    The two instances have other colours, proportions, light and background, and cameras up to
    `turn` degrees apart in azimuth, at elevations of -10 to 55 and distances of 3 to 3.8, that look
    up to 0.3 aside along each axis: or the same place in the other image would be a good guess.
    Landmarks are the ends of the axes
    of parts that both cameras see, of parts that both instances have equally many of: the first of
    two bodies is not the first of three. Each pair has at least 3 of them. (On a category without a
    front the ends mean nothing: the same image could be another azimuth.)

    turn: degrees.
    size: of the images, pixels.
    flat: show the second instance as an icon, in even colours without light on white; everything
        else about the pairs stays the same.
    """
    names = sorted(FRONTED)
    return [_draw(seed, index, names[index % len(names)], turn, size, flat) for index in range(n)]


def _draw(
    seed: int, index: int, category: str, turn: float | int, size: int, flat: bool
) -> SemanticPair:
    for attempt in range(_ATTEMPTS):
        rng = np.random.default_rng([seed, index, attempt, 2])
        number = 2 * (index * _ATTEMPTS + attempt)
        colors = rng.permutation(list(COLORS))[:2]
        azimuth = rng.uniform(-180, 180)
        scenes = []
        for k in range(2):
            scene = draw_scene(seed, number + k, category=category, color=str(colors[k]))
            turned = azimuth + k * rng.uniform(-turn, turn)
            # the light turns with the camera, or it would often be behind the object
            light = rotation(2, turned - scene.azimuth) @ scene.light
            scenes.append(
                replace(
                    scene,
                    azimuth=turned,
                    elevation=rng.uniform(-10, 55),
                    distance=rng.uniform(3.0, 3.8),
                    look_at=rng.uniform(-_ASIDE, _ASIDE, 3),
                    light=light,
                )
            )
        if flat:
            scenes[1] = replace(scenes[1], ambient=1.0, background=np.ones((2, 3)))
        pair = _pair(scenes, size)
        if len(pair.source) >= _LEAST:
            return pair
    raise ValueError(
        f"no pair of {category} in {_ATTEMPTS} draws shows {_LEAST} common landmarks; allow a "
        f"larger image or a turn other than {turn}"
    )


def _pair(scenes: list[WorldScene], size: int) -> SemanticPair:
    pictures = render(scenes, size)
    points = [
        {
            name: point
            for name, point, seen in zip(
                pictures.landmark_names[k], pictures.landmarks[k], pictures.visible[k], strict=False
            )
            if seen
        }
        for k in range(2)
    ]
    counts = [Counter(part.name for part in scene.parts) for scene in scenes]
    common = [
        name
        for name in points[0]
        if name in points[1] and len({c[name.split()[0].rstrip("0123456789")] for c in counts}) == 1
    ]
    rows, columns = torch.where(pictures.mask[1])
    box = max(int(rows.max() - rows.min()), int(columns.max() - columns.min())) + 1
    return SemanticPair(
        category=scenes[0].category,
        images=pictures.images,
        source=torch.stack([points[0][name] for name in common]) if common else torch.empty(0, 2),
        target=torch.stack([points[1][name] for name in common]) if common else torch.empty(0, 2),
        size=float(box),
    )
