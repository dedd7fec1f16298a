"""The deterministic walk from noise to sample, one step at a time, for loops written by hand.

`sample` runs diffusers' schedulers; what needs the single step (inversion, editing, particles) uses
these two functions, which visit the same levels as `sample` does by default.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import DiscreteSchedule, NoiseSchedule


def level_path(schedule: NoiseSchedule, steps: int) -> list[NoiseLevel]:
    """The steps + 1 levels from the noisiest of a schedule to the clean one, alpha = 1, sigma = 0.

    A discrete schedule is visited at timesteps round(T (1 - i / steps)) - 1, "trailing" (Lin et al.
    2023, section 3.3); any other at equal fractions.  Every level has shape () and float64.

    Raises:
        ValueError: steps below 1, or more than the schedule has.
    """
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")
    levels: Sequence[NoiseLevel]
    if isinstance(schedule, DiscreteSchedule):
        count = schedule.num_timesteps
        if steps > count:
            raise ValueError(f"steps must be at most the schedule's {count}, got {steps}")
        timesteps = [round(count * (1 - i / steps)) - 1 for i in range(steps)]
        levels = [schedule.at_timestep(torch.tensor(float(t)).double()) for t in timesteps]
    else:
        fractions = [torch.tensor(1 - i / steps, dtype=torch.float64) for i in range(steps)]
        levels = [schedule.at_fraction(u) for u in fractions]
    one = torch.ones((), dtype=torch.float64)
    return [*levels, NoiseLevel(one, torch.zeros_like(one))]


def ddim_step(
    prediction: Prediction,
    to: NoiseLevel,
    eta: float | int = 0.0,
    noise: Float[Tensor, "batch *shape"] | None = None,
) -> Float[Tensor, "batch *shape"]:
    """``z' = alpha' x0 + sqrt(sigma'^2 - s^2) eps + s noise`` (Song et al. 2021, equation 12).

    With u = sigma / alpha and s = eta sigma' sqrt(1 - (u' / u)^2), eta = 1 is the ancestral step of
    DDPM (equation 16, written for any pair of amplitudes) and eta = 0 is deterministic.  Also walks
    towards more noise, with eta = 0.

    Args:
        prediction: the prediction at z.
        to: the level of z', shape () or (batch,).
        eta: in [0, 1]: how much of the noise is drawn anew.
        noise: standard normal; needed when eta > 0.

    Raises:
        ValueError: eta out of range, eta > 0 without noise or towards more noise.
    """
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], got {eta}")
    alpha, sigma = to.like(prediction.z)
    if eta == 0:
        z = alpha * prediction.x0 + sigma * prediction.eps
        return z.to(prediction.z.dtype)
    if noise is None:
        raise ValueError(f"eta = {eta} draws noise; give the noise of the step")
    alpha_from, sigma_from = prediction.level.like(prediction.z)
    # (u' / u)^2 without the division by alpha, which is 0 at zero terminal SNR
    ratio = (sigma * alpha_from / (alpha * sigma_from)) ** 2
    if bool((ratio > 1).any()):
        raise ValueError("eta > 0 walks towards less noise only; use eta = 0 to add noise back")
    fresh = eta * sigma * (1 - ratio).sqrt()
    kept = (sigma**2 - fresh**2).clamp(min=0).sqrt()
    z = alpha * prediction.x0 + kept * prediction.eps + fresh * noise
    return z.to(prediction.z.dtype)
