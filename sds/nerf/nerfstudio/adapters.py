"""Cameras and fields across: nerfstudio's as this library's, and this library's as nerfstudio's."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from nerfstudio.cameras.cameras import Cameras as NerfstudioCameras
from nerfstudio.cameras.rays import Frustums, RaySamples
from nerfstudio.field_components.field_heads import FieldHeadNames
from nerfstudio.fields.base_field import Field as NerfstudioField
from torch import Tensor

from scorefield.cameras import Cameras
from scorefield.sds.nerf.fields import Field
from scorefield.sds.nerf.nerfstudio.conventions import Pinholes, from_pinholes, to_pinholes

__all__ = ["FieldForNerfstudio", "FieldOfNerfstudio", "cameras_for", "cameras_of"]


def cameras_for(cameras: Cameras, height: int, width: int) -> NerfstudioCameras:
    """This library's cameras, as nerfstudio's."""
    pinholes = to_pinholes(cameras, height, width)
    focal = pinholes.focal[:, None]
    return NerfstudioCameras(
        pinholes.camera_to_world, focal, focal, width / 2, height / 2, width, height
    )


def cameras_of(cameras: NerfstudioCameras) -> Cameras:
    """nerfstudio's cameras as this library's, on the CPU in double precision.

    Raises:
        ValueError: they are not pinhole cameras of one size with square pixels, or the axis is not
            in the middle of the picture.
    """
    heights, widths = (set(size.flatten().tolist()) for size in (cameras.height, cameras.width))
    (height, *more), (width, *others) = heights, widths
    middle = torch.stack([cameras.cx - 0.5 * width, cameras.cy - 0.5 * height])
    if more or others or not torch.allclose(cameras.fx, cameras.fy) or middle.abs().max() > 1e-3:
        raise ValueError(
            "only pinhole cameras of one size can be taken over, with square pixels and the axis "
            f"in the middle; got heights {heights}, widths {widths}"
        )
    pose = cameras.camera_to_worlds.reshape(-1, 3, 4).cpu()
    return from_pinholes(Pinholes(pose, cameras.fx.reshape(-1).cpu(), height, width))


class FieldOfNerfstudio(Field):
    """A field of nerfstudio, as a scene of this library renders it.

    A colour that depends on the direction is taken as it is seen from outside, towards the origin.

    Args:
        field: density and colour at points.
        radius: of the sphere around the origin that becomes this library's unit sphere.
        blob_density: a soft ball is added to the density before a softplus, as in `BlobField`, so
            that a new field is not a fog; 0 adds none.
        blob_radius: where the ball's bias crosses zero, in the unit sphere.
    """

    def __init__(
        self,
        field: NerfstudioField,
        radius: float = 1.0,
        blob_density: float = 0.0,
        blob_radius: float = 0.5,
    ) -> None:
        super().__init__()
        self.field = field
        self.radius = radius
        self.blob_density = blob_density
        self.blob_radius = blob_radius

    def forward(
        self, points: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points 3"]]:
        """Density (N,) and albedo (N, 3)."""
        out = self.field(self._samples(points))
        density: Tensor = out[FieldHeadNames.DENSITY][:, 0]
        return self._density(points, density), out[FieldHeadNames.RGB]

    def density(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        """The density alone."""
        return self._density(points, self.field.get_density(self._samples(points))[0][:, 0])

    def _samples(self, points: Tensor) -> RaySamples:
        nothing = torch.zeros_like(points[:, :1])
        frustums = Frustums(
            origins=self.radius * points,
            directions=-F.normalize(points, dim=-1),
            starts=nothing,
            ends=nothing,
            pixel_area=torch.ones_like(nothing),
        )
        return RaySamples(frustums, camera_indices=nothing.long())

    def _density(self, points: Tensor, learned: Tensor) -> Tensor:
        learned = self.radius * learned  # per unit of length of the scene
        distance = points.norm(dim=-1)
        if self.blob_density:
            # softplus(x + ball) of a density softplus(x), whose x is d + log(1 - exp(-d))
            before = learned + torch.log(-torch.expm1(-learned.clamp_min(1e-6)))
            learned = F.softplus(before + self.blob_density * (1 - distance / self.blob_radius))
        return learned * (distance <= 1)


class FieldForNerfstudio(NerfstudioField):
    """A field of this library, as nerfstudio samples and renders it; seen alike from everywhere.

    Args:
        field: density and albedo in the unit sphere.
    """

    def __init__(self, field: Field) -> None:
        super().__init__()
        self.field = field

    def get_density(self, ray_samples: RaySamples) -> tuple[Tensor, Tensor]:
        """Density (..., 1), and the colours (..., 3), which `get_outputs` takes."""
        points = ray_samples.frustums.get_positions()
        density, albedo = self.field(points.reshape(-1, 3))
        return density.view(*points.shape[:-1], 1), albedo.view(points.shape)

    def get_outputs(
        self, ray_samples: RaySamples, density_embedding: Tensor | None = None
    ) -> dict[FieldHeadNames, Tensor]:
        """The colours by their name."""
        if density_embedding is None:
            density_embedding = self.get_density(ray_samples)[1]
        return {FieldHeadNames.RGB: density_embedding}
