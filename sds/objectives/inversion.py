"""Objectives whose noise is not drawn but found by DDIM inversion: ISM and SDI.

Noise drawn anew in every step pulls x towards another sample each time; the noise that the prior
itself leads x to is always the same one.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.domains import Count, Share, check_numbers
from scorefield.priors.denoiser import Denoiser
from scorefield.priors.guidance.classifier_free import ClassifierFreeGuidance
from scorefield.priors.prediction import Prediction
from scorefield.priors.steps import ddim_step
from scorefield.sds.objective import (
    NoisedLatents,
    PromptedDenoisers,
    Weight,
    noise_to_signal,
    sigma_squared,
    weighted,
)

FIRST = 0.01
"""The fraction of the schedule at which a prior is asked about clean latents, at most."""


def invert(
    denoiser: Denoiser,
    x: Float[Tensor, "batch *shape"],
    fraction: Float[Tensor, " batch"],
    steps: int,
) -> Float[Tensor, "batch *shape"]:
    """The noised latents that DDIM, walked backwards from x, arrives at (Song et al. 2021, 4.3).

    Every item walks to its own fraction of the schedule, in equal steps of it. The first step
    starts from the clean x with the noise predicted near the clean end, at
    min(FIRST, fraction / (2 steps)). Costs `steps` evaluations. The error is of the order of
    1 / steps, and of sigma^2 of the schedule's first level where that is not clean.

    fraction: of the schedule, above 0.
    """
    schedule = denoiser.schedule
    first = schedule.at_fraction((fraction / (2 * steps)).clamp(max=FIRST))
    to = schedule.at_fraction(fraction / steps)
    alpha, _ = first.like(x)
    z = to.add_noise(x, denoiser(alpha * x, first).eps)
    for k in range(1, steps):
        prediction = denoiser(z, to)
        to = schedule.at_fraction(fraction * ((k + 1) / steps))
        z = ddim_step(prediction, to)
    return z


@dataclass(frozen=True)
class ISM:
    """w (eps_guided(z_t) - eps_uncond(z_s)): interval score matching (Liang et al. 2024).

    z_s is the unconditional inversion of x, and z_t one more step of it, s = t - gap. No noise is
    drawn. For many steps and a small gap it is, on a Gaussian N(m, s_0^2), unguided, with
    v = alpha^2 s_0^2 + sigma^2, w (sigma_t / sqrt(v_t) - sigma_s / sqrt(v_s)) (x - m) / s_0.

    gap: t - s, as a fraction of the schedule; 0.05 is theirs of 50 timesteps of 1000. At levels
        below twice the gap it is half of t.
    steps: of the inversion to s.
    """

    gap: float = 0.05
    steps: Count = 5
    weight: Weight = noise_to_signal
    needs: ClassVar[tuple[str, ...]] = ("guided", "uncond")

    def __post_init__(self) -> None:
        if not 0 < self.gap < 1:
            raise ValueError(f"gap must lie between 0 and 1; got {self.gap}")
        check_numbers(self)

    def __call__(
        self, denoisers: PromptedDenoisers, point: NoisedLatents
    ) -> tuple[Tensor, Prediction]:
        """See the class."""
        uncond = denoisers.need("uncond")
        t = uncond.schedule.fraction(point.level)
        s = torch.maximum(t - self.gap, t / 2)
        before = uncond(invert(uncond, point.x, s, self.steps), uncond.schedule.at_fraction(s))
        after = denoisers.guided(ddim_step(before, point.level), point.level)
        return weighted(self.weight, point.level, after.eps - before.eps), after


@dataclass(frozen=True)
class SDI:
    """w (eps_guided(z) - eps_x), z = alpha x + sigma eps_x: score distillation via inversion.

    Lukoianov et al. 2024: eps_x is the noise that inversion leads x to, so that x moves as the x0
    of a DDIM trajectory does. In the limit of many steps on a Gaussian N(m, s^2), unguided, with
    v = alpha^2 s^2 + sigma^2, it is w (alpha / sigma) (1 - alpha s / sqrt(v)) (x - m): free of
    noise, and still towards the mean at every level, though less and less as sigma falls.

    Made for levels that fall over the run: ``LevelRange(0.25, 0.98, 0.25, width=0.0)``, say.

    scale: guidance of the inversion. The opposite of the guidance is the reference's choice.
    steps: of the inversion.
    eta: the share of drawn noise, in [0, 1]: eps_x = sqrt(1 - eta^2) found + eta drawn, of the same
        variance. (The reference draws it inside the inversion.)
    """

    scale: float = -7.5
    steps: Count = 10
    eta: Share = 0.3
    weight: Weight = sigma_squared
    needs: ClassVar[tuple[str, ...]] = ("guided", "cond", "uncond")

    def __post_init__(self) -> None:
        check_numbers(self)

    def __call__(
        self, denoisers: PromptedDenoisers, point: NoisedLatents
    ) -> tuple[Tensor, Prediction]:
        """See the class."""
        cond, uncond = denoisers.need("cond"), denoisers.need("uncond")
        towards = ClassifierFreeGuidance(cond, uncond, self.scale)
        fraction = cond.schedule.fraction(point.level)
        alpha, sigma = point.level.like(point.x)
        z = invert(towards, point.x, fraction, self.steps)
        found = (z - alpha * point.x) / sigma
        eps = (1 - self.eta**2) ** 0.5 * found + self.eta * point.eps
        prediction = denoisers.guided(point.level.add_noise(point.x, eps), point.level)
        return weighted(self.weight, point.level, prediction.eps - eps), prediction
