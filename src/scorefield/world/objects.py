"""The objects of the procedural world: a category in a random shade of a colour."""

import colorsys
from collections.abc import Callable

import numpy as np

from scorefield.world import builders
from scorefield.world.builders import Rgb, Rng, Triple
from scorefield.world.geometry import Kind, Part

COLORS: dict[str, Triple] = {  # hue in degrees, saturation, value
    "red": (0, 0.88, 0.86),
    "orange": (28, 0.92, 0.98),
    "yellow": (54, 0.88, 0.96),
    "green": (125, 0.75, 0.66),
    "teal": (178, 0.80, 0.74),
    "blue": (222, 0.82, 0.86),
    "purple": (276, 0.72, 0.72),
    "pink": (328, 0.48, 0.97),
}
"""The colours that captions name."""


def shade(name: str, rng: Rng) -> np.ndarray:
    """A random RGB shade of a named colour."""
    hue, saturation, value = COLORS[name]
    hue = (hue + rng.uniform(-5, 5)) / 360 % 1
    saturation = np.clip(saturation + rng.uniform(-0.07, 0.07), 0, 1)
    return np.array(
        colorsys.hsv_to_rgb(hue, saturation, np.clip(value + rng.uniform(-0.08, 0.04), 0, 1))
    )


CATEGORIES: dict[str, Callable[[Rng, Rgb], list[Part]]] = {
    builder.__name__: builder
    for builder in (
        builders.mushroom, builders.lamp, builders.chair, builders.table, builders.snowman,
        builders.rocket, builders.tree, builders.cup, builders.robot, builders.house,
        builders.boat, builders.duck,
    )
}  # fmt: skip
"""Builder of each category."""

FRONTED = frozenset({"chair", "snowman", "robot", "house", "boat", "duck"})
"""The categories whose front, side and back look different."""


def _outline(part: Part) -> np.ndarray:
    """Points (n, 3) on the part's surface that span it."""
    grid = np.array(np.meshgrid([-1, 0, 1], [-1, 0, 1], [-1, 0, 1])).reshape(3, -1).T
    if part.kind == Kind.SPHERE:
        grid = grid[np.any(grid != 0, axis=1)]
        grid = grid / np.linalg.norm(grid, axis=1, keepdims=True)
    elif part.kind == Kind.CONE:
        grid = grid[np.any(grid[:, :2] != 0, axis=1) & (grid[:, 2] != 0)].astype(float)
        radius = np.where(grid[:, 2] < 0, 1.0, part.taper) / np.linalg.norm(grid[:, :2], axis=1)
        grid[:, :2] *= radius[:, None]
    return part.centre + grid @ part.linear.T


def build(category: str, color: str, rng: Rng) -> list[Part]:
    """A random object of a category, centred and fitted into the unit sphere."""
    parts = CATEGORIES[category](rng, shade(color, rng))
    points = np.concatenate([_outline(part) for part in parts])
    shift = -0.5 * (points.min(0) + points.max(0))
    reach = np.linalg.norm(points + shift, axis=1).max()
    scale = rng.uniform(0.88, 0.98) / reach
    return [part.moved(scale, shift) for part in parts]
