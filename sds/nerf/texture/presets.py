"""Presets of paint: those of scenes, as far as a surface has the settings."""

from dataclasses import fields, replace

from scorefield.sds.nerf import presets as scenes
from scorefield.sds.nerf.texture.settings import TextureSettings
from scorefield.sds.presets import Preset

__all__ = ["PRESETS"]

_NAMES = {one.name for one in fields(TextureSettings)}

PRESETS: tuple[Preset, ...] = tuple(
    replace(one, values={name: one.values[name] for name in one.values if name in _NAMES}, told={})
    for one in scenes.PRESETS
)
"""Of each kind of prior the first one is chosen for it."""
