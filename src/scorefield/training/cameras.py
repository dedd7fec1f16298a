"""Cameras in training: of every image, dropped now and then, and whether they are heeded."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.views import CAMERA_WIDTH, FOV
from scorefield.world import WorldScene

__all__ = ["CAMERA_DROPOUT", "CAMERA_RATE", "Viewpoints", "camera_losses", "check_vectors"]

CAMERA_DROPOUT = 0.1
"""Share of images trained without their camera, so that a prior can also be asked without one."""

CAMERA_RATE = 15.0
"""Learning rate of the camera's embedding, of the network's.

At the network's own, a network that begins as one without cameras draws every side alike.
"""


@dataclass(frozen=True)
class Viewpoints:
    """Upright cameras around an object: `scorefield.views.SphericalCameras`.

    Attributes:
        azimuth, elevation, fov: degrees.
        distance: from the middle of an object that fits the unit sphere.
    """

    azimuth: Float[Tensor, " batch"]
    elevation: Float[Tensor, " batch"]
    distance: Float[Tensor, " batch"]
    fov: Float[Tensor, " batch"]

    @classmethod
    def of(cls, scenes: Sequence[WorldScene]) -> "Viewpoints":
        """Those that scenes of the world are seen from."""
        seen = [(s.azimuth, s.elevation, s.distance, FOV) for s in scenes]
        return cls(*torch.tensor(seen).float().T)

    @classmethod
    def around(cls, count: int, elevation: float = 20.0, distance: float = 3.0) -> "Viewpoints":
        """So many evenly around the object, from the front on."""
        azimuth = 360.0 / count * torch.arange(count)
        return cls(azimuth, *(torch.full((count,), one) for one in (elevation, distance, FOV)))


def check_vectors(cameras: Tensor, count: int) -> None:
    """Refuse what is no vector of a camera for each image.

    Raises:
        ValueError: another shape than (count, 7), or numbers that are not finite.
    """
    if cameras.shape != (count, CAMERA_WIDTH) or not bool(cameras.isfinite().all()):
        raise ValueError(
            f"cameras must be finite, of shape ({count}, {CAMERA_WIDTH}), one for each image, as "
            f"scorefield.views.camera_vector makes them; got {tuple(cameras.shape)}"
        )


def turned(cameras: Float[Tensor, "batch 7"], degrees: float) -> Float[Tensor, "batch 7"]:
    """The same cameras further around the object; none stays none."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = cameras[:, 0], cameras[:, 1]
    return torch.cat([torch.stack([cos * x - sin * y, sin * x + cos * y], 1), cameras[:, 2:]], 1)


def camera_losses(
    loss: Callable[[Tensor], Tensor], cameras: Float[Tensor, "batch 7"]
) -> Mapping[str, float]:
    """Losses of one batch under the right cameras, those a quarter turn further, and none.

    As long as a network does not heed its cameras, the three are equal; then the first is lowest.

    loss: of the batch under cameras.
    """
    asked = {"right": cameras, "turned": turned(cameras, 90.0), "no": torch.zeros_like(cameras)}
    return {f"loss_{name}_camera": loss(told).item() for name, told in asked.items()}
