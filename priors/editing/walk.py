"""What the edits share: which levels they visit, whose noise they draw, and the walk itself."""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor
from tqdm.auto import tqdm

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import noise_generator
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import NoiseSchedule
from scorefield.priors.steps import level_path

# Keys of an item's noise, those of `sample`: what it starts from, and what is added on the way.
START, ON_THE_WAY = 0, 1

Step = TypeVar("Step")

Advance = Callable[[Prediction, NoiseLevel, int], Tensor]
"""From the prediction at z, the next level and the number of the step to the next z."""


def levels_walked(
    schedule: NoiseSchedule, steps: int, strength: float | int = 1.0
) -> list[NoiseLevel]:
    """The last max(1, round(strength steps)) steps of `level_path`, noisiest level first.

    Raises:
        ValueError: strength outside (0, 1], or steps that the schedule does not have.
    """
    if not 0 < strength <= 1:
        raise ValueError(f"strength must lie in (0, 1], got {strength}; 1 starts from pure noise")
    path = level_path(schedule, steps)
    return path[-1 - max(1, round(strength * steps)) :]


def items_of(x: Tensor, items: Sequence[int] | None) -> Sequence[int]:
    """The items whose noise the rows of ``x`` are given: their places, unless said otherwise."""
    if items is None:
        return range(len(x))
    if len(items) != len(x):
        raise ValueError(f"items must name each of the {len(x)} rows, got {len(items)}")
    return items


class RowNoise:
    """Standard normal noise, every row from a generator of its own, so that no batch changes it."""

    def __init__(self, seed: int, items: Sequence[int]) -> None:
        self._generators = [noise_generator(seed, item, ON_THE_WAY) for item in items]

    def like(self, z: Tensor) -> Tensor:
        """The next draw, of the shape, dtype and device of ``z``."""
        rows = [torch.randn(*z.shape[1:], generator=g) for g in self._generators]
        return torch.stack(rows).to(z.dtype).to(z.device)


def bar(steps: Sequence[Step], what: str, shown: bool) -> Iterable[Step]:
    """The steps, with a progress bar if it is to be shown."""
    return tqdm(steps, desc=what, disable=not shown, leave=False)


def walk(
    denoiser: Denoiser,
    z: Tensor,
    levels: Sequence[NoiseLevel],
    advance: Advance,
    *,
    progress: bool = False,
) -> Tensor:
    """Go from the first level to the last, one evaluation of the denoiser per step.

    Raises:
        FloatingPointError: as soon as z is not finite.
    """
    steps = list(pairwise(levels))
    for i, (level, to) in enumerate(bar(steps, "denoising", progress)):
        z = advance(denoiser(z, level), to, i)
        check_finite(z, to)
    return z


def check_finite(z: Tensor, level: NoiseLevel) -> None:
    """Raise FloatingPointError if z, just arrived at a level, is not finite."""
    if not bool(z.isfinite().all()):
        raise FloatingPointError(
            f"not finite at log-SNR {float(level.log_snr):.4g}; "
            "lower the guidance scale or use a higher precision"
        )
