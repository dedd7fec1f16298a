"""Which noise level a distillation step looks at."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from scorefield.domains import NotNegative, Positive, check_numbers

if TYPE_CHECKING:  # the command line shows these settings without loading torch
    import torch

    from scorefield.priors.levels import NoiseLevel
    from scorefield.priors.schedule import NoiseSchedule


@runtime_checkable
class Levels(Protocol):
    """What names the levels of a step."""

    def draw(
        self, schedule: "NoiseSchedule", progress: float, n: int, generator: "torch.Generator"
    ) -> "NoiseLevel":
        """Levels of n items when `progress` in [0, 1] of the run is done."""
        ...


@dataclass(frozen=True)
class LevelRange:
    """Levels drawn uniformly, by fraction of the schedule, from a range that may move.

    The range is [low, high] at the start and [low, final_high] at the end of the run; the upper
    end moves along the square root of the progress, as HiFA's annealing does (Zhu et al. 2023),
    which leaves most of the run to the low levels where detail is made. With `width` the range is
    [upper end - width, upper end] instead: 0 gives HiFA's deterministic schedule.

    The default (0.02, 0.98) without annealing is DreamFusion's.

    Attributes:
        low: Lowest fraction of the schedule, 0 to 1.
        high: Highest fraction at the start of the run.
        final_high: Highest fraction at the end; None is `high`, without annealing.
        width: Width of the range below its upper end; None goes down to `low`.
    """

    low: float = 0.02
    high: float = 0.98
    final_high: float | None = None
    width: NotNegative | None = None

    def __post_init__(self) -> None:
        final = self.high if self.final_high is None else self.final_high
        if not 0 <= self.low <= final <= 1 or not self.low <= self.high <= 1:
            raise ValueError(
                f"levels need 0 <= low <= final_high, high <= 1; got low {self.low}, "
                f"high {self.high}, final_high {self.final_high}"
            )
        check_numbers(self)

    def bounds(self, progress: float) -> tuple[float, float]:
        """(lowest, highest) fraction when `progress` in [0, 1] of the run is done."""
        final = self.high if self.final_high is None else self.final_high
        high = self.high + (final - self.high) * math.sqrt(progress)
        low = self.low if self.width is None else max(self.low, high - self.width)
        return low, high

    def draw(
        self, schedule: "NoiseSchedule", progress: float, n: int, generator: "torch.Generator"
    ) -> "NoiseLevel":
        """Levels of n items."""
        import torch

        low, high = self.bounds(progress)
        return schedule.at_fraction(low + (high - low) * torch.rand(n, generator=generator))


@dataclass(frozen=True)
class DreamTime:
    """One level for all, falling over the run: time-prioritised sampling (Huang et al. 2023).

    The fraction u of the schedule when `progress` is done solves integral_u^high W = progress
    integral_low^high W (eq. 7): W says how much of the run each level gets. It is 1 between `lower`
    and `upper` and falls off like a Gaussian of widths `lower_width` and `upper_width` outside.
    The defaults are theirs, of 1000 timesteps, between DreamFusion's limits.
    """

    low: float = 0.02
    high: float = 0.98
    lower: float = 0.5
    upper: float = 0.8
    lower_width: Positive = 0.1
    upper_width: Positive = 0.3

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.lower <= self.upper <= self.high <= 1:
            raise ValueError(
                "DreamTime needs 0 <= low <= lower <= upper <= high <= 1; got "
                f"{self.low}, {self.lower}, {self.upper}, {self.high}"
            )
        check_numbers(self)

    def weight(self, fraction: float) -> float:
        """W, 1 on the plateau."""
        if fraction > self.upper:
            return math.exp(-(((fraction - self.upper) / self.upper_width) ** 2) / 2)
        return math.exp(-((max(self.lower - fraction, 0.0) / self.lower_width) ** 2) / 2)

    def at(self, progress: float) -> float:
        """The fraction of the schedule when `progress` in [0, 1] of the run is done."""
        root = math.sqrt(2)
        top, bottom = self.upper_width * root, self.lower_width * root
        half = math.sqrt(math.pi) / 2  # integral_0^d exp(-x^2 / 2 s^2) = s sqrt(2) half erf(...)
        above = math.erf((self.high - self.upper) / top)
        below = math.erf((self.lower - self.low) / bottom)
        parts = (half * top * above, self.upper - self.lower, half * bottom * below)
        passed = progress * sum(parts)
        if passed < parts[0]:
            return min(self.high, self.upper + top * _erfinv(above - passed / (half * top)))
        if passed < parts[0] + parts[1]:
            return self.upper - (passed - parts[0])
        rest = (passed - parts[0] - parts[1]) / (half * bottom)
        return max(self.low, self.lower - bottom * _erfinv(min(rest, below)))

    def draw(
        self, schedule: "NoiseSchedule", progress: float, n: int, generator: "torch.Generator"
    ) -> "NoiseLevel":
        """The same level n times; nothing is drawn."""
        return schedule.at_fraction(self.at(progress)).expand(n)


def _erfinv(y: float) -> float:
    import torch

    return torch.erfinv(torch.tensor(y, dtype=torch.float64)).item()
