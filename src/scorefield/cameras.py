"""Cameras on a sphere around the object.

The world is right-handed with z up and the object inside the unit sphere. A camera sits at
`d (cos e cos a, cos e sin a, sin e)` for azimuth a, elevation e and distance d, so azimuth 0 is
on +x (an object's front faces +x) and azimuth 90 on +y. It looks along -z of its own frame, with
x to the right and y up in the image. Public angles are in degrees.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.devices import to_device
from scorefield.views import FOV, view_name

__all__ = ["Cameras", "orbit", "view_prompt"]


@dataclass(frozen=True)
class Cameras:
    """A batch of pinhole cameras with square pixels.

    Attributes:
        azimuth: degrees around z from +x towards +y, shape (B,).
        elevation: degrees above the horizon, -90..90, shape (B,).
        distance: from the origin, shape (B,).
        fov: horizontal field of view in degrees, shape (B,).
        look_at: the point seen in the middle of the image, shape (B, 3).
        up: the direction that is up in the image, shape (B, 3), any length.
    """

    azimuth: Float[Tensor, " batch"]
    elevation: Float[Tensor, " batch"]
    distance: Float[Tensor, " batch"]
    fov: Float[Tensor, " batch"]
    look_at: Float[Tensor, "batch 3"]
    up: Float[Tensor, "batch 3"]

    @classmethod
    def at(
        cls,
        azimuth: float | Sequence[float],
        elevation: float | Sequence[float] = 0.0,
        distance: float | Sequence[float] = 3.0,
        fov: float | Sequence[float] = FOV,
    ) -> "Cameras":
        """Upright cameras looking at the origin; single numbers hold for the whole batch."""
        numbers = [torch.as_tensor(x, dtype=torch.float32) for x in (azimuth, elevation)]
        numbers += [torch.as_tensor(x, dtype=torch.float32) for x in (distance, fov)]
        a, e, d, f = torch.broadcast_tensors(*(x.reshape(-1) for x in numbers))
        origin = torch.zeros(len(a), 3)
        return cls(a, e, d, f, look_at=origin, up=origin + torch.tensor([0.0, 0.0, 1.0]))

    def __len__(self) -> int:
        return len(self.azimuth)

    def __getitem__(self, index: slice | Sequence[int] | Tensor) -> "Cameras":
        return Cameras(**{name: value[index] for name, value in vars(self).items()})

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> "Cameras":
        """The same cameras on another device or in another floating dtype."""
        values = {k: v.to(dtype=dtype) for k, v in vars(self).items()}
        if device is not None:
            values = {k: to_device(v, device) for k, v in values.items()}
        return Cameras(**values)

    @property
    def views(self) -> list[str]:
        """The name of each camera's view, as `view_name`."""
        pairs = zip(self.azimuth.tolist(), self.elevation.tolist(), strict=True)
        return [view_name(a, e) for a, e in pairs]

    @property
    def position(self) -> Float[Tensor, "batch 3"]:
        """Where the cameras are."""
        a, e = torch.deg2rad(self.azimuth), torch.deg2rad(self.elevation)
        unit = torch.stack([e.cos() * a.cos(), e.cos() * a.sin(), e.sin()], dim=-1)
        return self.distance[:, None] * unit

    @property
    def rotation(self) -> Float[Tensor, "batch 3 3"]:
        """Camera to world; the columns are the image's right, its up, and backwards."""
        back = torch.nn.functional.normalize(self.position - self.look_at, dim=-1)
        right = torch.linalg.cross(self.up, back)
        # Straight above or below, `up` says nothing about the roll: the azimuth does.
        a = torch.deg2rad(self.azimuth)
        level = torch.stack([-a.sin(), a.cos(), torch.zeros_like(a)], dim=-1)
        blind = right.norm(dim=-1, keepdim=True) < 1e-4 * self.up.norm(dim=-1, keepdim=True)
        right = torch.nn.functional.normalize(torch.where(blind, level, right), dim=-1)
        up = torch.nn.functional.normalize(torch.linalg.cross(back, right), dim=-1)
        return torch.stack([right, up, back], dim=-1)

    def focal(self, width: int) -> Float[Tensor, " batch"]:
        """Focal length in pixels of an image `width` pixels wide: 0.5 width / tan(fov / 2)."""
        return 0.5 * width / torch.tan(0.5 * torch.deg2rad(self.fov))

    def origins_and_directions(
        self, height: int, width: int
    ) -> tuple[Float[Tensor, "batch rays 3"], Float[Tensor, "batch rays 3"]]:
        """The rays through the pixels' centres, row by row.

        Pixel (row i, column j) looks along R (x, y, -1) with x = (j + 0.5 - width/2) / focal and
        y = -(i + 0.5 - height/2) / focal.

        Returns:
            The origins and the unit directions, each (B, height * width, 3).
        """
        fov = self.fov
        row = torch.arange(height, dtype=fov.dtype, device=fov.device) + 0.5 - 0.5 * height
        column = torch.arange(width, dtype=fov.dtype, device=fov.device) + 0.5 - 0.5 * width
        y, x = torch.meshgrid(-row, column, indexing="ij")
        plane = torch.stack([x, y], dim=-1).reshape(1, -1, 2) / self.focal(width)[:, None, None]
        local = torch.cat([plane, -torch.ones_like(plane[..., :1])], dim=-1)
        directions = torch.nn.functional.normalize(local, dim=-1) @ self.rotation.mT
        return self.position[:, None].expand_as(directions), directions

    def project(
        self, points: Float[Tensor, "batch points 3"], height: int, width: int
    ) -> tuple[Float[Tensor, "batch points 2"], Float[Tensor, "batch points"]]:
        """Where world points appear: pixel (x, y) and depth along the optical axis.

        Pixel coordinates are continuous: the centre of pixel (row i, column j) is (j + 0.5,
        i + 0.5). Depth is positive in front of the camera; behind it the pixel means nothing.
        """
        local = (points - self.position[:, None]) @ self.rotation
        depth = -local[..., 2]
        x, y = (local[..., :2] / depth[..., None] * self.focal(width)[:, None, None]).unbind(-1)
        return torch.stack([x + 0.5 * width, 0.5 * height - y], dim=-1), depth


def orbit(n: int, elevation: float = 15.0, distance: float = 3.0, fov: float = FOV) -> Cameras:
    """N cameras evenly around the object, the first one at the front."""
    if n < 1:
        raise ValueError(f"n must be at least 1 camera, got {n}")
    return Cameras.at([360.0 * i / n for i in range(n)], elevation, distance, fov)


def view_prompt(prompt: str, view: str) -> str:
    """The prompt with the view said after it, as the captions of the embedded prior say it."""
    return f"{prompt}, {view}"
