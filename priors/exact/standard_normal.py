"""The standard normal distribution as a denoiser: what a prior is before it knows anything."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import NoiseSchedule


class StandardNormal(Denoiser):
    """N(0, I) of any shape: score -z / (alpha^2 + sigma^2), and v = 0 at every level.

    Args:
        schedule: the schedule it is seen through.
    """

    def __init__(self, schedule: NoiseSchedule) -> None:
        self.schedule = schedule

    def predict(self, z: Float[Tensor, "batch *shape"], level: NoiseLevel) -> Prediction:
        """x0 = alpha z / (alpha^2 + sigma^2) and eps = sigma z / (alpha^2 + sigma^2)."""
        return Prediction.from_v(z, level, torch.zeros_like(z))

    def energy(
        self, z: Float[Tensor, "batch *shape"], level: NoiseLevel
    ) -> Float[Tensor, " batch"]:
        """E(z) = -log p(z), normalised."""
        flat = z.flatten(1)
        alpha, sigma = level.expand(len(z)).like(flat)
        variance = alpha**2 + sigma**2
        terms = flat**2 / variance + (2 * math.pi * variance).log()
        return 0.5 * terms.sum(dim=1)
