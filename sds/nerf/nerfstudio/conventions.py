"""Cameras as nerfstudio and instant-ngp have them: a matrix from camera to world, and pixels.

Both have this library's axes: the world right-handed with z up, a camera that looks along -z with x
to the right and y up in the picture (OpenGL's), and rays through the centres of the pixels. What
differs is how a camera is told: angles around an object here, a matrix and a focal length there.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.cameras import Cameras

__all__ = ["Pinholes", "from_pinholes", "to_pinholes"]


@dataclass(frozen=True)
class Pinholes:
    """A batch of pinhole cameras of one size, square pixels, the axis in the middle.

    Attributes:
        camera_to_world: the columns are right, up, backwards and the position, shape (B, 3, 4).
        focal: length in pixels, shape (B,).
        height: of the pictures, in pixels.
        width: of the pictures, in pixels.
    """

    camera_to_world: Float[Tensor, "batch 3 4"]
    focal: Float[Tensor, " batch"]
    height: int
    width: int


def to_pinholes(cameras: Cameras, height: int, width: int) -> Pinholes:
    """This library's cameras for pictures of that size."""
    pose = torch.cat([cameras.rotation, cameras.position[:, :, None]], dim=-1)
    return Pinholes(pose, cameras.focal(width), height, width)


def from_pinholes(pinholes: Pinholes) -> Cameras:
    """This library's cameras with the same rays, in double precision.

    Their angles are those of the position, wherever a camera looks: an object in the origin is seen
    from there.
    """
    pose = pinholes.camera_to_world.double()
    _, up, back, position = pose.unbind(-1)
    distance = position.norm(dim=-1)
    x, y, z = position.unbind(-1)
    fov = 2 * torch.atan(0.5 * pinholes.width / pinholes.focal.double())
    return Cameras(
        azimuth=torch.rad2deg(torch.atan2(y, x)) % 360,
        elevation=torch.rad2deg(torch.atan2(z, torch.hypot(x, y))),
        distance=distance,
        fov=torch.rad2deg(fov),
        look_at=position - back,
        up=up,
    )
