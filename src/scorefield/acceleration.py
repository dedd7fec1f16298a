"""Networks compiled, laid out for a GPU, or with layers shared: the same values but for rounding.

Compiled code does not hear of hooks that are registered later, cannot be differentiated twice, and
has wrong gradients on a CPU (torch 2.13): what looks into a network or differentiates it runs under
`as_written`.

Guidance and classification ask a network about one noisy sample under several prompts. Up to its
first cross-attention every row of such a batch is the same, so those layers run on one row of each
sample, and their outputs are repeated: `once_per_sample`.
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import cache
from typing import Any

import torch
from diffusers import ModelMixin, Transformer2DModel, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from jaxtyping import Int
from torch import Tensor, nn

from scorefield.devices import to_device

# Of one row each; others may look at what stands where in the batch.
_ROW_BY_ROW = (AttnProcessor, AttnProcessor2_0)

# What would tell the prompt to the residual layers, beside the time.
_TOLD_WITH_TIME = ("addition_embed_type", "class_embed_type", "num_class_embeds")


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

    A model's first pass compiles it; the first one of another size compiles it for every size.
    Weights and their names stay.
    """
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


@contextmanager
def once_per_sample(model: nn.Module, of: Int[Tensor, " rows"]) -> Iterator[None]:
    """Inside, the layers of a U-Net that see no prompt run once per noisy sample.

    Values are those of the whole batch, but for the rounding of another batch size. Batches of
    another length, other threads, compiled networks and networks of other kinds are computed as
    always.

    Args:
        model: the network; a `UNet2DConditionModel` shares layers.
        of: which sample each row of the batch holds, from 0, in main memory; rows of one sample
            agree in their values and their timesteps.
    """
    rows, layers = len(of), layers_before_text(model)
    samples = int(of.max()) + 1
    if samples == rows or not layers:
        yield
        return
    first = torch.empty(samples, dtype=torch.long)
    first[of] = torch.arange(rows)
    thread, narrowed = threading.get_ident(), set[nn.Module]()

    @cache
    def places(device: torch.device) -> tuple[Tensor, Tensor]:  # offloaded weights are elsewhere
        return to_device(first, device), to_device(of, device)

    def narrow(layer: nn.Module, args: Any, kwargs: Any) -> tuple[Any, Any] | None:
        given = [*args, *kwargs.values()]
        if threading.get_ident() != thread or not _counts(given[0], rows):
            return None
        narrowed.add(layer)
        index, _ = places(given[0].device)
        return _rows(args, index, rows), {k: _rows(v, index, rows) for k, v in kwargs.items()}

    def widen(layer: nn.Module, args: Any, kwargs: Any, output: Any) -> Any:
        if threading.get_ident() != thread or layer not in narrowed:
            return None
        narrowed.remove(layer)
        whole = output[0] if isinstance(output, tuple) else output
        return _rows(output, places(whole.device)[1], samples)

    with ExitStack() as hooks:
        for layer in layers:
            before = layer.register_forward_pre_hook(narrow, with_kwargs=True)
            # ahead of others' hooks, which then see all rows
            after = layer.register_forward_hook(widen, with_kwargs=True, prepend=True)
            hooks.callback(before.remove)
            hooks.callback(after.remove)
        yield


def layers_before_text(model: nn.Module) -> list[nn.Module]:
    """The layers of a U-Net whose values depend on the sample and the timestep alone, in order.

    None of a network that is compiled, of another kind, or told of the prompt with the time, as
    Stable Diffusion XL is by its pooled text.
    """
    if not isinstance(model, UNet2DConditionModel) or model._compiled_call_impl is not None:
        return []
    if any(model.config.get(name) is not None for name in _TOLD_WITH_TIME):
        return []
    layers: list[nn.Module] = [model.conv_in]
    for block in model.down_blocks:
        if not getattr(block, "has_cross_attention", False):
            layers.append(block)
            continue
        layers.append(block.resnets[0])
        seen = block.attentions[0]
        if isinstance(seen, Transformer2DModel):
            layers += [seen.norm, seen.proj_in, *_self_attention(seen.transformer_blocks[0])]
        return layers
    return layers


def _self_attention(block: Any) -> list[nn.Module]:
    """The layers of a transformer block that come before its cross-attention."""
    plain = block.norm_type == "layer_norm" and not block.only_cross_attention
    if not plain or not isinstance(block.attn1.processor, _ROW_BY_ROW):
        return []
    return [block.norm1, block.attn1]


def _counts(value: Any, rows: int) -> bool:
    return isinstance(value, Tensor) and value.ndim > 0 and len(value) == rows


def _rows(value: Any, index: Tensor, count: int) -> Any:
    """The rows ``index`` of every tensor of ``count`` rows in a layer's arguments or output."""
    if isinstance(value, tuple):
        return tuple(_rows(one, index, count) for one in value)
    return value[index] if _counts(value, count) else value
