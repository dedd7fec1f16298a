"""Which noise level a distillation step looks at."""

import math
from dataclasses import dataclass

import torch

from scorefield.priors.levels import NoiseLevel, NoiseSchedule


@dataclass(frozen=True)
class LevelRange:
    """Levels drawn uniformly, by fraction of the schedule, from a range that may move.

    The range is [low, high] at the start and [low, final_high] at the end of the run; the upper
    end moves along the square root of the progress, as HiFA's annealing does (Zhu et al. 2023),
    which leaves most of the run to the low levels where detail is made. With `width` the range is
    [upper end - width, upper end] instead: 0 gives HiFA's deterministic schedule.

    The default (0.02, 0.98) without annealing is DreamFusion's.
    """

    low: float = 0.02
    high: float = 0.98
    final_high: float | None = None
    width: float | None = None

    def __post_init__(self) -> None:
        final = self.high if self.final_high is None else self.final_high
        if not 0 <= self.low <= final <= 1 or not self.low <= self.high <= 1:
            raise ValueError(
                f"levels need 0 <= low <= final_high, high <= 1; got low {self.low}, "
                f"high {self.high}, final_high {self.final_high}"
            )
        if self.width is not None and self.width < 0:
            raise ValueError(f"width must be at least 0; got {self.width}")

    def bounds(self, progress: float) -> tuple[float, float]:
        """(lowest, highest) fraction when `progress` in [0, 1] of the run is done."""
        final = self.high if self.final_high is None else self.final_high
        high = self.high + (final - self.high) * math.sqrt(progress)
        low = self.low if self.width is None else max(self.low, high - self.width)
        return low, high

    def draw(
        self, schedule: NoiseSchedule, progress: float, n: int, generator: torch.Generator
    ) -> NoiseLevel:
        """Levels of n items."""
        low, high = self.bounds(progress)
        return schedule.at_fraction(low + (high - low) * torch.rand(n, generator=generator))
