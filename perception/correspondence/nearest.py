"""Nearest neighbours in both directions among many vectors, in bounded memory."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

# Vectors of either side whose products are held at once: 4 MiB, which caches hold.
_BLOCK = 1 << 10
# Neighbouring vectors that are looked through together, once short products say so.
_STRIP = 1 << 7
# Largest short products of strips that are kept: 128 MiB for each direction.
_KEPT = 1 << 25
# Products held at once where all are computed: 32 MiB.
_HELD = 1 << 23
# Fewer products than these are computed whole.
_MANY = 1 << 26
# Of the squares of all vectors, what the short ones keep: maps of features vary smoothly, and their
# first tenth of components has it. Half of the components would save nothing.
_ENERGY, _LEAST_SAVED = 0.95, 0.5
# Of a vector's square, what its rest has at least: products of rests allow for rounding so.
_ROUNDING = 1e-5


class Bounds(NamedTuple):
    """What short products say of those of some vectors with strips of neighbouring others.

    A vector is a short one, its first principal components, and a rest at right angles to it, so
    that a product differs from the short one by at most the product of the rests' lengths.

    largest: short product with a vector of the strip.
    short, others: the short vectors.
    rests: lengths, of the vectors.
    strip_rests: the greatest length in each strip.
    strip: the number of vectors in a strip, of which the last may have fewer.
    """

    largest: Float[Tensor, "n strips"]
    short: Float[Tensor, "n components"]
    others: Float[Tensor, "m components"]
    rests: Float[Tensor, " n"]
    strip_rests: Float[Tensor, " strips"]
    strip: int

    def rows(self, chosen: Shaped[Tensor, " n"]) -> "Bounds":
        """Of some of the vectors."""
        largest, short, rests = (x[chosen] for x in (self.largest, self.short, self.rests))
        return self._replace(largest=largest, short=short, rests=rests)

    def upper(self) -> Float[Tensor, "n strips"]:
        """What no product with the strip exceeds."""
        return self.largest + self.rests[:, None] * self.strip_rests


class Nearest(NamedTuple):
    """What `nearest_both_ways` finds.

    best, there: for each vector of a the largest product with one of b, and its index.
    back: for each vector of b the index of the largest with one of a.
    bounds: of a's products, where short ones were computed first.
    """

    best: Float[Tensor, " n"]
    there: Int[Tensor, " n"]
    back: Int[Tensor, " m"]
    bounds: Bounds | None


def nearest_both_ways(
    a: Float[Tensor, "n c"],
    b: Float[Tensor, "m c"],
    block: int = _BLOCK,
    short: bool | None = None,
) -> Nearest:
    """For each vector the index of the largest product with one of the other side's.

    A block of products is computed at a time. Of equal products the first counts.

    short: compute all products of the first principal components alone, and whole those that are
        in question then: the same answer. None does so for many vectors, if few components hold
        nearly all of their length.
    """
    shortened = None
    if len(a) * len(b) > _MANY if short is None else short:
        shortened = _shortened(a, b, 1.0 if short else _LEAST_SAVED)
    if shortened is None:
        return _all_products(a, b, block)
    strip = max(_STRIP, -(-len(a) * len(b) // _KEPT // _STRIP) * _STRIP)
    block = max(block // strip, 1) * strip
    of_a, of_b = _bounds(*shortened, block, strip)
    best, there = _largest_product(a, b, of_a)
    _, back = _largest_product(b, a, of_b)
    return Nearest(best, there, back, of_a)


def largest_elsewhere(
    vectors: Float[Tensor, "n c"],
    others: Float[Tensor, "m c"],
    places: Float[Tensor, "n 2"],
    centres: Float[Tensor, "m 2"],
    apart: float | int,
    bounds: Bounds | None = None,
) -> Float[Tensor, " n"]:
    """For each unit vector the largest product with one of others at least `apart` from its place.

    It is -1 where nothing is that far.

    centres: where the others are.
    bounds: of these vectors' products, if known: most need not be computed then.
    """
    others = others.contiguous()

    def far(products: Tensor, rows: Tensor, columns: slice) -> Tensor:
        """The products, -1 where a place is near."""
        distances = torch.cdist(
            places[rows], centres[columns], compute_mode="donot_use_mm_for_euclid_dist"
        )
        return products.masked_fill_(distances < apart, -1.0)

    if bounds is None:
        every = torch.arange(len(vectors), device=vectors.device)
        parts = every.split(max(1, _HELD // len(others)))
        return torch.cat(
            [far(vectors[rows] @ others.T, rows, slice(None)).amax(1) for rows in parts]
        )
    whole, partly = _far_strips(places, centres, apart, bounds.strip)
    largest = bounds.largest.masked_fill(~partly, -torch.inf)
    for rows, number, part in _each(partly & ~whole, bounds.strip):
        short = bounds.short[rows] @ bounds.others[part].T
        largest[rows, number] = far(short, rows, part).amax(1)
    bounds = bounds._replace(largest=largest)
    best, _ = _largest_product(vectors, others, bounds, far)
    return best.clamp_(min=-1)


def _far_strips(
    places: Tensor, centres: Tensor, apart: float | int, strip: int
) -> tuple[Bool[Tensor, "n strips"], Bool[Tensor, "n strips"]]:
    """Which strips are far from each place as a whole, and which are, or may be, in part.

    They are judged by the boxes around them, and those at the edge but for rounding count as in
    part.
    """
    boxes = [(part.amin(0), part.amax(0)) for part in centres.split(strip)]
    low, high = (torch.stack(corners) for corners in zip(*boxes, strict=True))
    far, partly = [], []
    for place in places[:, None].split(_BLOCK):
        nearest = (low - place).maximum(place - high).clamp_(min=0)
        farthest = (place - low).maximum(high - place)
        far.append(nearest.square().sum(2) >= apart**2 * (1 + 1e-5))
        partly.append(farthest.square().sum(2) >= apart**2 * (1 - 1e-5))
    return torch.cat(far), torch.cat(partly)


def _all_products(a: Tensor, b: Tensor, block: int) -> Nearest:
    best = [vectors.new_full((len(vectors),), -torch.inf) for vectors in (a, b)]
    where = [torch.zeros(len(vectors), dtype=torch.long, device=a.device) for vectors in (a, b)]
    for i in range(0, len(a), block):
        for j in range(0, len(b), block):
            products = a[i : i + block] @ b[j : j + block].T
            for side, at, first, part in ((0, i, j, products), (1, j, i, products.T)):
                # values alone are found much faster than their indices, which few rows need
                better = part.amax(1) > best[side][at : at + len(part)]
                rows = better.nonzero()[:, 0]
                top = part[rows].max(1)
                best[side][at + rows], where[side][at + rows] = top.values, first + top.indices
    return Nearest(best[0], where[0], where[1], None)


def _shortened(a: Tensor, b: Tensor, most: float) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """Short vectors of a and of b, and the lengths of their rests; None if they are not short.

    most: share of the components that short vectors have.
    """
    squares, axes = torch.linalg.eigh(a.T @ a + b.T @ b)
    held = squares.flip(0).cumsum(0)
    count = int((held < _ENERGY * held[-1]).sum()) + 1
    if count > most * a.shape[1]:
        return None
    axes = axes.flip(1)[:, :count]
    short = [vectors @ axes for vectors in (a, b)]
    squares_of = [[v.square().sum(1) for v in pair] for pair in zip((a, b), short, strict=True)]
    rests = [(all_ - kept).maximum(_ROUNDING * all_).sqrt() for all_, kept in squares_of]
    return short[0], short[1], rests[0], rests[1]


def _bounds(
    a: Tensor, b: Tensor, rests_a: Tensor, rests_b: Tensor, block: int, strip: int
) -> tuple[Bounds, Bounds]:
    """Of each short vector of a with the strips of b, and the same for b."""
    sizes = [(len(a), -(-len(b) // strip)), (len(b), -(-len(a) // strip))]
    of_a, of_b = (a.new_full(size, -torch.inf) for size in sizes)
    for i in range(0, len(a), block):
        for j in range(0, len(b), block):
            products = a[i : i + block] @ b[j : j + block].T
            for kept, at, first, tops in (
                (of_a, i, j, _tops(products, strip, 1)), (of_b, j, i, _tops(products, strip, 0).T)
            ):  # fmt: skip
                where = slice(first // strip, first // strip + tops.shape[1])
                kept[at : at + len(tops), where] = tops
    longest = [
        torch.stack([part.amax() for part in rests.split(strip)]) for rests in (rests_a, rests_b)
    ]
    return (
        Bounds(of_a, a, b, rests_a, longest[1], strip),
        Bounds(of_b, b, a, rests_b, longest[0], strip),
    )


def _tops(products: Tensor, strip: int, dim: int) -> Tensor:
    """The largest of each strip along a dimension, of which the last strip may be narrower."""
    whole = products.shape[dim] // strip * strip
    parts = products.narrow(dim, 0, whole).unflatten(dim, (-1, strip)).amax(dim + 1)
    rest = products.narrow(dim, whole, products.shape[dim] - whole)
    return torch.cat([parts, rest.amax(dim, keepdim=True)], dim) if rest.numel() else parts


def _each(strips: Bool[Tensor, "n strips"], strip: int) -> Iterator[tuple[Tensor, int, slice]]:
    """The vectors that ask for each strip, its number, and the vectors in it."""
    for number in range(strips.shape[1]):
        yield strips[:, number].nonzero()[:, 0], number, slice(number * strip, (number + 1) * strip)


def _largest_product(
    vectors: Tensor,
    others: Tensor,
    bounds: Bounds,
    counted: Callable[[Tensor, Tensor, slice], Tensor] | None = None,
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """For each vector the largest product with one of the others, and its index.

    counted: takes products, and the vectors and others they are of, to those that count.
    """
    best = vectors.new_full((len(vectors),), -torch.inf)
    where = torch.zeros(len(vectors), dtype=torch.long, device=vectors.device)

    def look(strips: Tensor) -> None:
        for rows, _, part in _each(strips, bounds.strip):
            products = vectors[rows] @ others[part].T
            top = (products if counted is None else counted(products, rows, part)).max(1)
            index = part.start + top.indices
            better = top.values > best[rows]
            better |= (top.values == best[rows]) & (index < where[rows])
            rows = rows[better]
            best[rows], where[rows] = top.values[better], index[better]

    likeliest = torch.zeros_like(bounds.largest, dtype=torch.bool)
    likeliest.scatter_(1, bounds.largest.argmax(1, keepdim=True), True)
    look(likeliest)
    look((bounds.upper() >= best[:, None]) & ~likeliest)
    return best, where
