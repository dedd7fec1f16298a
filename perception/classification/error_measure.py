"""What a diffusion classifier averages: the error of a prediction, and the levels it is taken at.

For the optimal denoisers of two labels (Kong et al. 2023, "Information-theoretic diffusion"),

    log p(x|c) - log p(x|c') = 1/2 integral dl (E|eps - eps_c'|^2 - E|eps - eps_c|^2)

over the log-SNR l, uniformly. That is the measure "eps", "l2", "log_snr", in nats. Li et al. 2023,
"Your diffusion model is secretly a zero-shot classifier", average |eps - eps_c|^2 uniformly over
the timesteps instead, which is "eps", "l2", "fraction": another weight of the levels.
"""

import math
from dataclasses import dataclass
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.perception.classification.choices import Loss, Quantity, Spacing
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import noise_generator
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import NoiseSchedule

PARTS = 64
"""Parts of an error, whose spread tells how far noise has carried it."""


@dataclass(frozen=True)
class ErrorMeasure:
    """Half the sum over dimensions of a loss, integrated over noise levels.

    quantity: an error of x0 is that of eps times sigma / alpha, one of v that of eps times
        (alpha^2 + sigma^2) / alpha: with "l2" they weight the levels by e^-l, and, for
        variance-preserving levels, by 1 + e^-l. At no signal, eps says nothing and x0 most.
    loss: "l2" has the law above; "l1" and "huber" are robust against outlying dimensions.
    spacing: of the levels.
    log_snr: the range (low, high) of levels, cut to what the schedule has. What lies outside is
        left out of the integral. The default is where images of one label differ from those of
        another: at more noise nothing is told apart, and at less, a network's own mistakes are
        larger than what the labels differ by. Densities in few dimensions need more.

    Raises:
        ValueError: an unknown name, or an empty range.
    """

    quantity: Quantity = "eps"
    loss: Loss = "l2"
    spacing: Spacing = "log_snr"
    log_snr: tuple[float | int, float | int] = (-3.0, 3.0)

    def __post_init__(self) -> None:
        for name, given, accepted in (
            ("quantity", self.quantity, get_args(Quantity)),
            ("loss", self.loss, get_args(Loss)),
            ("spacing", self.spacing, get_args(Spacing)),
        ):
            if given not in accepted:
                raise ValueError(f"{name} must be one of {', '.join(accepted)}; got {given!r}")
        low, high = self.log_snr
        if not low < high:
            raise ValueError(f"log_snr must be a range (low, high), low < high; got {self.log_snr}")

    def levels(self, schedule: NoiseSchedule, u: Float[Tensor, " n"]) -> NoiseLevel:
        """The levels at u in [0, 1] along the range, 0 its low end; float64.

        Raises:
            ValueError: a schedule without levels in the range.
        """
        low, high = self._range(schedule)
        u = u.double()
        if self.spacing == "log_snr":
            return schedule.at_log_snr(low + u * (high - low))
        noisy, clean = self._fractions(schedule)
        return schedule.at_fraction(noisy + u * (clean - noisy))

    def width(self, schedule: NoiseSchedule) -> float:
        """The length of the range of levels, in log-SNR or in fractions."""
        low, high = (
            self._range(schedule) if self.spacing == "log_snr" else self._fractions(schedule)
        )
        return abs(high - low)

    def __call__(
        self,
        prediction: Prediction,
        x: Float[Tensor, "batch *shape"],
        eps: Float[Tensor, "batch *shape"],
    ) -> Float[Tensor, "batch parts"]:
        """Half the summed loss of each item in `PARTS` parts, at least in float32.

        The parts add up to it; each is the sum over some dimensions, dealt out at random, the same
        for all items. Items of fewer dimensions than parts have a single part. `width` is not in
        it.
        """
        alpha, sigma = prediction.level.like(prediction.z)
        if self.quantity == "eps":
            error = prediction.eps - eps
        elif self.quantity == "x0":
            error = prediction.x0 - x
        else:
            error = prediction.v - (alpha * eps - sigma * x)
        size = error.abs().flatten(1)
        if self.loss == "l2":
            size = size.square()
        elif self.loss == "huber":
            size = torch.where(size <= 1, size.square(), 2 * size - 1)
        return _dealt_out(size) / 2

    def _range(self, schedule: NoiseSchedule) -> tuple[float, float]:
        ends = torch.tensor([1.0, 0.0], dtype=torch.float64)
        last, first = schedule.at_fraction(ends).log_snr.tolist()
        low, high = max(self.log_snr[0], last), min(self.log_snr[1], first)
        if not low < high or math.isinf(low) or math.isinf(high):
            raise ValueError(
                f"log_snr {self.log_snr} must overlap the schedule's range, {last:.4g} to "
                f"{first:.4g}, in a finite interval"
            )
        return float(low), float(high)

    def _fractions(self, schedule: NoiseSchedule) -> tuple[float, float]:
        ends = torch.tensor(self._range(schedule), dtype=torch.float64)
        noisy, clean = schedule.fraction(schedule.at_log_snr(ends)).tolist()
        return noisy, clean


def _dealt_out(size: Float[Tensor, "batch dims"]) -> Float[Tensor, "batch parts"]:
    """Sums over as many dimensions in each part as divide evenly, give or take one."""
    dims = size.shape[1]
    if dims < PARTS:
        return size.sum(dim=1, keepdim=True)
    # neighbours are alike, so that parts of a regular pattern would be too
    order = torch.randperm(dims, generator=noise_generator(0)).to(size.device)
    padded = torch.nn.functional.pad(size[:, order], (0, -dims % PARTS))
    return padded.unflatten(1, (-1, PARTS)).sum(dim=1)
