"""A scene's views as a data set: images with a `transforms.json`, which many tools read.

nerfstudio and instant-ngp train on it as it is. The images are transparent where the scene is, and
their colours are not multiplied by the opacity.
"""

import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from scorefield.cameras import Cameras
from scorefield.files import whole_folder, write_json
from scorefield.sds.nerf.nerfstudio.conventions import to_pinholes
from scorefield.sds.nerf.radiance_field import RadianceField
from scorefield.views import FOV

__all__ = ["rings", "save_dataset", "transforms"]


def rings(frames: int, elevations: Sequence[float], distance: float = 3.0) -> Cameras:
    """Cameras evenly around the object, so many at each elevation, each ring turned a little.

    Args:
        frames: cameras of each ring.
        elevations: degrees above the horizon, one for each ring.
        distance: from the origin.
    """
    if frames < 1 or not elevations:
        raise ValueError(f"give frames and an elevation; got {frames} and {tuple(elevations)}")
    turn = [k / len(elevations) for k in range(len(elevations))]
    azimuth = [360 * (i + part) / frames for part in turn for i in range(frames)]
    return Cameras.at(azimuth, [e for e in elevations for _ in range(frames)], distance, FOV)


def transforms(cameras: Cameras, size: int, names: Sequence[str]) -> dict[str, Any]:
    """The content of `transforms.json` for square images.

    `orientation_override` keeps nerfstudio from turning the scene; `aabb_scale` tells instant-ngp
    that all of it lies within its unit cube, by its own scale and offset.

    Args:
        cameras: of one field of view.
        size: side of the images, pixels.
        names: of the image files, one per camera, as the file names them.
    """
    pinholes = to_pinholes(cameras.to(dtype=torch.float64), size, size)
    focal = float(pinholes.focal[0])
    if not torch.allclose(pinholes.focal, pinholes.focal[0]):
        raise ValueError("the cameras must have one field of view")
    bottom = pinholes.camera_to_world.new_tensor([[[0.0, 0.0, 0.0, 1.0]]])
    poses = torch.cat([pinholes.camera_to_world, bottom.expand(len(cameras), 1, 4)], dim=1)
    return {
        "camera_model": "PINHOLE",
        "camera_angle_x": 2 * math.atan(0.5 * size / focal),
        "fl_x": focal,
        "fl_y": focal,
        "cx": size / 2,
        "cy": size / 2,
        "w": size,
        "h": size,
        "aabb_scale": 1,
        "orientation_override": "none",
        "frames": [
            {"file_path": name, "transform_matrix": pose}
            for name, pose in zip(names, poses.tolist(), strict=True)
        ],
    }


def save_dataset(
    scene: RadianceField,
    folder: str | os.PathLike[str],
    cameras: Cameras,
    size: int = 256,
    *,
    samples: int = 128,
    progress: bool = False,
) -> Path:
    """Write the views of a scene and their `transforms.json`, all or nothing.

    Args:
        scene: what is seen.
        folder: where; replaced if it is there.
        cameras: of one field of view.
        size: side of the images, pixels.
        samples: looked at along a ray through the whole sphere.
        progress: whether to show a progress bar on standard error.

    Returns:
        The `transforms.json`.
    """
    names = [f"images/{k:04d}.png" for k in range(len(cameras))]
    with whole_folder(folder) as part:
        (part / "images").mkdir()
        bar = tqdm(names, desc="views", disable=not progress, dynamic_ncols=True)
        for k, name in enumerate(bar):
            _save(part / name, _view(scene, cameras[k : k + 1], size, samples))
        write_json(part / "transforms.json", transforms(cameras, size, names))
    return Path(folder) / "transforms.json"


@torch.no_grad()
def _view(
    scene: RadianceField, camera: Cameras, size: int, samples: int
) -> Float[Tensor, "4 size size"]:
    """Colours and opacity of one view, the colours not multiplied by the opacity."""
    black = torch.zeros(3, device=scene.peak.device)
    seen = scene.render(camera.to(scene.peak.device), size, size, samples=samples, background=black)
    opacity = seen.opacity[0].clamp(0, 1)
    return torch.cat([(seen.images[0] / opacity.clamp_min(1e-6)).clamp(0, 1), opacity])


def _save(path: Path, view: Tensor) -> None:
    pixels = (255 * view.permute(1, 2, 0).cpu() + 0.5).to(torch.uint8).numpy()
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)
