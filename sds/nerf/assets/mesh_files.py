"""Meshes as files that other tools open, each with the axes its readers expect."""

import io
import zlib
from collections.abc import Mapping, MutableMapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import trimesh
from numpy.typing import NDArray
from PIL import Image

from scorefield.files import whole_file
from scorefield.sds.nerf.assets.normal_map import tangents
from scorefield.sds.nerf.assets.settings import UpAxis
from scorefield.sds.nerf.assets.usdz import write_usdz

__all__ = ["export_mesh"]

Y_UP = np.eye(4)[[1, 2, 0, 3]]
"""From this library's axes: (x, y, z) becomes (y, z, x), so the front faces +z and y is up."""

MATTE = "newmtl surface\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {}.png\n"
"""The material of an .obj; trimesh's own has a gloss."""

TEXTURES = ("baseColorTexture", "normalTexture")
"""What a material may have, as glTF and trimesh name them."""


def export_mesh(
    mesh: trimesh.Trimesh,
    folder: str | PathLike[str],
    name: str = "mesh",
    *,
    title: str = "object",
    up: UpAxis | None = None,
    usdz: bool = False,
) -> list[Path]:
    """Write `name`.glb, .obj and .ply into a folder, each whole or not at all.

    ======  =========================  ==========================================================
    file    up                         colours
    ======  =========================  ==========================================================
    .glb    y, front +z, always        one matte material, base-colour texture inside (sRGB)
    .obj    y, front +z, unless `up`   `name`.mtl and `name`.png (sRGB)
    .ply    z, front +x, unless `up`   at the vertices (sRGB)
    .usdz   y, front +z, always        texture inside (sRGB); only with `usdz`
    ======  =========================  ==========================================================

    A normal texture (`AssetSettings.normal_map`) is in the .glb alone, with the tangents it is for.
    A mesh with colours at its vertices instead of a texture has them in all three files, and no
    .mtl and .png; in the .glb they are linear, as the format asks.

    Args:
        mesh: in this library's axes, from `make_asset` or `extract_mesh`.
        folder: where; made if missing.
        name: of the files.
        title: what the object is called in them.
        up: the axis that is up in both .obj and .ply.
        usdz: write a .usdz, too, of a mesh with a texture; usd-core writes it.

    Returns:
        The .glb, the .obj and the .ply, then what belongs to the .obj, then the .usdz.
    """
    bare, textures = _textures_aside(mesh)
    texture = textures.get("baseColorTexture")
    if texture is None and getattr(mesh.visual, "kind", None) != "vertex":
        raise ValueError("the mesh must have a texture or colours at its vertices")
    if usdz and texture is None:
        raise ValueError("a .usdz is written of a mesh with a texture; this one has none")
    title = " ".join(title.split()) or "object"
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    files = {f"{name}.glb": _glb(_turned(bare, "y"), title, textures)}
    files[f"{name}.obj"] = _obj(_turned(bare, up or "y"), name, title)
    files[f"{name}.ply"] = _ply(_turned(mesh, up or "z"))
    if texture is not None:
        files |= {f"{name}.mtl": MATTE.format(name).encode(), f"{name}.png": texture}
    for file, content in files.items():
        with whole_file(folder / file) as part:
            part.write_bytes(content)
    paths = [folder / file for file in files]
    if usdz and texture is not None:
        paths.append(write_usdz(_turned(bare, "y"), texture, folder / f"{name}.usdz", title))
    return paths


def _textures_aside(mesh: trimesh.Trimesh) -> tuple[trimesh.Trimesh, dict[str, bytes]]:
    """The mesh with one texel in each texture, and the textures as PNGs, by trimesh's names.

    So they are encoded once for all files, by zlib's run-length strategy: a third of the time of
    its default, and files 3% larger.
    """
    visual: Any = mesh.visual
    material: Any = getattr(visual, "material", None)
    if isinstance(material, trimesh.visual.material.SimpleMaterial):
        material = material.to_pbr()
    pictures = {name: getattr(material, name, None) for name in TEXTURES}
    files = dict[str, bytes]()
    for name, picture in pictures.items():
        if picture is not None:
            png = io.BytesIO()
            picture.save(png, format="PNG", compress_type=zlib.Z_RLE)
            files[name] = png.getvalue()
    if not files:
        return mesh, files
    material = material.copy()
    for number, name in enumerate(files):
        setattr(material, name, Image.new("RGB", (1, 1), (number, 0, 0)))
    bare = mesh.copy(include_cache=True)
    bare.visual = trimesh.visual.TextureVisuals(uv=visual.uv, material=material)
    return bare, files


def _turned(mesh: trimesh.Trimesh, up: UpAxis) -> trimesh.Trimesh:
    turned = mesh.copy(include_cache=True)
    return turned.apply_transform(Y_UP) if up == "y" else turned


def _glb(mesh: trimesh.Trimesh, title: str, textures: Mapping[str, bytes]) -> bytes:
    def insert(buffers: MutableMapping[Any, bytes], tree: dict[str, Any]) -> None:
        for name, png in textures.items():
            (material,) = tree["materials"]
            reference = material.get(name) or material["pbrMetallicRoughness"][name]
            image = tree["images"][tree["textures"][reference["index"]]["source"]]
            buffers[list(buffers)[image["bufferView"]]] = png + bytes(-len(png) % 4)

    def finish(tree: dict[str, Any]) -> None:
        tree["asset"] |= {"generator": "scorefield", "extras": {"baseColor": "sRGB"}}
        (primitive,) = tree["meshes"][0]["primitives"]
        if "materials" not in tree:  # glTF's default is metal, which hides vertex colours
            matte = {"metallicFactor": 0.0, "roughnessFactor": 1.0}
            tree["materials"] = [{"pbrMetallicRoughness": matte}]
            primitive["material"] = 0
        if "_TANGENT" in primitive["attributes"]:  # trimesh takes all for the application's own
            primitive["attributes"]["TANGENT"] = primitive["attributes"].pop("_TANGENT")

    if "normalTexture" in textures:
        mesh.vertex_attributes["_TANGENT"] = tangents(mesh).astype(np.float32)
    if isinstance(mesh.visual, trimesh.visual.ColorVisuals):
        srgb = np.asarray(mesh.visual.vertex_colors, dtype=np.float64)[:, :3] / 255
        linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
        mesh.visual.vertex_colors = _bytes(linear)
    scene = trimesh.Scene()
    scene.add_geometry(mesh, node_name=title, geom_name=title)
    content: bytes = trimesh.exchange.gltf.export_glb(
        scene, include_normals=True, tree_postprocessor=finish, buffer_postprocessor=insert
    )
    return content


def _obj(mesh: trimesh.Trimesh, name: str, title: str) -> bytes:
    mesh.metadata["name"] = title.replace(" ", "_")
    text: str = trimesh.exchange.obj.export_obj(
        mesh, include_normals=True, digits=6, mtl_name=f"{name}.mtl", header=None
    )
    return text.encode()


def _ply(mesh: trimesh.Trimesh) -> bytes:
    if isinstance(mesh.visual, trimesh.visual.TextureVisuals):
        mesh.visual = mesh.visual.to_color()
        mesh.merge_vertices(merge_tex=True, merge_norm=True)
    content: bytes = trimesh.exchange.ply.export_ply(mesh, vertex_normal=False)
    return content


def _bytes(colours: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Colours in [0, 1] as the nearest of 0..255."""
    return (255 * colours + 0.5).astype(np.uint8)
