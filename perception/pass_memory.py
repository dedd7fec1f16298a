"""What a pass of a network needs in memory, estimated before anything is computed."""

from dataclasses import dataclass
from math import prod
from weakref import WeakKeyDictionary

from scorefield.perception.attention_hooks import projection_paths
from scorefield.priors.codec import LatentCodec
from scorefield.priors.network_cost import LayerCost, network_cost
from scorefield.priors.prior import FrozenPrior

# The largest tensors that live at once, in units of the largest output of a block: the gated
# linear layer of a transformer puts out eight times its input and keeps half of that, beside the
# block's own input and output.
_LIVE_IN_A_BLOCK = 16
# In the decoder, in units of the widest full-size map: input, output, normalised and activated.
_LIVE_IN_A_DECODER = 4

# Counting takes longer than segmenting a small picture, and many come of one prior.
_counted: WeakKeyDictionary[FrozenPrior, list[LayerCost]] = WeakKeyDictionary()


@dataclass(frozen=True)
class PassMemory:
    """Bytes, beside those of the weights, for pictures of one size.

    row: of one row of a batch through the network.
    records: of the queries and keys of one row.
    decode: of one row through the decoder.
    """

    row: int
    records: int
    decode: int


def pass_memory(prior: FrozenPrior, size: int) -> PassMemory:
    """The memory of a pass over pictures of size x size pixels, on the safe side.

    Attention is taken as computed in one kernel, as torch does it, never as a matrix of all places
    by all places.
    """
    if prior not in _counted:
        _counted[prior] = network_cost(prior, inner=True).layers
    area = (size / prior.image_size) ** 2
    value = prior.dtype.itemsize
    elements = {layer.path: prod(layer.shape) * area for layer in _counted[prior]}
    kept = sum(count for path, count in elements.items() if path.startswith("down_blocks."))
    projected = 0.0
    for path in projection_paths(prior.model):
        inside = [layer for layer in elements if path.startswith(f"{layer}.")]
        projected += elements[max(inside, key=len)] if inside else 0.0
    decode = 0.0
    if isinstance(prior.codec, LatentCodec):
        # the last up block still has the channels of the one before it
        widest = max(prior.codec.vae.config.block_out_channels[:2])
        decode = _LIVE_IN_A_DECODER * widest * size**2 * prior.codec.vae.dtype.itemsize
    row = (kept + _LIVE_IN_A_BLOCK * max(elements.values())) * value
    return PassMemory(int(row), int(projected * value), int(decode))


def rows_that_fit(prior: FrozenPrior, size: int, steps: int, gib: float | int) -> int:
    """Rows of a batch for which there is room beside the records of so many steps.

    Raises:
        ValueError: not even for two rows, said with the size for which there is.
    """
    need, room = pass_memory(prior, size), gib * 2**30
    row = max(need.row, need.decode)
    fixed = steps * need.records
    least = fixed + 2 * row
    if least > room:
        cell = size_multiple(prior)
        fits = int(size * (room / least) ** 0.5 / cell) * cell
        hint = f"a size of {fits} fits" if fits else "no size fits"
        raise ValueError(
            f"pictures of {size}x{size} pixels need {least / 2**30:.3g} GiB in {prior.name}, and "
            f"memory is {gib:.3g} GiB; {hint}, or give more memory"
        )
    return int((room - fixed) // row)


def size_multiple(prior: FrozenPrior) -> int:
    """Pixels by which codec and network divide the sides of a picture."""
    halvings = max(0, len(getattr(prior.model, "up_blocks", ())) - 1)
    return int(prior.codec.factor * 2**halvings)
