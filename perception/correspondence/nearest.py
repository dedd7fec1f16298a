"""Nearest neighbours in both directions among many vectors, in bounded memory."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

# Vectors of either side whose products are held at once: 4 MiB, which caches hold.
_BLOCK = 1 << 10
# Neighbouring vectors that are looked through together, once rounded products say so.
_STRIP = 1 << 6
# Largest rounded products of strips that are kept: 64 MiB for each direction.
_KEPT = 1 << 25
# Products held at once where all are computed: 32 MiB.
_HELD = 1 << 23
# Fewer products than these are computed in one precision.
_MANY = 1 << 26
# Of the product of two unit vectors in bfloat16: 2^-9 for rounding each, and 2^-9 for the result.
_ROUNDING = 3 * 2**-9 + 1e-4


class Tops(NamedTuple):
    """The largest rounded product of each of some vectors with each strip of others."""

    values: Shaped[Tensor, "n strips"]
    strip: int


class Nearest(NamedTuple):
    """What `nearest_both_ways` finds.

    best, there: for each vector of a the largest product with one of b, and its index.
    back: for each vector of b the index of the largest with one of a.
    tops: of a, where products were rounded.
    """

    best: Float[Tensor, " n"]
    there: Int[Tensor, " n"]
    back: Int[Tensor, " m"]
    tops: Tops | None


def nearest_both_ways(
    a: Float[Tensor, "n c"],
    b: Float[Tensor, "m c"],
    block: int = _BLOCK,
    rounded: bool | None = None,
) -> Nearest:
    """For each vector the index of the largest product with one of the other side's.

    Every product is computed once, a block at a time. Of equal products the first counts.

    rounded: compute all products in bfloat16, several times as fast where the processor multiplies
        matrices of it, and those in float32 that rounding leaves in question: the same answer.
        None does so for many products on such a processor.
    """
    many = len(a) * len(b) > _MANY
    rounded = many and _multiplies_bfloat16(a.device) if rounded is None else rounded
    if not rounded:
        return _in_one_precision(a, b, block)
    strip = max(_STRIP, -(-len(a) * len(b) // _KEPT // _STRIP) * _STRIP)
    block = max(block // strip, 1) * strip
    of_a, of_b = _largest_in_strips(a, b, block, strip)
    best, there = _in_strips(a, b, _in_question(of_a, a, b), strip)
    _, back = _in_strips(b, a, _in_question(of_b, b, a), strip)
    return Nearest(best, there, back, Tops(of_a, strip))


def largest_elsewhere(
    vectors: Float[Tensor, "n c"],
    others: Float[Tensor, "m c"],
    places: Float[Tensor, "n 2"],
    centres: Float[Tensor, "m 2"],
    apart: float | int,
    tops: Tops | None = None,
) -> Float[Tensor, " n"]:
    """For each unit vector the largest product with one of others at least `apart` from its place.

    It is -1 where nothing is that far.

    centres: where the others are.
    tops: of these vectors, if they are known: most products need not be computed then.
    """
    others = others.contiguous()

    def far_products(rows: Tensor, columns: slice) -> Tensor:
        distances = torch.cdist(
            places[rows], centres[columns], compute_mode="donot_use_mm_for_euclid_dist"
        )
        return (vectors[rows] @ others[columns].T).masked_fill_(distances < apart, -1.0)

    if tops is None:
        every = torch.arange(len(vectors), device=vectors.device)
        parts = every.split(max(1, _HELD // len(others)))
        return torch.cat([far_products(rows, slice(None)).amax(1) for rows in parts])
    far, partly = _far_strips(places, centres, apart, tops.strip)
    open_ = _in_question(tops.values, vectors, others, far) & partly
    best, _ = _in_strips(vectors, others, open_, tops.strip, far_products)
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


def _in_one_precision(a: Tensor, b: Tensor, block: int) -> Nearest:
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


def _largest_in_strips(a: Tensor, b: Tensor, block: int, strip: int) -> tuple[Tensor, Tensor]:
    """For each vector of a the largest rounded product with each strip of b, and the same for b."""
    sizes = [(len(a), -(-len(b) // strip)), (len(b), -(-len(a) // strip))]
    of_a, of_b = (a.new_full(size, -torch.inf, dtype=torch.bfloat16) for size in sizes)
    rows, columns = a.bfloat16(), b.bfloat16()
    for i in range(0, len(a), block):
        for j in range(0, len(b), block):
            products = rows[i : i + block] @ columns[j : j + block].T
            for kept, at, first, tops in (
                (of_a, i, j, _tops(products, strip, 1)), (of_b, j, i, _tops(products, strip, 0).T)
            ):  # fmt: skip
                where = slice(first // strip, first // strip + tops.shape[1])
                kept[at : at + len(tops), where] = tops
    return of_a, of_b


def _tops(products: Tensor, strip: int, dim: int) -> Tensor:
    """The largest of each strip along a dimension, of which the last strip may be narrower."""
    whole = products.shape[dim] // strip * strip
    parts = products.narrow(dim, 0, whole).unflatten(dim, (-1, strip)).amax(dim + 1)
    rest = products.narrow(dim, whole, products.shape[dim] - whole)
    return torch.cat([parts, rest.amax(dim, keepdim=True)], dim) if rest.numel() else parts


def _in_question(
    largest: Tensor, vectors: Tensor, others: Tensor, sure: Tensor | None = None
) -> Bool[Tensor, "n strips"]:
    """Which strips may hold the largest product, as far as rounding leaves it open.

    sure: which strips' largest products are candidates for certain; None are all.
    """
    error = _ROUNDING * vectors.norm(dim=1) * others.norm(dim=1).max()
    largest = largest.float()
    counted = largest if sure is None else largest.masked_fill(~sure, -torch.inf)
    return largest >= (counted.amax(1) - 2 * error)[:, None]


def _in_strips(
    vectors: Tensor,
    others: Tensor,
    open_: Tensor,
    strip: int,
    products: Callable[[Tensor, slice], Tensor] | None = None,
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """For each vector the largest product with a vector of its strips, and its index.

    products: of some vectors with a slice of the others, if not the plain ones.
    """
    best = vectors.new_full((len(vectors),), -torch.inf)
    where = torch.zeros(len(vectors), dtype=torch.long, device=vectors.device)
    for number in range(open_.shape[1]):
        rows, first = open_[:, number].nonzero()[:, 0], number * strip
        part = slice(first, first + strip)
        found = vectors[rows] @ others[part].T if products is None else products(rows, part)
        top = found.max(1)
        better = top.values > best[rows]
        rows = rows[better]
        best[rows] = top.values[better]
        where[rows] = first + top.indices[better]
    return best, where


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is a matrix unit's format here, not an emulated one."""
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))
