"""Images of the procedural world, rendered once and kept on disk."""

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from tqdm import tqdm

from scorefield.files import whole_file
from scorefield.world import draw_scene, render

SHARD = 2048
"""Images per file."""

_CHUNK = 32  # scenes rendered at once: their rays stay in the processor's cache


def world_images(
    seed: int, count: int, folder: Path, *, progress: bool = True
) -> UInt8[Tensor, "count 64 64 3"]:
    """The first `count` 64x64 images of the world with this seed, as bytes.

    They are kept in `folder` in files of `SHARD` images, the last one of fewer; what is there is
    not rendered again, so that an interrupted rendering goes on where it stopped.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shards = []
    starts = range(0, count, SHARD)
    for start in tqdm(starts, desc="rendering the world", unit="shard", disable=not progress):
        stop = min(start + SHARD, count)
        path = folder / f"world-{seed}-{start:07d}.npy"
        if stop < start + SHARD and not path.exists():
            path = folder / f"world-{seed}-{start:07d}-{stop:07d}.npy"
        if not path.exists():
            shard = np.concatenate(
                [
                    to_bytes(render_indices(seed, range(first, min(first + _CHUNK, stop)))).numpy()
                    for first in range(start, stop, _CHUNK)
                ]
            )
            with whole_file(path) as part:
                np.save(part, shard)
        shards.append(np.load(path))
    return torch.from_numpy(np.concatenate(shards)[:count])


def render_indices(seed: int, indices: range) -> Float[Tensor, "count 3 64 64"]:
    """Images of the world by number."""
    return render([draw_scene(seed, index) for index in indices]).images


def to_bytes(images: Float[Tensor, "n 3 h w"]) -> UInt8[Tensor, "n h w 3"]:
    """Images in [0, 1] as rounded bytes, channels last."""
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def from_bytes(images: UInt8[Tensor, "n h w 3"]) -> Float[Tensor, "n 3 h w"]:
    """Bytes, channels last, as images in [0, 1]."""
    return images.permute(0, 3, 1, 2).to(torch.float32) / 255


def batch_indices(
    generator: torch.Generator, count: int, batch_size: int
) -> Int[Tensor, "batch_size"]:
    """Numbers of the images of one training batch."""
    return torch.randint(count, (batch_size,), generator=generator)
