"""Nearest neighbours in both directions among many vectors, in bounded memory."""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

# Vectors of either side whose products are held at once: 4 MiB, which caches hold.
_BLOCK = 1 << 10
# Neighbouring vectors that are looked through together, once rounded products say so.
_STRIP = 1 << 6
# Largest rounded products of strips that are kept: 64 MiB for each direction.
_KEPT = 1 << 25
# Fewer products than these are computed in one precision.
_MANY = 1 << 26
# Of the product of two unit vectors in bfloat16: 2^-9 for rounding each, and 2^-9 for the result.
_ROUNDING = 3 * 2**-9 + 1e-4


def nearest_both_ways(
    a: Float[Tensor, "n c"],
    b: Float[Tensor, "m c"],
    block: int = _BLOCK,
    rounded: bool | None = None,
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"], Int[Tensor, " m"]]:
    """For each vector of a the largest product with one of b and its index, and the index for b.

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
    return best, there, back


def _in_one_precision(a: Tensor, b: Tensor, block: int) -> tuple[Tensor, Tensor, Tensor]:
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
    return best[0], where[0], where[1]


def _largest_in_strips(a: Tensor, b: Tensor, block: int, strip: int) -> tuple[Tensor, Tensor]:
    """For each vector of a the largest rounded product with each strip of b, and the same for b."""
    sizes = [(len(a), -(-len(b) // strip)), (len(b), -(-len(a) // strip))]
    of_a, of_b = (a.new_full(size, -torch.inf, dtype=torch.bfloat16) for size in sizes)
    rows, columns = a.bfloat16(), b.bfloat16()
    for i in range(0, len(a), block):
        for j in range(0, len(b), block):
            products = rows[i : i + block] @ columns[j : j + block].T
            for kept, at, first, part in ((of_a, i, j, products), (of_b, j, i, products.T)):
                # the last strip may be narrower
                tops = [one.amax(1) for one in part.split(strip, dim=1)]
                kept[at : at + len(part), first // strip : first // strip + len(tops)] = (
                    torch.stack(tops, 1)
                )
    return of_a, of_b


def _in_question(largest: Tensor, vectors: Tensor, others: Tensor) -> Bool[Tensor, "n strips"]:
    """Which strips may hold the largest product, as far as rounding leaves it open."""
    error = _ROUNDING * vectors.norm(dim=1) * others.norm(dim=1).max()
    return largest.float() >= (largest.float().amax(1) - 2 * error)[:, None]


def _in_strips(
    vectors: Tensor, others: Tensor, open_: Tensor, strip: int
) -> tuple[Float[Tensor, " n"], Int[Tensor, " n"]]:
    """For each vector the largest product with a vector of its strips, and its index."""
    best = vectors.new_full((len(vectors),), -torch.inf)
    where = torch.zeros(len(vectors), dtype=torch.long, device=vectors.device)
    for number, part in enumerate(others.split(strip)):
        rows = open_[:, number].nonzero()[:, 0]
        top = (vectors[rows] @ part.T).max(1)
        better = top.values > best[rows]
        rows = rows[better]
        best[rows] = top.values[better]
        where[rows] = number * strip + top.indices[better]
    return best, where


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is a matrix unit's format here, not an emulated one."""
    return device.type == "cpu" and bool(torch.cpu.get_capabilities().get("amx_bf16"))
