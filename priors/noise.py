"""Noise keyed by what it is for, never by its place in a batch.

A draw depends on (seed, key) alone, so results do not change with the batch size, the order of the
items, the device, or after a resume.
"""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.devices import to_device

START, ON_THE_WAY, CORRECTION = 0, 1, 2
"""Keys of an item's noise: what a walk starts from, what its steps add, what a corrector draws."""


def noise_generator(seed: int, *key: int, device: torch.device | str = "cpu") -> torch.Generator:
    """A generator that is a pure function of (seed, key).

    The state is seeded with a 63-bit BLAKE2b digest, so that neighbouring keys, and keys of
    different lengths, give unrelated streams (``seed + step`` would not).

    Args:
        seed: the seed of the run.
        *key: integers that say what the draw is for, e.g. step and item.
        device: where the generator lives; the stream differs between kinds of device.
    """
    text = ",".join(str(int(part)) for part in (seed, *key))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    generator = torch.Generator(device=device)
    generator.manual_seed(int.from_bytes(digest, "little") >> 1)
    return generator


def keyed_noise(
    seed: int,
    items: Sequence[int],
    draw: int,
    shape: Sequence[int],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "items *shape"]:
    """Standard normal noise of shape (len(items), *shape).

    The noise of item i depends on (seed, i, draw) only.  It is drawn on the CPU in float32, so that
    it is the same on every device and, up to rounding, in every dtype.
    """
    if len(items) == 0:
        return torch.empty((0, *shape), dtype=dtype, device=device)
    rows = [torch.randn(*shape, generator=noise_generator(seed, item, draw)) for item in items]
    return to_device(torch.stack(rows).to(dtype), device)


def noise_like(x: Float[Tensor, "*shape"], generator: torch.Generator) -> Float[Tensor, "*shape"]:
    """Standard normal noise drawn on the CPU in float32, in the dtype and on the device of x."""
    return to_device(torch.randn(x.shape, generator=generator).to(x.dtype), x.device)


def items_of(batch: int, items: Sequence[int] | None) -> Sequence[int]:
    """The items whose noise the rows of a batch are given: their places, unless said otherwise.

    Raises:
        ValueError: not one item per row.
    """
    if items is None:
        return range(batch)
    if len(items) != batch:
        raise ValueError(f"items must name each of the {batch} rows, got {len(items)}")
    return items


def item_generators(
    batch: int, seed: int, items: Sequence[int] | None, *key: int
) -> list[torch.Generator]:
    """One generator per item of a batch, a function of (seed, item, *key).

    Raises:
        ValueError: not one item per row.
    """
    return [noise_generator(seed, item, *key) for item in items_of(batch, items)]


def normal(
    like: Float[Tensor, "batch *shape"], generators: Sequence[torch.Generator]
) -> Float[Tensor, "batch *shape"]:
    """Standard normal noise, row i from generator i, drawn on the CPU in float32."""
    rows = [torch.randn(like.shape[1:], generator=generator) for generator in generators]
    return to_device(torch.stack(rows).to(like.dtype), like.device)


def rademacher(
    like: Float[Tensor, "batch *shape"], generators: Sequence[torch.Generator]
) -> Float[Tensor, "batch *shape"]:
    """Random signs, row i from generator i, drawn on the CPU."""
    rows = [torch.randint(2, like.shape[1:], generator=generator) for generator in generators]
    return to_device((2 * torch.stack(rows) - 1).to(like.dtype), like.device)
