"""Noise keyed by what it is for, never by its place in a batch.

A draw depends on (seed, key) alone, so results do not change with the batch size, the order of the
items, the device, or after a resume.
"""

import hashlib
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


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
    return torch.stack(rows).to(dtype).to(device)
