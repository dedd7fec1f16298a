"""Presets of drawings: `TextToSvgSettings` by method and kind of prior."""

from scorefield.sds.levels import LevelRange
from scorefield.sds.presets import Preset

__all__ = ["PRESETS"]

PRESETS: tuple[Preset, ...] = (
    Preset("embedded", ("embedded",), "measured on `shapes`, docs/text-to-svg.md"),
    Preset(
        "vectorfusion",
        ("sd", "sdxl"),
        "Jain et al. 2023; guidance, steps and levels of PyTorch-SVGRender's configuration",
        values={"scale": 101.0, "steps": 1000, "levels": LevelRange(0.05, 0.95), "views": 1},
    ),
    Preset(
        "vectorfusion",
        ("flow", "if"),
        "as for Stable Diffusion, with the prior's own guidance: no configuration is published",
        values={"steps": 1000, "levels": LevelRange(0.05, 0.95), "views": 1},
    ),
)
"""Of each kind of prior the first one is chosen for it."""
