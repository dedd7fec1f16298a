"""What EmerDiff's walks need in memory, estimated before anything is computed."""

from scorefield.perception.segmentation.attention_hooks import projection_paths
from scorefield.priors.features.memory import layer_elements, memory_estimate, size_that_fits
from scorefield.priors.frozen_prior import FrozenPrior


def record_memory(prior: FrozenPrior, area: float | int) -> int:
    """Bytes of the queries and keys of one row.

    area: of the image, in units of the prior's own.
    """
    elements = layer_elements(prior)
    projected = 0
    for path in projection_paths(prior.model):
        inside = [layer for layer in elements if path.startswith(f"{layer}.")]
        projected += elements[max(inside, key=len)] if inside else 0
    return int(projected * area * prior.dtype.itemsize)


def rows_that_fit(prior: FrozenPrior, size: int, steps: int, gib: float | int) -> int:
    """Rows of a batch for which there is room beside the records of so many steps.

    Raises:
        ValueError: not even for two rows, said with the size for which there is.
    """
    area = (size / prior.image_size) ** 2
    row, room = memory_estimate(prior, area).most, gib * 2**30
    fixed = steps * record_memory(prior, area)
    least = fixed + 2 * row
    if least > room:
        fits = size_that_fits(prior, size, least, room)
        hint = f"a size of {fits} fits" if fits else "no size fits"
        raise ValueError(
            f"images of {size}x{size} pixels need {least / 2**30:.3g} GiB in {prior.name}, and "
            f"memory is {gib:.3g} GiB; {hint}, or give more memory"
        )
    return int((room - fixed) // row)


def needed_memory(prior: FrozenPrior, size: int, steps: int, rows: int) -> int:
    """Bytes, beside the weights, of the records of so many steps and a batch of so many rows."""
    area = (size / prior.image_size) ** 2
    return steps * record_memory(prior, area) + rows * memory_estimate(prior, area).most
