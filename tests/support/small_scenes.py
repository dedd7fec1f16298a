"""Scenes of few voxels, for tests of what is around them."""

import importlib

import pytest

from scorefield.sds.nerf.fields import VoxelGrid
from scorefield.sds.nerf.radiance_field import RadianceField


def small_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `TextTo3D` distils by default has few voxels for the length of a test."""

    def small() -> RadianceField:
        return RadianceField(VoxelGrid(resolution=8, levels=2), cells=16)

    # By name, for the package has a function that is called like the module.
    module = importlib.import_module("scorefield.sds.nerf.scene_distillation")
    monkeypatch.setattr(module, "RadianceField", small)
