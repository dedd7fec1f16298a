"""What lights a surface and what is behind it: one point light and one grey per camera."""

from dataclasses import dataclass, replace
from enum import StrEnum

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scorefield.cameras import Cameras
from scorefield.devices import to_device

__all__ = ["Lights", "Shading", "draw_greys", "draw_lights", "draw_soft_lights"]


class Shading(StrEnum):
    """How the surface answers the light; DreamFusion, section 3.1."""

    ALBEDO = "albedo"  # the colour itself, unlit
    LAMBERTIAN = "lambertian"  # albedo * (ambient + diffuse * max(0, n.l))
    TEXTURELESS = "textureless"  # the same with a white albedo: shows the geometry alone


@dataclass(frozen=True)
class Lights:
    """One point light per camera.

    Attributes:
        position: in the world, shape (B, 3).
        ambient: intensity from everywhere, shape (B,).
        diffuse: intensity from the light, shape (B,).
    """

    position: Float[Tensor, "batch 3"]
    ambient: Float[Tensor, " batch"]
    diffuse: Float[Tensor, " batch"]

    @classmethod
    def at(
        cls, position: Float[Tensor, "batch 3"], ambient: float = 0.1, diffuse: float = 0.9
    ) -> "Lights":
        """Lights of one ambient and diffuse intensity."""
        one = torch.ones_like(position[:, 0])
        return cls(position, ambient * one, diffuse * one)

    def to(self, like: Tensor) -> "Lights":
        """The same lights on the device and in the dtype of a tensor."""
        values = {k: to_device(v.to(like.dtype), like.device) for k, v in vars(self).items()}
        return Lights(**values)


def draw_lights(cameras: Cameras, generator: torch.Generator, spread: float = 0.8) -> Lights:
    """Point lights around the cameras.

    The direction is the camera's plus N(0, spread^2) per axis (threestudio's 1.0 at a camera
    distance of 1.25), the distance U(0.8, 1.5) times the camera's.
    """
    n, device = len(cameras), generator.device
    noise = torch.randn(n, 3, generator=generator, device=device).to(cameras.fov)
    far = 0.8 + 0.7 * torch.rand(n, 1, generator=generator, device=device).to(cameras.fov)
    towards = F.normalize(F.normalize(cameras.position, dim=-1) + spread * noise, dim=-1)
    return Lights.at(far * cameras.distance[:, None] * towards)


def draw_soft_lights(cameras: Cameras, generator: torch.Generator) -> Lights:
    """`draw_lights` whose shade is never darker than that of the embedded prior's images."""
    lights = draw_lights(cameras, generator)
    ambient = 0.4 + 0.25 * torch.rand(len(cameras), generator=generator)
    return replace(lights, ambient=ambient, diffuse=1 - ambient)


def draw_greys(n: int, generator: torch.Generator) -> Float[Tensor, " n"]:
    """Backgrounds of random brightness.

    An object cannot hide in them, nor leave part of its own shape or colour to them.
    """
    return 0.3 + 0.7 * torch.rand(n, generator=generator)
