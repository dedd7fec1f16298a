"""Memory beside the weights with Stable Diffusion 1.5 and SDXL, counted without a device.

    python benchmarks/memory.py

The models of random_models.py at their full size, as tensors without values, in 16 bit with the
autoencoder of SDXL in float32: the most bytes of tensors that are alive at once. An allocator and
the work space of kernels come on top. Twenty seconds on one CPU core.

- encode: one view of the model's size, with its gradient, as a step of text-to-3d encodes it; and
  with the encoder's maps all kept, or all computed again (--low-memory).
- network: one guided evaluation, without a gradient.
- decode: one image, of 1024 pixels; and in tiles, which are taken with --low-memory and where it
  does not fit whole.

The scene of text-to-3d, rendered at 64 pixels, comes on top of a step: see gpu.py.
"""

import gc
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as functional
from random_models import MODELS, load
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from scorefield.priors import codec
from scorefield.priors.frozen_prior import FrozenPrior

META = torch.device("meta")


class Live(TorchDispatchMode):
    """The most bytes of tensors made inside that were alive at once."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Note what was made."""
        result = func(*args, **(kwargs or {}))
        given = {id(x.untyped_storage()) for x in tree_leaves(args) if isinstance(x, Tensor)}
        for leaf in tree_leaves(result):
            if isinstance(leaf, Tensor) and id(leaf.untyped_storage()) not in given:
                self.alive[leaf.untyped_storage()] = leaf.untyped_storage().nbytes()
        self.peak = max(self.peak, sum(self.alive.values()))
        return result


def show(name: str, what: str, work: Callable[[FrozenPrior], object], prior: FrozenPrior) -> None:
    """Print a line."""
    gc.collect()
    with Live() as live:
        work(prior)
    print(f"{name:5} {what:22} {live.peak / 2**30:6.2f} GiB", flush=True)


def attention(query: Tensor, key: Tensor, value: Tensor, **_: Any) -> Tensor:
    """In one kernel, as on a GPU; tensors without values would make a matrix of all by all."""
    return query.clone()


def encode(prior: FrozenPrior) -> None:
    """One view with its gradient."""
    side = prior.image_size
    latents = prior.codec.encode(torch.empty(1, 3, side, side, device=META, requires_grad=True))
    latents.backward(torch.empty_like(latents))


@torch.no_grad()
def network(prior: FrozenPrior) -> None:
    """One guided evaluation."""
    rows = prior.condition(["a", ""]).condition.tensors
    z = torch.empty(2, *prior.latent_shape, device=META, dtype=prior.dtype)
    timestep = torch.empty(2, device=META)
    prior.network(z, timestep, **{name: row.to(prior.dtype) for name, row in rows.items()})


@torch.no_grad()
def decode(prior: FrozenPrior) -> None:
    """One image of 1024 pixels."""
    prior.codec.decode(torch.empty(1, 4, 128, 128, device=META))


def main() -> None:
    """Print the table."""
    functional.scaled_dot_product_attention = attention
    for name in MODELS:
        prior = load(name, False, META)
        vae = prior.codec.vae
        show(name, "encode", encode, prior)
        room, codec._ROOM_FOR_ENCODER = codec._ROOM_FOR_ENCODER, 2**60
        show(name, "encode, all kept", encode, prior)
        codec._ROOM_FOR_ENCODER = room
        vae.enable_gradient_checkpointing()
        show(name, "encode, low memory", encode, prior)
        vae.disable_gradient_checkpointing()
        show(name, "network, two rows", network, prior)
        show(name, "decode 1024", decode, prior)
        prior.codec.always_in_tiles = True
        show(name, "decode 1024 in tiles", decode, prior)


if __name__ == "__main__":
    main()
