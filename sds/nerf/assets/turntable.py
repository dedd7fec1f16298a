"""A scene seen from all around: an animation and a sheet of named views."""

from os import PathLike
from pathlib import Path

import torch
import trimesh
from jaxtyping import Float
from torch import Tensor

from scorefield.cameras import Cameras, orbit
from scorefield.images import contact_sheet, save_gif, save_mp4
from scorefield.sds.nerf.assets.mesh import EmptySceneError, extract_surface
from scorefield.sds.nerf.assets.surface_views import GREY, shaded_views
from scorefield.sds.nerf.lights import Shading
from scorefield.sds.nerf.radiance_field import RadianceField

__all__ = ["NORMALS_TO_SEE", "render_views", "save_turntable", "view_sheet"]


NORMALS_TO_SEE = 24
"""Normals of a ray in pictures that people and judges look at."""
COARSE = 64
"""Points per axis of a surface that is extracted to be looked at only once."""


@torch.no_grad()
def render_views(
    scene: RadianceField,
    cameras: Cameras,
    size: int = 128,
    *,
    samples: int = 64,
    shading: Shading = Shading.ALBEDO,
    background: Float[Tensor, "..."] | None = None,
) -> Float[Tensor, "views 3 size size"]:
    """Images of a scene, one camera at a time, for looking at rather than for training."""
    cameras = cameras.to(scene.peak.device)
    views = [
        scene.render(
            cameras[i : i + 1],
            size,
            size,
            samples=samples,
            shading=shading,
            normals_per_ray=NORMALS_TO_SEE,
            background=background,
        ).images
        for i in range(len(cameras))
    ]
    return torch.cat(views)


def save_turntable(
    scene: RadianceField,
    path: str | PathLike[str],
    frames: int = 36,
    size: int = 128,
    *,
    elevation: float = 15.0,
    fps: float = 12.0,
    shading: Shading = Shading.ALBEDO,
    background: Float[Tensor, "..."] | None = None,
) -> Path:
    """One turn around the scene as .gif or, with imageio-ffmpeg, .mp4.

    Raises:
        ValueError: for another suffix, before anything is rendered.
    """
    path = Path(path)
    writers = {".gif": save_gif, ".mp4": save_mp4}
    if path.suffix.lower() not in writers:
        raise ValueError(f"a turntable is written as .gif or .mp4, got {path.name}")
    views = render_views(
        scene, orbit(frames, elevation), size, shading=shading, background=background
    )
    return writers[path.suffix.lower()](path, views, fps)


def view_sheet(
    scene: RadianceField, size: int = 128, *, mesh: trimesh.Trimesh | None = None
) -> Float[Tensor, "3 height width"]:
    """Front, sides, back and overhead: the field's colours above, its surface without any below.

    The surface is shown as a mesh, white, with a lamp at the camera. Rays into a soft field would
    see its normals at many depths, and their mean is grainy.

    Args:
        scene: what is seen.
        size: of each picture, pixels.
        mesh: the surface, from `make_asset`; None: a coarse one is extracted. The lower row is
            empty where there is none.
    """
    cameras = Cameras.at([0.0, 90.0, 180.0, 270.0, 0.0], [15.0, 15.0, 15.0, 15.0, 75.0])
    try:
        mesh = mesh or extract_surface(scene, COARSE)
        below = shaded_views(mesh, cameras, size)
    except EmptySceneError:
        below = torch.full((len(cameras), 3, size, size), GREY)
    above = render_views(scene, cameras, size).to(below)
    return contact_sheet(torch.cat([above, below]), columns=5, labels=cameras.views * 2)
