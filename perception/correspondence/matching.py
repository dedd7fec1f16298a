"""Matching of feature maps by cosine similarity: where in one image is this point of another?

Points are in pixels, (x, y) from the upper left corner of an image of a given size (height,
width); pixel (row i, column j) has its centre at (j + 0.5, i + 0.5). Cell (i, j) of a map of h x w
cells has its centre at ((j + 0.5) width / w, (i + 0.5) height / h), and between centres maps are
interpolated bilinearly (align_corners=False), as by Tang et al. 2023.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from scorefield.domains import Positive, check_numbers
from scorefield.perception.correspondence.matches import Matches, Size
from scorefield.perception.correspondence.nearest import largest_elsewhere, nearest_both_ways

Locate = Callable[[Tensor, Tensor, Size, Tensor], tuple[Tensor, Tensor]]
"""From unit vectors (points, channels), a map (channels, h, w), its image's size and the map that
the vectors are of, to the points (points, 2) where it resembles them most, and their similarity
(points,)."""

# Similarities held at once: 128 MiB of float32.
_VALUES = 1 << 25
# Cells of the map that vectors are of, in one part of the dual softmax.
_BLOCK = 1 << 10
# Another place is one this share of the longer side away: several cells of deep layers.
_ELSEWHERE = 8


def cell_centres(features: Float[Tensor, "c h w"], size: Size) -> Float[Tensor, "cells 2"]:
    """Where the cells of a map are in an image of that size, row by row."""
    height, width = features.shape[-2:]
    y = (torch.arange(height, device=features.device) + 0.5) * size[0] / height
    x = (torch.arange(width, device=features.device) + 0.5) * size[1] / width
    rows, columns = torch.meshgrid(y, x, indexing="ij")
    return torch.stack([columns, rows], -1).reshape(-1, 2)


def check_inside(points: Float[Tensor, "points 2"], size: Size) -> None:
    """Raise ValueError for a point outside an image of that size; NaN is nowhere."""
    extent = points.new_tensor([size[1], size[0]])
    if not bool(((points >= 0) & (points <= extent)).all()):
        raise ValueError(
            f"points must lie in the image, x in 0 to {size[1]} and y in 0 to {size[0]}; got "
            f"{points.amin(0).tolist()} to {points.amax(0).tolist()}"
        )


def vectors_at(
    features: Float[Tensor, "c h w"], points: Float[Tensor, "points 2"], size: Size
) -> Float[Tensor, "points c"]:
    """Unit vectors of a map, interpolated at points.

    Raises:
        ValueError: a point outside the image.
    """
    check_inside(points, size)
    extent = points.new_tensor([size[1], size[0]])
    grid = (points / extent * 2 - 1).to(features)[None, None]
    found = functional.grid_sample(
        features[None], grid, mode="bilinear", padding_mode="border", align_corners=False
    )
    return functional.normalize(found[0, :, 0].T, dim=1)


def nearest_cell(
    vectors: Float[Tensor, "points c"],
    target: Float[Tensor, "c h w"],
    size: Size,
    origin: Float[Tensor, "c h2 w2"] | None = None,
) -> tuple[Float[Tensor, "points 2"], Float[Tensor, " points"]]:
    """The centre of the cell most similar to each vector."""
    best, where = _most_similar(vectors, functional.normalize(target, dim=0).flatten(1).T)
    return cell_centres(target, size)[where], best


def _most_similar(
    a: Float[Tensor, "n c"], b: Float[Tensor, "m c"], values: int = _VALUES
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """For each vector of a, the largest product with one of b and its index; a part at a time."""
    found = [(part @ b.T).max(1) for part in a.split(max(1, values // len(b)))]
    return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])


@dataclass(frozen=True)
class NearestPixel:
    """The centre of the pixel most similar to each vector, maps being interpolated to the image.

    That is the rule of the reference (Tang et al. 2023). The similarity is linear in the target but
    for the target's norm, so what is interpolated is one map per point, not one per channel.

    values: numbers held at once, which is points times pixels of the target.
    """

    values: int = _VALUES

    def __call__(
        self,
        vectors: Float[Tensor, "points c"],
        target: Float[Tensor, "c h w"],
        size: Size,
        origin: Float[Tensor, "c h2 w2"] | None = None,
    ) -> tuple[Float[Tensor, "points 2"], Float[Tensor, " points"]]:
        """The pixels, and the cosine there."""
        chunk = max(1, self.values // (size[0] * size[1]))
        norm = _norm_of_interpolated(target, size, chunk).flatten()
        points, cosines = [], []
        for part in vectors.split(chunk):
            product = torch.einsum("pc,chw->phw", part, target)
            dot = _interpolate(product[None], size)[0].flatten(1)
            best, where = (dot / norm).max(1)
            row, column = where // size[1], where % size[1]
            points.append(torch.stack([column, row], 1) + 0.5)
            cosines.append(best)
        return torch.cat(points), torch.cat(cosines)


@dataclass(frozen=True)
class SoftArgmax:
    """The mean of places around the most similar cell, weighted by exp(similarity / temperature).

    Zhang et al. 2024 (GeoAware-SC): the window keeps a second peak elsewhere from pulling. Between
    cells the answer moves continuously.

    window: side of the square of cells around the best one, odd.
    temperature: of the softmax; towards 0 the best cell's centre.

    Raises:
        ValueError: an even window, or a temperature that is not positive.
    """

    window: int = 5
    temperature: Positive = 0.04

    def __post_init__(self) -> None:
        if self.window < 1 or self.window % 2 == 0:
            raise ValueError(f"window must be odd and positive; got {self.window}")
        check_numbers(self)

    def __call__(
        self,
        vectors: Float[Tensor, "points c"],
        target: Float[Tensor, "c h w"],
        size: Size,
        origin: Float[Tensor, "c h2 w2"] | None = None,
    ) -> tuple[Float[Tensor, "points 2"], Float[Tensor, " points"]]:
        """The places, and the cosine at the best cell."""
        unit = functional.normalize(target, dim=0).flatten(1)
        parts = vectors.split(max(1, _VALUES // unit.shape[1]))
        found = [self._located(part @ unit, target, size) for part in parts]
        return torch.cat([place for place, _ in found]), torch.cat([best for _, best in found])

    def _located(self, similarity: Tensor, target: Tensor, size: Size) -> tuple[Tensor, Tensor]:
        best, where = similarity.max(1)
        width = target.shape[2]
        rows = torch.arange(target.shape[1], device=target.device).repeat_interleave(width)
        columns = torch.arange(width, device=target.device).repeat(target.shape[1])
        reach = self.window // 2
        near = (rows - (where // width)[:, None]).abs() <= reach
        near &= (columns - (where % width)[:, None]).abs() <= reach
        weights = (similarity / self.temperature).masked_fill(~near, -torch.inf).softmax(1)
        return weights @ cell_centres(target, size).to(weights), best


@dataclass(frozen=True)
class DualSoftmax:
    """The cell that is likely from both sides (Rocco et al. 2018; LoFTR, Sun et al. 2021).

    The softmax of similarity / temperature over the target's cells, times that over the cells of
    the map the vectors are of: a cell that resembles much of the other image is no one's match.

    temperature: of both softmaxes, in cosines.

    Raises:
        ValueError: a temperature that is not positive.
    """

    temperature: Positive = 0.02

    def __post_init__(self) -> None:
        check_numbers(self)

    def __call__(
        self,
        vectors: Float[Tensor, "points c"],
        target: Float[Tensor, "c h w"],
        size: Size,
        origin: Float[Tensor, "c h2 w2"],
    ) -> tuple[Float[Tensor, "points 2"], Float[Tensor, " points"]]:
        """The centres of the cells, and the cosine there."""
        theirs, ours = (functional.normalize(m, dim=0).flatten(1).T for m in (target, origin))
        total = torch.zeros_like(theirs[:, 0])
        for part in ours.split(_BLOCK):
            # cosines are at most 1, so that nothing overflows
            total += ((part @ theirs.T - 1) / self.temperature).exp_().sum(0)
        # the softmax over the target has one sum for all its cells, which orders nothing
        taken = self.temperature / 2 * total.log()
        found, cosines = [], []
        for part in vectors.split(max(1, _VALUES // len(theirs))):
            similarity = part @ theirs.T
            best = (similarity - taken).argmax(1)
            found.append(best)
            cosines.append(similarity.gather(1, best[:, None])[:, 0])
        return cell_centres(target, size)[torch.cat(found)], torch.cat(cosines)


def match_features(
    source: Float[Tensor, "c h w"],
    target: Float[Tensor, "c2 h2 w2"],
    points: Float[Tensor, "points 2"] | None = None,
    *,
    source_size: Size,
    target_size: Size,
    locate: Locate | None = None,
) -> Matches:
    """The best match in the target of each point of the source.

    source_size, target_size: height and width of the images that points are pixels of.
    points: None is the centres of the source's cells.
    locate: how the best place is found: `NearestPixel` (None), `nearest_cell`, `SoftArgmax` or
        `DualSoftmax`.

    Raises:
        ValueError: maps of different channels, or a point outside the image.
    """
    _check_one_layer(source, target)
    locate = NearestPixel() if locate is None else locate
    points = cell_centres(source, source_size) if points is None else points.to(source.device)
    points = points.to(source.dtype)
    found, similarity = locate(vectors_at(source, points, source_size), target, target_size, source)
    found = found.to(points)
    back, _ = locate(vectors_at(target, found, target_size), source, source_size, target)
    second = largest_elsewhere(
        vectors_at(source, points, source_size),
        functional.normalize(target, dim=0).flatten(1).T,
        found,
        *_elsewhere(target, target_size),
    )
    ratio = _ratio(similarity, second)
    return Matches(points, found, similarity, (back - points).norm(dim=1), ratio)


def mutual_matches(
    source: Float[Tensor, "c h w"],
    target: Float[Tensor, "c2 h2 w2"],
    *,
    source_size: Size,
    target_size: Size,
    locate: Locate | None = None,
) -> Matches:
    """Cells that are each other's nearest neighbours, then located as `match` does.

    The rule of kornia's `match_mnn`, for the distance of unit vectors orders them as the cosine
    does, without holding the similarities of all cells with all. The target of each pair is sought
    again with `locate`, None keeping the cell's centre.

    Raises:
        ValueError: maps of different channels.
    """
    _check_one_layer(source, target)
    a, b = (functional.normalize(f, dim=0).flatten(1).T.contiguous() for f in (source, target))
    similarity, there, back, bounds = nearest_both_ways(a, b)
    mutual = back[there] == torch.arange(len(a), device=a.device)
    points = cell_centres(source, source_size).to(source)[mutual]
    if locate is None:
        centres, apart = _elsewhere(target, target_size)
        found, similarity = centres[there[mutual]], similarity[mutual]
        bounds = None if bounds is None else bounds.rows(mutual)
        second = largest_elsewhere(a[mutual], b, found, centres, apart, bounds)
        agreed = torch.zeros_like(similarity)
        return Matches(points, found, similarity, agreed, _ratio(similarity, second))
    return match_features(
        source, target, points, source_size=source_size, target_size=target_size, locate=locate
    )


def _elsewhere(target: Tensor, size: Size) -> tuple[Float[Tensor, "cells 2"], float]:
    """The cells of a target, and how far another place is from a match."""
    return cell_centres(target, size).to(target), max(size) / _ELSEWHERE


def _ratio(similarity: Tensor, second: Tensor) -> Float[Tensor, " points"]:
    """Of the distances, whose squares are 2 - 2 cos for unit vectors."""
    first = (1 - similarity).clamp(min=0)
    return (first / (1 - second).clamp(min=1e-12)).sqrt()


def _check_one_layer(source: Tensor, target: Tensor) -> None:
    if len(source) != len(target):
        raise ValueError(
            f"both maps must come from one layer; they have {len(source)} and "
            f"{len(target)} channels"
        )


def _interpolate(maps: Tensor, size: Size) -> Tensor:
    return functional.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _norm_of_interpolated(target: Tensor, size: Size, chunk: int) -> Tensor:
    """|interpolated target| at every pixel, holding `chunk` channels at that size."""
    square = sum(_interpolate(part[None], size)[0].square().sum(0) for part in target.split(chunk))
    assert isinstance(square, Tensor)
    return square.sqrt().clamp(min=1e-12)
