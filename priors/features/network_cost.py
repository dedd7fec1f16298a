"""What a prior's layers put out and cost, before anything is computed.

The network runs on tensors without storage, so that neither memory nor time is spent, whatever the
model's size, and torch counts the operations.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from scorefield.acceleration import as_written
from scorefield.priors.codec import LatentCodec
from scorefield.priors.features.taps import block_paths, short_name, to_maps
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.prior import Prompts


@dataclass(frozen=True)
class LayerCost:
    """A layer that can be tapped.

    name, path: the short name and the module's path.
    shape: of the map of one image, (channels, h, w), or video, (frames, channels, h, w).
    fraction: of the operations of one network evaluation that are done when it has spoken.
    """

    name: str
    path: str
    shape: tuple[int, ...]
    fraction: float


@dataclass(frozen=True)
class NetworkCost:
    """The layers in the order they run.

    flops: of one evaluation of the network for one image; a multiplication and an addition are
        two operations.
    encode: of the codec's encoder, in network evaluations; None where it is not counted.
    """

    layers: list[LayerCost]
    flops: int
    encode: float | None


def network_cost(
    prior: FrozenPrior, prompts: Prompts | None = None, *, inner: bool = False
) -> NetworkCost:
    """The layers of a prior that can be tapped, their shapes and cost, for its own image size.

    prompts: one that the prior accepts; None is no prompt.
    inner: also the residual and attention layers inside the blocks.
    """
    model = prior.model
    paths = block_paths(model)
    if inner:
        paths += [
            path
            for path, _ in model.named_modules()
            if path.split(".")[-2:-1] in (["resnets"], ["attentions"])
            and any(path.startswith(f"{block}.") for block in paths)
        ]
    shape = prior.latent_shape
    z = torch.empty((1, *shape), dtype=prior.dtype, device="meta")
    condition = {
        name: tensor.to("meta")
        for name, tensor in prior.condition(prompts).condition.expand(1).tensors.items()
    }
    spoken: dict[str, tuple[Any, int]] = {}
    counter = FlopCounterMode(display=False)

    def hook_of(path: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            spoken[path] = output, counter.get_total_flops()

        return hook

    modules = dict(model.named_modules())
    handles = [modules[path].register_forward_hook(hook_of(path)) for path in paths]
    try:
        with torch.no_grad(), as_written(), counter:
            timestep = torch.empty(1, device="meta")
            functional_call(prior.network, _on_meta(prior.network), (z, timestep), condition)
    finally:
        for handle in handles:
            handle.remove()
    total = counter.get_total_flops()
    layers = []
    for path, (output, flops) in spoken.items():
        try:
            maps = to_maps(output, path, shape, 1, getattr(prior.network, "patch", 2))
        except ValueError:
            continue  # not of places
        layers.append(LayerCost(short_name(path), path, tuple(maps.shape[1:]), flops / total))
    return NetworkCost(layers, total, _encode_flops(prior, total))


def _encode_flops(prior: FrozenPrior, total: int) -> float | None:
    if not isinstance(prior.codec, LatentCodec):
        return None
    encoder = _Encoder(prior.codec.vae)
    image = torch.empty(
        (1, 3, prior.image_size, prior.image_size), dtype=prior.codec.vae.dtype, device="meta"
    )
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        functional_call(encoder, _on_meta(encoder), (image,))
    return counter.get_total_flops() / total


class _Encoder(nn.Module):
    """An autoencoder called as its encoder."""

    def __init__(self, vae: nn.Module) -> None:
        super().__init__()
        self.vae: Any = vae

    def forward(self, image: Tensor) -> Tensor:
        found = self.vae.encode(image)
        mean: Tensor = found.latent_dist.mean if hasattr(found, "latent_dist") else found[0]
        return mean


def _on_meta(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers without storage, in place of the module's own."""
    named = [*module.named_parameters(), *module.named_buffers()]
    return {name: tensor.to("meta") for name, tensor in named}
