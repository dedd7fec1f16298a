"""The procedural world: a dozen categories of coloured objects, rendered with ground truth."""

from scorefield.priors.world.objects import CATEGORIES, COLORS, FRONTED
from scorefield.priors.world.scenes import (
    FOV,
    VIEWS,
    Pictures,
    Scene,
    draw_scene,
    render,
    view_name,
)

__all__ = [
    "CATEGORIES",
    "COLORS",
    "FOV",
    "FRONTED",
    "VIEWS",
    "Pictures",
    "Scene",
    "draw_scene",
    "render",
    "view_name",
]
