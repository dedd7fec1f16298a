"""Taps: what chosen layers of a frozen network put out, read by forward hooks.

Nothing of the network is replaced. The hooks are gone when the tap is closed, so that the network
is then bit for bit what it was, and a pass ends as soon as the last wanted layer has spoken.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from scorefield.acceleration import as_written

_SHORT = {
    "down_blocks": "down",
    "up_blocks": "up",
    "mid_block": "mid",
    "transformer_blocks": "block",
    "blocks": "block",
    "layers": "block",
    "single_transformer_blocks": "single",
}
# Keys and values of cross-attention, and the text's side of attention over both streams.
_OF_TEXT = re.compile(
    r"attn2\.to_[kv]$|\.add_[qkv]_proj$|\.to_add_out$|_context(\.|$)|^context_refiner(\.|$)"
)


class _Enough(Exception):
    """Every wanted layer has spoken."""


def short_name(path: str) -> str:
    """The short name of a module path: "up1" is up_blocks.1, "mid.resnets.0" mid_block.resnets.0.

    "block" is transformer_blocks (of Wan: blocks, of Z-Image: layers), "single" Flux's
    single_transformer_blocks. What lies inside a block follows after a dot.
    """
    head, _, rest = path.partition(".")
    if head == "mid_block":
        return f"mid.{rest}" if rest else "mid"
    return f"{_SHORT[head]}{rest}" if head in _SHORT else path


def block_paths(model: nn.Module) -> list[str]:
    """The module paths of a model's blocks, as they were registered."""
    paths = []
    for name, child in model.named_children():
        if _OF_TEXT.search(name):
            continue
        if isinstance(child, nn.ModuleList):
            paths += [f"{name}.{i}" for i in range(len(child))]
        elif name == "mid_block":
            paths.append(name)
    return paths


def layer_path(model: nn.Module, name: str) -> str:
    """The module path of a layer, given by that or by its short name.

    Raises:
        ValueError: the model has no such layer, said with the nearest name and all blocks; or it is
            a layer of the text.
    """
    modules = model.named_modules()
    paths = [path for path, m in modules if path and not isinstance(m, nn.ModuleList)]
    names = {path: path for path in paths} | {short_name(path): path for path in paths}
    found = names.get(name)
    if found is None:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" (did you mean {near[0]}?)" if near else ""
        blocks = ", ".join(map(short_name, block_paths(model)))
        raise ValueError(
            f"there is no layer {name!r}{hint}; the blocks are {blocks}, and the path of a module "
            "inside one may follow after a dot"
        )
    if _OF_TEXT.search(found):
        raise ValueError(f"layer {name!r} is of the text, not of the image; tap the block or to_q")
    return found


@contextmanager
def tapped(model: nn.Module, paths: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Inside, a pass of the model fills the dictionary with the outputs of modules, by their paths.

    The pass that has them all ends there, and so does the block: nothing after it is computed.

    Raises:
        ValueError: a pass came to its end without one of them.
    """
    modules = dict(model.named_modules())
    wanted = set(paths)
    found: dict[str, Any] = {}

    def hook_of(path: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            found[path] = output
            if found.keys() == wanted:
                raise _Enough

        return hook

    handles = [modules[path].register_forward_hook(hook_of(path)) for path in wanted]
    try:
        with as_written():
            yield found
        missing = ", ".join(sorted(short_name(path) for path in wanted - found.keys()))
        raise ValueError(
            f"the pass ended without the layers {missing}; tap others, or at a higher noise level"
        )
    except _Enough:
        return
    finally:
        for handle in handles:
            handle.remove()


def to_maps(output: Any, path: str, latent: Sequence[int], batch: int, patch: int = 2) -> Tensor:
    """A layer's output as maps (batch, channels, h, w), of videos (batch, frames, channels, h, w).

    Tokens become maps of the grid, the latent's halved some number of times, that has their number.
    Of two streams, text and image, the image's is taken.

    latent: the shape of one latent, (channels, height, width), of videos (frames, ...) before it.
    patch: latent cells along a side of a token, where text and image are one sequence.

    Raises:
        ValueError: the output does not have one value per place.
    """
    outputs = [output] if isinstance(output, Tensor) else [t for t in output if t is not None]
    tensors = [t for t in outputs if isinstance(t, Tensor)]
    if path.rpartition(".")[2].startswith("attn"):
        tensors.reverse()  # attention over two streams returns the image's first, blocks last
    frames = latent[0] if len(latent) == 4 else 1
    tried = (_maps(t, path, tuple(latent[-2:]), batch, frames, patch) for t in reversed(tensors))
    maps = next((found for found in tried if found is not None), None)
    if maps is None:
        shape = tuple(tensors[-1].shape) if tensors else type(output).__name__
        raise ValueError(
            f"layer {short_name(path)} puts out {shape}, not one value per place of the image; "
            "tap a block, or the to_q of an attention"
        )
    return maps.unflatten(0, (batch, frames)) if len(latent) == 4 else maps


def _maps(
    output: Tensor, path: str, grid: tuple[int, ...], batch: int, frames: int, patch: int
) -> Tensor | None:
    """Maps (batch frames, channels, h, w), or None."""
    if output.ndim == 5 and output.shape[::2][:2] == (batch, frames):
        return output.transpose(1, 2).flatten(0, 1)
    if output.ndim == 4:
        return output if len(output) == batch * frames else None
    if output.ndim != 3 or len(output) not in (batch, batch * frames):
        return None
    per_row = batch * frames // len(output)  # frames that are one sequence
    if path.startswith("single_transformer_blocks."):
        # inside these blocks the tokens of the text come first, in one sequence with the image's
        output = output[:, -(grid[0] // patch) * (grid[1] // patch) :]
    if path.startswith(("layers.", "noise_refiner.")):
        # Z-Image's come first, filled up to a multiple of 32
        output = output[:, : (grid[0] // patch) * (grid[1] // patch)]
    while output.shape[1] != per_row * grid[0] * grid[1]:
        if max(grid) == 1:
            return None
        grid = ((grid[0] + 1) // 2, (grid[1] + 1) // 2)
    maps = output.unflatten(1, (per_row, *grid)).permute(0, 1, 4, 2, 3)
    return maps.flatten(0, 1)
