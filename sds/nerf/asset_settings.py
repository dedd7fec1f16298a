"""How a finished scene becomes files; nothing heavy is imported here."""

from dataclasses import dataclass
from typing import Literal

__all__ = ["AssetSettings", "UpAxis"]

UpAxis = Literal["y", "z"]

LARGEST_TEXTURE = 4096


@dataclass(frozen=True)
class AssetSettings:
    """The mesh, its texture and the pictures of a finished scene.

    mesh_resolution: points per axis of the grid the surface is extracted from.
    faces: most triangles of the mesh; the extracted surface is simplified to them.
    texture: side of the base-colour texture, texels.
    up: axis that points up in the .obj and .ply: y (the front faces +z) or z (it faces +x, as in
        this library). None: y in the .obj, z in the .ply. The .glb is always y up.
    frames: number of turntable frames.
    picture_size: side of the turntable and of the views, pixels.
    """

    mesh_resolution: int = 128
    faces: int = 20_000
    texture: int = 1024
    up: UpAxis | None = None
    frames: int = 36
    picture_size: int = 128

    def __post_init__(self) -> None:
        least = {"mesh_resolution": 8, "faces": 100, "texture": 16, "frames": 1, "picture_size": 1}
        for name, number in least.items():
            if getattr(self, name) < number:
                raise ValueError(f"{name} must be at least {number}; got {getattr(self, name)}")
        if self.texture > LARGEST_TEXTURE:
            raise ValueError(
                f"texture must be at most {LARGEST_TEXTURE} texels a side; got {self.texture}"
            )
