"""Hashed grids of many resolutions and a small network (Instant-NGP, Müller et al. 2022)."""

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from scorefield.sds.nerf.fields import BlobField, Decoder

__all__ = ["HashGrid"]

_POINTS_ON_GPU = 2**18  # looked up together, which bounds the memory


class HashGrid(BlobField):
    """Trilinear features of several resolutions kept in hash tables, then a small network.

    Coordinates hash to x * 1 xor y * 2654435761 xor z * 805459861 modulo the table's size
    (Instant-NGP, eq. 4); all levels are hashed, the coarse ones too.

    Args:
        levels: number of resolutions.
        features: channels per level.
        coarsest: resolution of the first level, cells per axis.
        finest: resolution of the last one; those between grow geometrically.
        table: entries per level, a power of two.
        hidden: width of the network's one hidden layer.
        generator: draws the initial values; None: torch's global one.
        blob_density: see `BlobField`.
        blob_radius: see `BlobField`.
    """

    cells: Tensor
    primes: Tensor

    def __init__(
        self,
        levels: int = 8,
        features: int = 2,
        coarsest: int = 8,
        finest: int = 128,
        table: int = 2**15,
        hidden: int = 32,
        generator: torch.Generator | None = None,
        blob_density: float = 10.0,
        blob_radius: float = 0.5,
    ) -> None:
        super().__init__(blob_density, blob_radius)
        if table & (table - 1) or table < 2:
            raise ValueError(f"table must be a power of two, got {table}")
        self.table = table
        growth = math.log(finest / coarsest) / max(levels - 1, 1)
        sizes = [round(coarsest * math.exp(growth * level)) for level in range(levels)]
        self.register_buffer("cells", torch.tensor(sizes), persistent=False)
        primes = torch.tensor([1, 2654435761 - 2**32, 805459861], dtype=torch.int32)
        self.register_buffer("primes", primes, persistent=False)
        entries = torch.rand(levels * table, features, generator=generator)
        self.entries = nn.Parameter(2e-1 * (entries - 0.5))
        self.decoder = Decoder(levels * features, hidden, generator)

    def outputs(self, points: Float[Tensor, "points 3"], channels: int) -> Tensor:
        """The first `channels` learned outputs, shape (N, channels)."""
        parts = (self._features(part)[0] for part in self._parts(points))
        return torch.cat([self.decoder.first(channels, features.T) for features in parts])

    def gradient(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """The density's gradient, exact within the cells, as threestudio's "analytic" normals.

        It is differentiable once, in the parameters.
        """
        learned, slope = self._outputs_and_slope(points)
        return self._gradient(points, learned[:, 0], slope)

    def with_gradient(
        self, points: Float[Tensor, "points 3"], where: Int[Tensor, " some"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points 3"], Float[Tensor, "some 3"]]:
        """Density and albedo of points, and `gradient` at points[where], for one look-up."""
        learned, slope = self._outputs_and_slope(points)
        some = (values.index_select(0, where) for values in (points, learned[:, 0], slope))
        gradient = self._gradient(*some)
        return self._density(points, learned[:, 0]), torch.sigmoid(learned[:, 1:]), gradient

    def _outputs_and_slope(
        self, points: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, "points 4"], Float[Tensor, "points 3"]]:
        """The learned outputs, and the gradient of the first."""
        outputs, slopes = [], []
        for part in self._parts(points):
            features, rise = self._features(part, slopes=True)
            found, towards = self.decoder.with_gradient(features.T)
            outputs.append(found)
            slopes.append((towards * rise).sum(dim=1).T)
        return torch.cat(outputs), torch.cat(slopes)

    def _parts(self, points: Tensor) -> tuple[Tensor, ...]:
        """Few enough points for a CPU's cache, but no fewer than a table has entries.

        Each part makes a gradient of all entries.
        """
        return points.split(max(self.table, _POINTS_ON_GPU if points.is_cuda else 0))

    def _features(
        self, points: Float[Tensor, "points 3"], *, slopes: bool = False
    ) -> tuple[Float[Tensor, "features points"], Float[Tensor, "axes features points"]]:
        """Of all levels, one after the other; then their slopes along x, y and z, if asked for."""
        look = _interpolate if points.requires_grad else _Interpolation.apply
        found = look(self.entries, points, self.cells, self.primes, slopes)
        found = found.flatten(1, 2)
        return found[0], found[1:]


class _Interpolation(torch.autograd.Function):
    """`_interpolate`, which is linear in the entries: its gradient needs the points alone."""

    @staticmethod
    def forward(
        ctx: Any, entries: Tensor, points: Tensor, cells: Tensor, primes: Tensor, slopes: bool
    ) -> Tensor:
        ctx.save_for_backward(points, cells, primes)
        ctx.shape = entries.shape
        return _interpolate(entries, points, cells, primes, slopes)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        points, cells, primes = ctx.saved_tensors
        entries = gradient.new_zeros(ctx.shape[1], len(cells), ctx.shape[0] // len(cells))
        for levels in _levels(cells):
            table = entries[:, levels]
            index, along = _corners(points, cells[levels], primes, table.shape[-1])
            index = index.flatten().long()
            for column, value in zip(table, gradient[:, levels].unbind(2), strict=True):
                found = _spread(value, along, cells[levels])
                column.view(-1).scatter_add_(0, index, found.flatten())
        return entries.flatten(1).T, None, None, None, None


def _interpolate(
    entries: Float[Tensor, "all features"],
    points: Float[Tensor, "points 3"],
    cells: Int[Tensor, " levels"],
    primes: Int[Tensor, " axes"],
    slopes: bool,
) -> Float[Tensor, "values levels features points"]:
    """Trilinear features; with slopes, then those along x, y and z, per unit of length."""
    tables = entries.T.contiguous().view(entries.shape[1], len(cells), -1)
    found = points.new_empty(4 if slopes else 1, len(cells), len(tables), len(points))
    for levels in _levels(cells):
        index, along = _corners(points, cells[levels], primes, tables.shape[-1])
        for i, column in enumerate(tables[:, levels].flatten(1)):
            value = column.index_select(0, index.flatten()).view_as(index)
            found[:, levels, i] = _blend(value, along, cells[levels], slopes)
    return found


def _levels(cells: Tensor) -> list[slice]:
    """Levels that are looked up together: of a CPU one, of a GPU all."""
    return [slice(None)] if cells.is_cuda else [slice(i, i + 1) for i in range(len(cells))]


def _corners(
    points: Float[Tensor, "points 3"],
    cells: Int[Tensor, " levels"],
    primes: Int[Tensor, " axes"],
    table: int,
) -> tuple[Int[Tensor, "2 2 2 levels points"], Float[Tensor, "axes levels points"]]:
    """Of each point's cell, the entries of its corners (x, y, z) and the point's place in it.

    Entries of the levels one after the other. Points come last in memory, for speed.
    """
    scaled = (points.T.contiguous()[:, None] + 1) * (0.5 * cells)[:, None]
    low = scaled.floor()
    corner = low.int()
    hashed = torch.stack([corner, corner + 1]) * primes[:, None, None]  # may wrap around
    x, y, z = (hashed & (table - 1)).unbind(1)  # (2, levels, points) each
    starts = torch.arange(len(cells), dtype=torch.int32, device=cells.device) * table
    x = x ^ starts[:, None]  # beyond the hash, so that this adds them
    return x[:, None, None] ^ (y[:, None] ^ z), scaled - low


def _blend(
    value: Float[Tensor, "2 2 2 levels points"],
    along: Float[Tensor, "axes levels points"],
    cells: Int[Tensor, " levels"],
    slopes: bool,
) -> Float[Tensor, "values levels points"]:
    """Values of corners (x, y, z) read trilinearly, and their slopes."""
    x, y, z = along
    on_x = _between(value, x)
    on_xy = _between(on_x, y)
    on_xyz = _between(on_xy, z)
    if not slopes:
        return on_xyz[None]
    rise_x = _between(_between(value[1] - value[0], y), z)
    rise_y = _between(on_x[1] - on_x[0], z)
    scale = (0.5 * cells)[:, None]
    rises = [rise_x * scale, rise_y * scale, (on_xy[1] - on_xy[0]) * scale]
    return torch.stack([on_xyz, *rises])


def _spread(
    gradient: Float[Tensor, "values levels points"],
    along: Float[Tensor, "axes levels points"],
    cells: Int[Tensor, " levels"],
) -> Float[Tensor, "2 2 2 levels points"]:
    """The transpose of `_blend`: what a gradient of the value and the slopes gives each corner."""
    x, y, z = along
    on_z = _sides(gradient[0], z)
    if len(gradient) == 1:
        return _sides(_sides(on_z, y), x)
    rise_x, rise_y, rise_z = gradient[1:] * (0.5 * cells)[:, None]
    _lift(on_z, rise_z)
    on_y = _sides(on_z, y)
    _lift(on_y, _sides(rise_y, z))
    on_x = _sides(on_y, x)
    _lift(on_x, _sides(_sides(rise_x, z), y))
    return on_x


def _between(sides: Tensor, part: Tensor) -> Tensor:
    """A part of the way from the lower to the higher side."""
    return torch.lerp(sides[0], sides[1], part)


def _sides(value: Tensor, part: Tensor) -> Tensor:
    """The transpose of `_between`: what the two sides get of a value."""
    sides = value.new_empty(2, *value.shape)
    torch.mul(value, part, out=sides[1])
    torch.sub(value, sides[1], out=sides[0])
    return sides


def _lift(sides: Tensor, rise: Tensor) -> None:
    """Add what a difference of two sides passes on to them."""
    sides[0] -= rise
    sides[1] += rise
