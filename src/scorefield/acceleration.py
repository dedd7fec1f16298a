"""Networks compiled by torch.compile, or laid out for a GPU: the same values but for rounding.

Compiled code does not hear of hooks that are registered later, and cannot be differentiated twice:
what needs either runs under `as_written`.
"""

from contextlib import AbstractContextManager

import torch
from diffusers import ModelMixin
from torch import nn
from torch._functorch import config as functorch


def check_compiler(device: torch.device | str) -> None:
    """Try torch.compile on one addition.

    Raises:
        ValueError: it does not work on that device here.
    """
    try:
        torch.compile(lambda x: x + 1)(torch.zeros(2, device=device))
    except Exception as error:  # compilers that are missing, old or broken, each in its own way
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise ValueError(
            f"torch.compile does not work on {device} here ({lines[0]}); it needs a C++ compiler "
            "on a CPU and Triton on CUDA: install it, or leave compile (--compile) out"
        ) from error


def compile_models(network: nn.Module) -> None:
    """Compile the passes of the diffusers models in a prior's network, in place.

    A model's first pass compiles it, and so does its first one with a gradient; the first pass of
    another size compiles it for every size. Weights and their names stay.
    """
    # a graph through the network may be walked several times, as the likelihood's traces do
    functorch.donated_buffer = False
    for module in network.modules():
        if isinstance(module, ModelMixin):
            module.compile()


def as_written() -> AbstractContextManager[None]:
    """Inside, compiled networks run as they are written, so that hooks in them are heard."""
    stance: AbstractContextManager[None] = torch.compiler.set_stance("force_eager")
    return stance


def lay_out_channels_last(module: nn.Module) -> None:
    """Keep the weights of 2D convolutions with their channels last, as tensor cores read them.

    The maps that they put out follow their weights.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            weight = layer.weight
            weight.data = weight.data.contiguous(memory_format=torch.channels_last)
