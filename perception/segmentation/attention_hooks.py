"""What EmerDiff does to attention, by forward hooks: record, inject, modulate.

The projections to queries and keys are modules, so a hook that returns a recorded value injects it,
whatever the attention's processor. Nothing of the network is replaced; when a block is left, its
hooks are gone and the network is bit for bit what it was.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from scorefield.acceleration import as_written
from scorefield.priors.features.taps import short_name

Records = dict[str, Tensor]
"""Queries and keys by the path of the projection, each (rows, places, channels)."""


def projection_paths(model: nn.Module) -> list[str]:
    """The paths of all projections to queries and keys."""
    return [path for path, _ in model.named_modules() if path.endswith((".to_q", ".to_k"))]


def cross_attention_paths(model: nn.Module) -> list[str]:
    """The paths of the cross-attentions in the upward blocks, in the order they run."""
    return [
        path
        for path, module in model.named_modules()
        if path.startswith("up_blocks.") and getattr(module, "is_cross_attention", False)
    ]


@contextmanager
def recorded(model: nn.Module) -> Iterator[Records]:
    """Inside, a pass of the model fills the dictionary with the queries and keys it computes.

    Raises:
        ValueError: attention that computes them otherwise, as fused projections do.
    """
    records: Records = {}

    def hook_of(path: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
            records[path] = output.detach()

        return hook

    with _hooks(model, {path: hook_of(path) for path in projection_paths(model)}):
        yield records
    missing = [short_name(path) for path in projection_paths(model) if path not in records]
    if missing:
        raise ValueError(
            f"the pass did not compute {', '.join(missing[:3])}, so attention cannot be injected; "
            "undo fused projections (unfuse_qkv_projections)"
        )


@contextmanager
def injected(model: nn.Module, records: Records, row: int) -> Iterator[None]:
    """Inside, every row of a pass attends with the queries and keys recorded in one row."""

    def hook_of(values: Tensor) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
            return values[row].expand_as(output)

        return hook

    with _hooks(model, {path: hook_of(values) for path, values in records.items()}):
        yield


@contextmanager
def modulated(
    model: nn.Module, path: str, offsets: Float[Tensor, "rows h w"] | None
) -> Iterator[None]:
    """Inside, an attention puts out what it computes plus an offset, the same in all channels.

    It is added after the projection to the output, at each place of the attention's grid: the
    places of EmerDiff's f(softmax(Q K^T / sqrt(d)) V) + c M.

    offsets: by row of the batch; None changes nothing.
    """

    def hook(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        assert offsets is not None
        by_channel = offsets.to(output)
        if output.ndim == 4:  # attention whose input and output are maps
            return output + by_channel[:, None]
        return output + by_channel.flatten(1)[..., None]

    with _hooks(model, {} if offsets is None else {path: hook}):
        yield


@contextmanager
def _hooks(model: nn.Module, hooks: Mapping[str, Any]) -> Iterator[None]:
    modules = dict(model.named_modules())
    handles = [modules[path].register_forward_hook(hook) for path, hook in hooks.items()]
    try:
        with as_written():
            yield
    finally:
        for handle in handles:
            handle.remove()
