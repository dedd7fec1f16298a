"""Hashed grids of many resolutions and a small network (Instant-NGP, Müller et al. 2022)."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from scorefield.sds.nerf.fields import BlobField, Decoder

__all__ = ["HashGrid"]


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
        levels: int = 4,
        features: int = 4,
        coarsest: int = 16,
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

    def forward(
        self, points: Float[Tensor, "points 3"], seen: Float[Tensor, "all points"] | None = None
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points 3"]]:
        """Density (N,) and albedo (N, 3); `seen` is what `look` has found of the same points."""
        learned = self._found(points, 4, seen=seen)
        return self._density(points, learned[0]), torch.sigmoid(learned[1:].T)

    def outputs(self, points: Float[Tensor, "points 3"], channels: int) -> Tensor:
        """The first `channels` learned outputs, shape (N, channels)."""
        return self._found(points, channels).T

    @torch.no_grad()
    def look(
        self, points: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "all points"]]:
        """The density alone, and the features that it was found from."""
        learned, features = _in_parts(
            points, None, self.cells, self.primes, False, self.entries, *self._network(1)
        )
        return self._density(points, learned[0]), features[0]

    def gradient(self, points: Float[Tensor, "points 3"]) -> Float[Tensor, "points 3"]:
        """The density's gradient, exact within the cells, as threestudio's "analytic" normals.

        It is differentiable once, in the parameters.
        """
        found = self._found(points, 1, slopes=True)
        return self._gradient(points, found[0], found[1:].T)

    def _network(self, channels: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Weights and biases of the two layers, the last one's of the first outputs alone."""
        first, _, last = self.decoder
        assert isinstance(first, nn.Linear) and isinstance(last, nn.Linear)
        return first.weight, first.bias, last.weight[:channels], last.bias[:channels]

    def _found(
        self,
        points: Float[Tensor, "points 3"],
        channels: int,
        *,
        slopes: bool = False,
        seen: Float[Tensor, "all points"] | None = None,
    ) -> Float[Tensor, "values points"]:
        """The first `channels` learned outputs; with slopes, then the first one's on x, y and z."""
        network = self._network(channels)
        if points.requires_grad:
            columns = self.entries.T
            return _outputs(points, None, self.cells, self.primes, slopes, columns, *network)[0]
        found: Tensor = _Outputs.apply(
            points, seen, self.cells, self.primes, slopes, self.entries, *network
        )
        return found


class _Outputs(torch.autograd.Function):
    """`_outputs` of many points, a few at a time, with its gradient in the parameters by hand.

    autograd would keep all that lies between the entries and the outputs, and pass it through
    memory at every step of the way.
    """

    @staticmethod
    def forward(
        ctx: Any,
        points: Tensor,
        seen: Tensor | None,
        cells: Tensor,
        primes: Tensor,
        slopes: bool,
        entries: Tensor,
        *network: Tensor,
    ) -> Tensor:
        outputs, features = _in_parts(points, seen, cells, primes, slopes, entries, *network)
        ctx.save_for_backward(points, cells, primes, features, *network)
        ctx.table = entries.shape[0] // len(cells)
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        points, cells, primes, features, *network = ctx.saved_tensors
        size = _at_once(cells)
        columns = gradient.new_zeros(features.shape[1] // len(cells), len(cells) * ctx.table)
        sums = [torch.zeros_like(parameter) for parameter in network]
        parts = (points.split(size), features.split(size, -1), gradient.split(size, -1))
        for part, seen, given in zip(*parts, strict=True):
            towards = [x.unflatten(0, (len(cells), -1)) for x in _back(seen, given, network, sums)]
            index, along = _corners(part, cells, primes, ctx.table)
            index = index.flatten().long()
            if len(towards) == 2:
                lean = _lean(along, given[-3:, None] * (0.5 * cells)[:, None])
            for i, column in enumerate(columns):
                corners = _spread(towards[0][:, i], along)
                if len(towards) == 2:
                    corners.addcmul_(lean, towards[1][:, i])
                column.scatter_add_(0, index, corners.flatten())
        return None, None, None, None, None, columns.T, *sums


def _at_once(cells: Tensor) -> int:
    """How many points fit the cache of a CPU, or else the memory of a GPU."""
    return (2**22 if cells.is_cuda else 2**15) // len(cells)


def _in_parts(
    points: Float[Tensor, "points 3"],
    seen: Float[Tensor, "all points"] | None,
    cells: Int[Tensor, " levels"],
    primes: Int[Tensor, " axes"],
    slopes: bool,
    entries: Float[Tensor, "entries features"],
    *network: Tensor,
) -> tuple[Float[Tensor, "values points"], Float[Tensor, "kinds all points"]]:
    """`_outputs` of a few points at a time."""
    columns, size = entries.T.contiguous(), _at_once(cells)
    parts = points.split(size)
    known = len(parts) * [None] if seen is None else seen.split(size, dim=1)
    found = [
        _outputs(part, some, cells, primes, slopes, columns, *network)
        for part, some in zip(parts, known, strict=True)
    ]
    outputs, features = zip(*found, strict=True)
    whole = torch.cat(features, dim=-1) if seen is None else seen[None]
    return torch.cat(outputs, dim=-1), whole


def _outputs(
    points: Float[Tensor, "points 3"],
    seen: Float[Tensor, "all points"] | None,
    cells: Int[Tensor, " levels"],
    primes: Int[Tensor, " axes"],
    slopes: bool,
    columns: Float[Tensor, "features entries"],
    *network: Tensor,
) -> tuple[Float[Tensor, "values points"], Float[Tensor, "kinds all points"]]:
    """The network's outputs, with slopes then those of the first one; and what it has seen.

    It has seen the features of all levels, one after the other, and maybe their slopes; some that
    were `seen` before are not looked up again.
    """
    first, first_bias, last, last_bias = network
    if seen is None:
        features = _interpolate(points, cells, primes, slopes, columns)
    else:
        features = seen[None]
    hidden = torch.addmm(first_bias[:, None], first, features[0]).relu()
    outputs = torch.addmm(last_bias[:, None], last, hidden)
    if slopes:
        towards = first.T @ (last[0, :, None] * (hidden > 0))
        outputs = torch.cat([outputs, (towards * features[1:]).sum(dim=1)])
    return outputs, features


def _back(
    features: Tensor, gradient: Tensor, network: Sequence[Tensor], sums: Sequence[Tensor]
) -> list[Float[Tensor, "all points"]]:
    """Through the network of `_outputs`: add to the sums of its parameters.

    Returns the gradient in the features; with slopes also the first output's, by which the slopes
    of the features are multiplied.
    """
    first, first_bias, last, _ = network
    hidden = torch.addmm(first_bias[:, None], first, features[0]).relu_()
    outputs = gradient[: len(last)]
    behind = torch.ops.aten.threshold_backward(last.T @ outputs, hidden, 0)  # of the relu
    sums[0].addmm_(behind, features[0].T)
    sums[1].add_(behind.sum(dim=1))
    sums[2].addmm_(outputs, hidden.T)
    sums[3].add_(outputs.sum(dim=1))
    towards = [first.T @ behind]
    if len(features) > 1:
        rise = (features[1:] * gradient[-3:, None]).sum(dim=0)
        active = (hidden > 0).to(hidden)
        through = last[0, :, None] * active
        sums[0].addmm_(through, rise.T)
        sums[2][0].add_((active * (first @ rise)).sum(dim=1))
        towards.append(first.T @ through)
    return towards


def _interpolate(
    points: Float[Tensor, "points 3"],
    cells: Int[Tensor, " levels"],
    primes: Int[Tensor, " axes"],
    slopes: bool,
    columns: Float[Tensor, "features entries"],
) -> Float[Tensor, "kinds all points"]:
    """Trilinear features; with slopes, then those along x, y and z, per unit of length."""
    shape = (4 if slopes else 1, len(cells), len(columns), len(points))
    found = columns.new_empty(shape)
    index, along = _corners(points, cells, primes, columns.shape[1] // len(cells))
    for i, column in enumerate(columns):
        corners = column.index_select(0, index.flatten()).view_as(index)
        found[:, :, i] = _blend(corners, along, cells, slopes)
    return found.flatten(1, 2)


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
    step = primes[:, None, None]
    hashed = low.int() * step  # may wrap around
    x, y, z = (torch.stack([hashed, hashed + step]) & (table - 1)).unbind(1)
    starts = torch.arange(len(cells), dtype=torch.int32, device=cells.device) * table
    x = x ^ starts[:, None]  # beyond the hash, so that this adds them
    return x[:, None, None] ^ (y[:, None] ^ z), scaled - low


def _blend(
    corners: Float[Tensor, "2 2 2 levels points"],
    along: Float[Tensor, "axes levels points"],
    cells: Int[Tensor, " levels"],
    slopes: bool,
) -> Float[Tensor, "kinds levels points"]:
    """Values of corners (x, y, z) read trilinearly, and their slopes."""
    x, y, z = along
    on_x = _between(corners, x)
    on_xy = _between(on_x, y)
    on_xyz = _between(on_xy, z)
    if not slopes:
        return on_xyz[None]
    rise_x = _between(_between(corners[1] - corners[0], y), z)
    rise_y = _between(on_x[1] - on_x[0], z)
    rises = torch.stack([rise_x, rise_y, on_xy[1] - on_xy[0]]) * (0.5 * cells)[:, None]
    return torch.cat([on_xyz[None], rises])


def _spread(
    value: Float[Tensor, "levels points"], along: Float[Tensor, "axes levels points"]
) -> Float[Tensor, "2 2 2 levels points"]:
    """The transpose of `_blend`: what each corner gets of a value."""
    x, y, z = along
    return _sides(_sides(_sides(value, z), y), x)


def _lean(
    along: Float[Tensor, "axes levels points"], rises: Float[Tensor, "axes levels points"]
) -> Float[Tensor, "2 2 2 levels points"]:
    """The transpose of `_blend`: what each corner gets of slopes, in cells."""
    x, y, z = along
    rise_x, rise_y, rise_z = rises
    on_z = torch.stack([-rise_z, rise_z])
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
