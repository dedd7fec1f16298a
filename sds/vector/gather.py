"""Gathers whose gradients are summed in a fixed order, on a CPU and on a GPU.

The gradient of a plain `x[index]` is summed by several threads at once, in the order in which
they come; the last bits then differ from run to run.
"""

from typing import Any

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

__all__ = ["places", "repeat", "sum_into", "take"]


def sum_into(size: int, index: Int[Tensor, " n"], values: Tensor) -> Tensor:
    """out[index[i]] += values[i], shape (size, *values.shape[1:]), in the order of i."""
    out = values.new_zeros((size, *values.shape[1:]))
    if values.is_cuda and values.is_floating_point():
        return out.index_put_((index,), values, accumulate=True)  # sorts; index_add_ races
    return out.index_add_(0, index, values)


def places(which: Shaped[Tensor, " n"]) -> Int[Tensor, " m"]:
    """The indices of what is not zero; on a CPU numpy finds them several times faster."""
    if which.device.type != "cpu":
        return which.nonzero().squeeze(1)
    return torch.from_numpy(np.flatnonzero(which.numpy()))


class _Take(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, index: Tensor) -> Tensor:
        ctx.save_for_backward(index)
        ctx.size = len(x)
        return x.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (index,) = ctx.saved_tensors
        if grad.dim() == 1 or grad.is_cuda:
            return sum_into(ctx.size, index, grad), None
        # On a CPU one pass per column is several times faster than a pass over rows.
        columns = grad.reshape(len(grad), -1).T.contiguous()
        summed = torch.stack([sum_into(ctx.size, index, column) for column in columns], dim=1)
        return summed.view(ctx.size, *grad.shape[1:]), None


class _Repeat(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, counts: Tensor) -> Tensor:
        ctx.save_for_backward(counts)
        return x.repeat_interleave(counts, dim=0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        (counts,) = ctx.saved_tensors
        return torch.segment_reduce(grad.contiguous(), "sum", lengths=counts, axis=0), None


def take(x: Tensor, index: Int[Tensor, " n"]) -> Tensor:
    """x[index] along the first axis."""
    out: Tensor = _Take.apply(x, index)
    return out


def repeat(x: Tensor, counts: Int[Tensor, " n"]) -> Tensor:
    """Row i of x, counts[i] times over."""
    out: Tensor = _Repeat.apply(x, counts)
    return out
