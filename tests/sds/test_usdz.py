"""A .usdz as USD itself reads it."""

import importlib.util
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from scorefield.sds.nerf.assets.asset import painted, unwrap
from scorefield.sds.nerf.assets.mesh_files import export_mesh
from scorefield.sds.nerf.assets.settings import AssetSettings


def cone() -> trimesh.Trimesh:
    """Its tip is up in z, and its colours are random."""
    colours = torch.rand(32, 32, 3, generator=torch.Generator().manual_seed(0))
    return painted(unwrap(trimesh.creation.cone(0.5, 2.0), 32), colours)


def test_usd_reads_axes_extent_texture_and_name(tmp_path: Path) -> None:
    pxr: Any = pytest.importorskip("pxr")
    from pxr import Usd, UsdGeom, UsdShade

    assert pxr
    mesh = cone()
    paths = export_mesh(mesh, tmp_path, title="a red cone", usdz=True)
    assert sorted(tmp_path.iterdir()) == sorted(paths)
    stage = Usd.Stage.Open(str(tmp_path / "mesh.usdz"))
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    assert stage.GetDefaultPrim().GetDisplayName() == "a red cone"
    shape = UsdGeom.Mesh(stage.GetPrimAtPath("/object/surface"))
    box = UsdGeom.BBoxCache(Usd.TimeCode.Default(), ["default"]).ComputeWorldBound(shape.GetPrim())
    extent = [list(box.GetRange().GetMin()), list(box.GetRange().GetMax())]
    np.testing.assert_allclose(extent, mesh.bounds[:, [1, 2, 0]], atol=1e-6)
    assert not shape.GetDoubleSidedAttr().Get()
    places = np.array(UsdGeom.PrimvarsAPI(shape).GetPrimvar("st").Get())
    np.testing.assert_allclose(places, mesh.visual.uv, atol=1e-6)
    material, _ = UsdShade.MaterialBindingAPI(shape).ComputeBoundMaterial()
    assert material.GetPrim().IsValid()
    with zipfile.ZipFile(tmp_path / "mesh.usdz") as packed:
        assert {one.compress_type for one in packed.infolist()} == {zipfile.ZIP_STORED}
        (name,) = [name for name in packed.namelist() if name.endswith(".png")]
        (tmp_path / "read.png").write_bytes(packed.read(name))
    with Image.open(tmp_path / "read.png") as read, Image.open(tmp_path / "mesh.png") as written:
        assert np.array_equal(np.array(read.convert("RGB")), np.array(written.convert("RGB")))


def test_without_usd_core_it_is_refused_before_anything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install 'scorefield\[usd\]'"):
        AssetSettings(usdz=True)
