"""What a pass of a prior needs in memory, estimated before anything is computed."""

from contextlib import suppress
from dataclasses import dataclass
from math import prod
from weakref import WeakKeyDictionary

import torch
from torch import nn

from scorefield.devices import machine_memory
from scorefield.priors.codec_memory import codec_memory
from scorefield.priors.features.network_cost import LayerCost, network_cost
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.prior import ImagePrior
from scorefield.priors.text import PromptConditioner

MEMORY_GIB = 4.0
"""What a pass may take where no limit is given: that of small graphics cards, less the weights."""

# The largest tensors that live at once, in units of the largest output of a block: the gated
# linear layer of a transformer puts out eight times its input and keeps half of that, beside the
# block's own input and output.
_LIVE_IN_A_BLOCK = 16

# Counting takes longer than a small image, and many come of one prior.
_counted: WeakKeyDictionary[FrozenPrior, list[LayerCost]] = WeakKeyDictionary()


@dataclass(frozen=True)
class PassMemory:
    """Bytes, beside those of the weights, for one image.

    row: of one row of a batch through the network.
    codec: of one through the encoder or the decoder; 0 of a codec without networks.
    """

    row: int
    codec: int

    @property
    def most(self) -> int:
        """The larger of the two: they do not live at once."""
        return max(self.row, self.codec)


def memory_estimate(
    prior: FrozenPrior, area: float | int = 1.0, prompt: str | None = None
) -> PassMemory:
    """The memory of a pass, on the safe side.

    Attention is taken as computed in one kernel, as torch does it, never as a matrix of all places
    by all places.

    area: of the image, or video, in units of the prior's own.
    prompt: one that the prior accepts; None is no prompt.
    """
    elements = layer_elements(prior, prompt)
    kept = sum(count for path, count in elements.items() if path.startswith("down_blocks."))
    row = (kept + _LIVE_IN_A_BLOCK * max(elements.values())) * area * prior.dtype.itemsize
    codec = codec_memory(prior.codec, prior.image_size, prior.frames or 1)
    return PassMemory(int(row), int(codec * area))


def free_memory(device: torch.device | str) -> int | None:
    """Bytes free on a CUDA device; None on others, which share the machine's memory."""
    device = torch.device(device)
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def room_for_a_batch(device: torch.device | str) -> int:
    """Bytes that a batch may take beside the weights where no limit is given.

    Half of what is free, for an estimate is no promise; on a CPU, where a larger batch is no
    faster, and where nobody tells what is free, at most `MEMORY_GIB`.
    """
    free, usual = free_memory(device), int(MEMORY_GIB * 2**30)
    if free is not None:
        return free // 2
    available = machine_memory()[0]
    return usual if available is None else min(usual, available // 2)


def rows_in_room(prior: ImagePrior, most: int, prompt: str | None = None) -> int:
    """Rows of a batch for which there is room on the prior's device: a power of two, or `most`.

    prompt: one that the prior accepts; None is no prompt.
    """
    if not isinstance(prior, FrozenPrior):
        return most
    memory = memory_estimate(prior, prompt=prompt)
    rows = max(1, room_for_a_batch(prior.device) // max(1, memory.row))
    return most if rows >= most else int(2 ** (rows.bit_length() - 1))


def check_room(prior: FrozenPrior, free: int, *, low_memory: bool = False) -> None:
    """Refuse a device on which the weights and one image, guided, have no room.

    free: bytes.
    low_memory: the text encoders stay on the CPU.

    Raises:
        ValueError: the estimates, and what to lower.
    """
    network = weights_memory(prior.network)
    vae = getattr(prior.codec, "vae", None)
    codec = 0 if vae is None else weights_memory(vae)
    text = 0
    if isinstance(prior.text, PromptConditioner) and not low_memory:
        text = sum(map(weights_memory, prior.text.modules()))
    image = 0
    with suppress(ValueError):  # a prior that cannot do without a prompt
        memory = memory_estimate(prior)
        image = max(2 * memory.row, memory.codec)
    needed = network + codec + text + image
    if needed <= free:
        return
    spare = "" if low_memory else "give --low-memory, "
    raise ValueError(
        f"{prior.name} needs about {needed / 2**30:.3g} GiB (network {network / 2**30:.2g}, text "
        f"encoders {text / 2**30:.2g}, codec {codec / 2**30:.2g}, one image "
        f"{image / 2**30:.2g}) and {free / 2**30:.3g} are free; {spare}--dtype float16, a "
        "smaller --image-size, or --device cpu"
    )


def weights_memory(module: nn.Module) -> int:
    """Bytes of a module's parameters."""
    return sum(p.numel() * p.element_size() for p in module.parameters())


def gradient_memory(prior: FrozenPrior, prompt: str | None = None) -> int:
    """Bytes, beside those of the weights, of one row whose pass is differentiated.

    What every layer puts out is kept until the way back, with as much inside it as lives at once:
    11.7 MiB on the embedded `shapes`, where 7.2 to 10.8 were measured.
    """
    kept = sum(layer_elements(prior, prompt).values())
    return int(_LIVE_IN_A_BLOCK * kept * prior.dtype.itemsize)


def layer_elements(prior: FrozenPrior, prompt: str | None = None) -> dict[str, int]:
    """Numbers that each layer puts out for one image of the prior's own size, by its path."""
    return {layer.path: prod(layer.shape) for layer in _layers(prior, prompt)}


def _layers(prior: FrozenPrior, prompt: str | None = None) -> list[LayerCost]:
    if prior not in _counted:
        _counted[prior] = network_cost(prior, prompt, inner=True).layers
    return _counted[prior]


def size_that_fits(prior: FrozenPrior, size: int, need: float | int, room: float | int) -> int:
    """The largest side for which there is room, if memory is in proportion to the area; 0: none.

    size: the side, pixels, that needs so much.
    """
    cell = size_multiple(prior)
    return int(size * min(1.0, room / need) ** 0.5 / cell) * cell


def size_multiple(prior: FrozenPrior) -> int:
    """Pixels by which codec and network divide the sides of an image: the coarsest cell's side."""
    side = prior.latent_shape[-1]
    coarsest = min(layer.shape[-1] for layer in _layers(prior))
    cell = int(prior.codec.factor)
    while side > coarsest:
        side, cell = (side + 1) // 2, 2 * cell
    return cell
