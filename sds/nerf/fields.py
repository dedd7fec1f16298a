"""Radiance fields: points in the unit sphere to density and colour.

A field maps points (N, 3) to a density (N,) >= 0, per unit of length and zero outside the unit
sphere, and to an albedo (N, 3) in [0, 1]. Three parametrisations, from the fastest on a CPU:

- `VoxelGrid`: a pyramid of voxel grids, summed. The default.
- `TriPlane`: three feature planes and a small network (EG3D, Chan et al. 2022).
- `HashGrid` of `hash_grid`: hashed grids of many resolutions and a small network.

All start as the soft ball of Magic3D: density softplus(scale (1 - r / radius)), grey.
On a CPU every gradient is deterministic; on a GPU the gathers of the samplers are summed in no
fixed order.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from scorefield.devices import to_device

__all__ = ["BlobField", "Decoder", "Field", "TriPlane", "VoxelGrid"]

GRADIENT_STEP = 1 / 32
"""Of the finite differences, about one voxel of the default field."""


def _length(points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
    """`points.norm(dim=-1)`, which is several times as slow over so few numbers."""
    return (points.square() @ points.new_ones(3)).sqrt()


def _along(
    axis: int, matrix: Float[Tensor, "new old"], grid: Float[Tensor, "channels z y x"]
) -> Float[Tensor, "channels new_z new_y new_x"]:
    """A matrix applied to a grid along one axis: several times as fast as what is made for 3D."""
    if axis == 1:
        return (matrix @ grid.flatten(2)).unflatten(2, grid.shape[2:])
    return matrix @ grid if axis == 2 else grid @ matrix.T


class Field(nn.Module, ABC):
    """What a scene renders: `field(points) -> (density, albedo)`."""

    @abstractmethod
    def forward(
        self, points: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points 3"]]:
        """Density (N,), zero outside the unit sphere, and albedo (N, 3) in [0, 1]."""

    def held(self) -> AbstractContextManager[object]:
        """While it is held its parameters do not change, and what all looks need is made once."""
        return nullcontext()

    def density(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        """The density alone; a field that can skip the colour overrides this."""
        density: Tensor = self(points)[0]
        return density

    def look(
        self, points: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "values points"] | None]:
        """The density alone, and what was found on the way to it.

        A field that finds the rest sooner from that than anew takes it, of some of the points, as
        a second argument of `forward`; of the others it is None.
        """
        return self.density(points), None

    def gradient(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """The density's gradient, per unit of length, differentiable in the parameters.

        By central differences, second order in their step; a field that knows it better overrides
        this.
        """
        steps = GRADIENT_STEP * torch.eye(3, dtype=points.dtype, device=points.device)
        around = points + torch.stack([steps, -steps])[:, :, None]  # (2, 3, N, 3)
        ahead, behind = self.density(around.view(-1, 3)).view(2, 3, -1)
        return (ahead - behind).T / (2 * GRADIENT_STEP)


class BlobField(Field):
    """A learned field that starts as a soft grey ball.

    density = softplus(f(p) + blob_density (1 - |p| / blob_radius)) inside the unit sphere, with
    f(p) the first learned output; albedo = sigmoid of the other three.

    Args:
        blob_density: the blob's density before softplus at the centre.
        blob_radius: where the blob's bias crosses zero.
    """

    def __init__(self, blob_density: float = 10.0, blob_radius: float = 0.5) -> None:
        super().__init__()
        self.blob_density = blob_density
        self.blob_radius = blob_radius

    @abstractmethod
    def outputs(self, points: Float[Tensor, "points 3"], channels: int) -> Tensor:
        """The first `channels` (1 or 4) learned outputs, shape (N, channels)."""

    def forward(
        self, points: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points 3"]]:
        """Density (N,) and albedo (N, 3)."""
        out = self.outputs(points, 4)
        return self._density(points, out[:, 0]), torch.sigmoid(out[:, 1:])

    def density(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, " points"]:
        """The density alone."""
        return self._density(points, self.outputs(points, 1)[:, 0])

    def _density(self, points: Tensor, learned: Tensor) -> Tensor:
        radius = _length(points)
        blob = self.blob_density * (1 - radius / self.blob_radius)
        return F.softplus(learned + blob) * (radius <= 1)

    def _gradient(self, points: Tensor, learned: Tensor, slope: Tensor) -> Tensor:
        """The density's gradient, of the first learned output (N,) and its own slope (N, 3)."""
        radius = _length(points)
        before = learned + self.blob_density * (1 - radius / self.blob_radius)
        outward = points / radius[:, None].clamp_min(1e-6)
        slope = slope - (self.blob_density / self.blob_radius) * outward
        return torch.sigmoid(before)[:, None] * slope  # the derivative of softplus


class VoxelGrid(BlobField):
    """Voxels on [-1, 1]^3, a sum of grids of doubling resolution, read trilinearly.

    The coarse grids move whole regions at once and the fine ones add detail: noisy gradients then
    build shapes, not speckles. The pyramid is summed before it is sampled, so a point costs one
    trilinear look-up whatever the number of levels.

    Args:
        resolution: of the finest grid, per axis.
        levels: number of grids, each half as fine as the next.
        gain: what one unit of a parameter adds to the density before softplus and to the colour
            before sigmoid. Surfaces need tens where colours need ones; with this Adam at a
            learning rate of 0.01 serves both.
        blob_density: see `BlobField`.
        blob_radius: see `BlobField`.
    """

    gains: Tensor

    def __init__(
        self,
        resolution: int = 64,
        levels: int = 4,
        gain: tuple[float, float] = (15.0, 3.0),
        blob_density: float = 10.0,
        blob_radius: float = 0.5,
    ) -> None:
        super().__init__(blob_density, blob_radius)
        if levels < 1 or resolution >> (levels - 1) < 2:
            raise ValueError(
                f"a grid of resolution {resolution} cannot be halved into {levels} levels of at "
                "least 2 voxels; lower levels or raise resolution"
            )
        self.gain = gain
        self._sum: Tensor | None = None
        self.register_buffer("gains", torch.tensor([gain[0], *3 * [gain[1]]]), persistent=False)
        sizes = [resolution >> level for level in reversed(range(levels))]
        self.levels = nn.ParameterList(torch.zeros(4, n, n, n) for n in sizes)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within it the pyramid is summed once."""
        if self._sum is not None:
            yield
            return
        self._sum = self.grid()
        try:
            yield
        finally:
            self._sum = None

    def grid(self, channels: int = 4) -> Float[Tensor, "channels z y x"]:
        """The pyramid summed at its finest resolution, indexed (channel, z, y, x)."""
        if self._sum is not None:
            return self._sum[:channels]
        total = self.levels[0][:channels]
        for level in list(self.levels)[1:]:
            one = torch.eye(total.shape[-1], dtype=total.dtype)[None]
            finer = F.interpolate(one, level.shape[-1], mode="linear", align_corners=True)[0].T
            finer = to_device(finer, total.device)
            for axis in (1, 2, 3):
                total = _along(axis, finer, total)
            total = total + level[:channels]
        return total

    def outputs(self, points: Float[Tensor, "points 3"], channels: int) -> Tensor:
        """The first `channels` learned outputs, shape (N, channels)."""
        where = points.view(1, 1, 1, -1, 3)
        out = F.grid_sample(self.grid(channels)[None], where, align_corners=True)
        out = out.view(channels, -1).T
        return out * self.gains[:channels]

    def gradient(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """The density's gradient, by the chain rule from differences of whole voxels.

        The learned output's differences over a voxel to either side are read trilinearly: the
        same as its differences in space, in one look-up instead of six.
        """
        grid = self.gain[0] * self.grid(1)
        spacing = 2 / (grid.shape[-1] - 1)
        one = torch.eye(grid.shape[-1], dtype=grid.dtype)
        difference = to_device(torch.gradient(one, spacing=spacing, dim=0)[0], grid.device)
        slopes = [_along(axis, difference, grid) for axis in (3, 2, 1)]
        where = points.view(1, 1, 1, -1, 3)
        both = torch.cat([grid, *slopes])[None]
        out = F.grid_sample(both, where, align_corners=True).view(4, -1)
        return self._gradient(points, out[0], out[1:].T)

    def total_variation(self) -> Float[Tensor, ""]:
        """Mean squared difference of neighbouring densities before softplus, in units of `gain`.

        The colours are left alone: smoothing is for the shape, not for the paint.
        """
        grid = self.grid(1)
        return torch.stack([grid.diff(dim=axis).square().mean() for axis in (1, 2, 3)]).sum()


class Decoder(nn.Sequential):
    """A small network from features to the four outputs; starts near zero."""

    def __init__(self, features: int, hidden: int, generator: torch.Generator | None) -> None:
        super().__init__(nn.Linear(features, hidden), nn.ReLU(), nn.Linear(hidden, 4))
        for layer in self:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=generator)
                nn.init.zeros_(layer.bias)

    def first(
        self, channels: int, features: Float[Tensor, "points features"]
    ) -> Float[Tensor, "points channels"]:
        """The first of the four outputs, without the others."""
        *before, last = self
        for layer in before:
            features = layer(features)
        assert isinstance(last, nn.Linear)
        return F.linear(features, last.weight[:channels], last.bias[:channels])


class TriPlane(BlobField):
    """Features on the planes xy, yz and zx, added, then a small network (EG3D).

    Args:
        resolution: of each plane, per axis.
        features: channels of each plane.
        hidden: width of the network's one hidden layer.
        generator: draws the initial values; None: torch's global one.
        blob_density: see `BlobField`.
        blob_radius: see `BlobField`.
    """

    def __init__(
        self,
        resolution: int = 64,
        features: int = 16,
        hidden: int = 32,
        generator: torch.Generator | None = None,
        blob_density: float = 10.0,
        blob_radius: float = 0.5,
    ) -> None:
        super().__init__(blob_density, blob_radius)
        planes = torch.randn(3, features, resolution, resolution, generator=generator)
        self.planes = nn.Parameter(0.1 * planes)
        self.decoder = Decoder(features, hidden, generator)

    def outputs(self, points: Float[Tensor, "points 3"], channels: int) -> Tensor:
        """The first `channels` learned outputs, shape (N, channels)."""
        x, y, z = points.unbind(-1)
        where = torch.stack([x, y, y, z, z, x], dim=-1).view(1, -1, 3, 2).permute(2, 0, 1, 3)
        features = F.grid_sample(self.planes, where, align_corners=True)[:, :, 0]  # (3, C, N)
        return self.decoder.first(channels, features.sum(dim=0).T)
