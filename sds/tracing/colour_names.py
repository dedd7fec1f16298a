"""Plain names of colours, for the ids of shapes."""

from collections.abc import Sequence

import numpy as np

from scorefield.sds.tracing.palette import oklab

__all__ = ["colour_name"]

_NAMES = {
    "white": "#ffffff", "light-grey": "#d0d0d0", "grey": "#909090", "dark-grey": "#505050",
    "black": "#181818", "red": "#e02828", "dark-red": "#901818", "pink": "#f8a0c0",
    "magenta": "#e03090", "orange": "#f58020", "light-orange": "#fcb878", "brown": "#8a5a30",
    "dark-brown": "#4a2c18", "beige": "#ecd8b8", "yellow": "#fcd030", "light-yellow": "#fcf0a0",
    "olive": "#909020", "green": "#40a840", "light-green": "#a0dc80", "dark-green": "#206830",
    "teal": "#189898", "light-blue": "#98ccf8", "blue": "#2870e0", "dark-blue": "#203878",
    "purple": "#8040c0", "lavender": "#c8b0f0",
}  # fmt: skip
_CENTRES = oklab(
    np.array([[int(code[k : k + 2], 16) / 255 for k in (1, 3, 5)] for code in _NAMES.values()])
)


def colour_name(rgb: Sequence[float | int]) -> str:
    """The nearest of two dozen names of a colour in [0, 1], by OKLab."""
    away = np.linalg.norm(_CENTRES - oklab(np.asarray(rgb, float)), axis=1)
    return list(_NAMES)[int(away.argmin())]
