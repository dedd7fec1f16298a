"""How a finished scene becomes files; nothing heavy is imported here."""

import importlib.util
from dataclasses import dataclass
from typing import Annotated, Literal

from scorefield.domains import Count, Domain, check_numbers

__all__ = ["AssetSettings", "UpAxis", "check_usd"]

UpAxis = Literal["y", "z"]

LARGEST_IMAGE = 4096.0
LARGEST_GRID = 1024.0
"""Four gigabytes of densities; sizes beyond that are refused before the scene is made."""


@dataclass(frozen=True)
class AssetSettings:
    """The mesh, its texture and the images of a finished scene.

    mesh_resolution: points per axis of the grid the surface is extracted from.
    faces: most triangles of the mesh; the extracted surface is simplified to them.
    texture: side of the base-colour texture, texels.
    normal_map: also write the normals of the extracted surface as a normal texture of the .glb: a
        mesh of a few thousand faces then looks as smooth as that.
    up: axis that points up in the .obj and .ply: y (the front faces +z) or z (it faces +x, as in
        this library). None: y in the .obj, z in the .ply. The .glb is always y up.
    usdz: also write a .usdz, y up, for viewers of phones and for USD's tools; usd-core writes it.
    frames: number of turntable frames.
    render_size: side of the turntable and of the views, pixels.
    """

    mesh_resolution: Annotated[int, Domain(8.0, LARGEST_GRID)] = 128
    faces: Annotated[int, Domain(100.0)] = 20_000
    texture: Annotated[int, Domain(16.0, LARGEST_IMAGE)] = 1024
    normal_map: bool = False
    up: UpAxis | None = None
    usdz: bool = False
    frames: Count = 36
    render_size: Annotated[int, Domain(1.0, LARGEST_IMAGE)] = 128

    def __post_init__(self) -> None:
        check_numbers(self)
        if self.usdz:
            check_usd()


def check_usd() -> None:
    """Raise ValueError if usd-core is not installed."""
    if importlib.util.find_spec("pxr") is None:
        raise ValueError("a .usdz is written by usd-core: pip install 'scorefield[usd]'")
