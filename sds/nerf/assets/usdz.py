"""A textured mesh as .usdz, which viewers of phones and USD's tools open (usd-core, `[usd]`)."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import trimesh

from scorefield.files import whole_file
from scorefield.sds.nerf.assets.rasterise import texture_coordinates
from scorefield.sds.nerf.assets.settings import check_usd

__all__ = ["write_usdz"]


def write_usdz(mesh: trimesh.Trimesh, texture: bytes, path: Path, title: str = "object") -> Path:
    """Write a mesh with its base-colour texture, whole or not at all; returns the path.

    Args:
        mesh: y up, in metres, unwrapped, with normals.
        texture: a PNG.
        path: ends in .usdz.
        title: what the object is called.

    Raises:
        ValueError: usd-core is not installed, or the mesh is not unwrapped.
    """
    check_usd()
    from pxr import Sdf, Usd, UsdUtils

    with TemporaryDirectory() as aside:
        image, layer = Path(aside) / f"{path.stem}.png", Path(aside) / f"{path.stem}.usdc"
        uv = texture_coordinates(mesh).numpy()
        image.write_bytes(texture)
        stage = Usd.Stage.CreateNew(str(layer))
        _fill(stage, mesh, uv, f"./{image.name}", title)
        stage.Save()
        packed = Path(aside) / path.name
        if not UsdUtils.CreateNewUsdzPackage(Sdf.AssetPath(str(layer)), str(packed)):
            raise ValueError(f"{path}: usd-core did not write it")
        with whole_file(path) as part:
            part.write_bytes(packed.read_bytes())
    return path


def _fill(stage: Any, mesh: trimesh.Trimesh, uv: Any, image: str, title: str) -> None:
    from pxr import Sdf, UsdGeom, Vt

    UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
    UsdGeom.SetStageMetersPerUnit(stage, 1.0)
    root = UsdGeom.Xform.Define(stage, "/object")
    root.GetPrim().SetDisplayName(title)
    stage.SetDefaultPrim(root.GetPrim())
    shape = UsdGeom.Mesh.Define(stage, "/object/surface")
    faces = np.asarray(mesh.faces, np.int32)
    shape.CreateFaceVertexCountsAttr(Vt.IntArray([3] * len(faces)))
    shape.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(faces.ravel()))
    shape.CreatePointsAttr(Vt.Vec3fArray.FromNumpy(np.array(mesh.vertices, np.float32)))
    shape.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(np.array(mesh.vertex_normals, np.float32)))
    shape.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    visual: Any = mesh.visual
    shape.CreateDoubleSidedAttr(bool(visual.material.doubleSided))
    shape.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    shape.CreateExtentAttr(Vt.Vec3fArray.FromNumpy(np.array(mesh.bounds, np.float32)))
    places = UsdGeom.PrimvarsAPI(shape).CreatePrimvar(
        "st", Sdf.ValueTypeNames.TexCoord2fArray, UsdGeom.Tokens.vertex
    )
    places.Set(Vt.Vec2fArray.FromNumpy(np.array(uv, np.float32)))
    _paint(stage, shape, image)


def _paint(stage: Any, shape: Any, image: str) -> None:
    """One matte material, its colour read from the texture."""
    from pxr import Sdf, UsdShade

    kinds = Sdf.ValueTypeNames
    material = UsdShade.Material.Define(stage, "/object/matte")
    look = UsdShade.Shader.Define(stage, "/object/matte/look")
    look.CreateIdAttr("UsdPreviewSurface")
    look.CreateInput("roughness", kinds.Float).Set(1.0)
    look.CreateInput("metallic", kinds.Float).Set(0.0)
    reader = UsdShade.Shader.Define(stage, "/object/matte/places")
    reader.CreateIdAttr("UsdPrimvarReader_float2")
    reader.CreateInput("varname", kinds.String).Set("st")
    texture = UsdShade.Shader.Define(stage, "/object/matte/texture")
    texture.CreateIdAttr("UsdUVTexture")
    texture.CreateInput("file", kinds.Asset).Set(Sdf.AssetPath(image))
    texture.CreateInput("sourceColorSpace", kinds.Token).Set("sRGB")
    texture.CreateInput("st", kinds.Float2).ConnectToSource(
        reader.CreateOutput("result", kinds.Float2)
    )
    look.CreateInput("diffuseColor", kinds.Color3f).ConnectToSource(
        texture.CreateOutput("rgb", kinds.Float3)
    )
    material.CreateSurfaceOutput().ConnectToSource(look.CreateOutput("surface", kinds.Token))
    UsdShade.MaterialBindingAPI.Apply(shape.GetPrim()).Bind(material)
