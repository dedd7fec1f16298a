"""The walk from noise to sample: the levels it visits, a step of it, and the loop.

`sample` runs diffusers' schedulers, which keep the loop's state in coordinates of their own; what
needs the single step (inversion, editing, continued chunks, injected attention) walks by
`denoise_loop`, and visits the same levels as `sample` does by default. Loops of their own have
those that carry more than z: particles with weights, superpositions and likelihoods, which add up
densities along the way; annealed Langevin chains, which stay at each level; and the solver of
policies, whose steps are numbers that are exported.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule, NoiseSchedule

StepRule = Callable[[Tensor, NoiseLevel, NoiseLevel, int], Tensor]
"""From z, its level, the level to go to and the number of the step to the z there."""


def level_path(schedule: NoiseSchedule, steps: int) -> list[NoiseLevel]:
    """The steps + 1 levels from the noisiest of a schedule to the clean one, alpha = 1, sigma = 0.

    A discrete schedule is visited at timesteps round(T (1 - i / steps)) - 1, "trailing" (Lin et al.
    2023, section 3.3), a flow's at its `sampling_fractions`, any other at equal fractions.  Every
    level has shape () and float64.

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
        fractions = [1 - i / steps for i in range(steps)]
        if isinstance(schedule, FlowSchedule):
            fractions = schedule.sampling_fractions(steps)
        levels = [schedule.at_fraction(torch.tensor(u, dtype=torch.float64)) for u in fractions]
    one = torch.ones((), dtype=torch.float64)
    return [*levels, NoiseLevel(one, torch.zeros_like(one))]


def trajectory_levels(
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


def denoise_loop(
    z: Float[Tensor, "batch *shape"],
    levels: Sequence[NoiseLevel],
    step: StepRule,
    *,
    label: str = "denoising",
    progress: bool = False,
) -> Float[Tensor, "batch *shape"]:
    """Go from the first level to the last, cleaner or noisier, by a rule.

    The loop of all that draws, edits and inverts in amplitudes of the denoiser's own schedule:

        denoise_loop(z, levels, lambda z, here, to, i: ddim_step(denoiser(z, here), to))

    Args:
        z: at the first level.
        levels: two or more, each of shape ().
        step: the rule. It asks the denoiser itself, once or more often, or not at all.
        label: of the progress bar.
        progress: show a progress bar.

    Raises:
        FloatingPointError: z is not finite, on a CPU as soon as it is not.
    """
    pairs, finite = list(pairwise(levels)), FiniteCheck()
    for i, (here, to) in enumerate(tqdm(pairs, desc=label, disable=not progress, leave=False)):
        z = step(z, here, to, i)
        finite.note(z, to)
    finite.end()
    return z


class FiniteCheck:
    """Whether what walked is finite: on a CPU after every step, elsewhere asked once at the end.

    Reading the answer of a step from a GPU would keep it idle until the next one is begun.
    """

    def __init__(self) -> None:
        self._found: list[Tensor] = []
        self._levels: list[NoiseLevel] = []

    def note(self, z: Tensor, level: NoiseLevel) -> None:
        """z has just arrived at, or left, a level.

        Raises:
            FloatingPointError: on a CPU, it is not finite.
        """
        self._found.append(z.isfinite().all())
        self._levels.append(level)
        if z.device.type == "cpu":
            self.end()

    def end(self) -> None:
        """Look at all that was noted.

        Raises:
            FloatingPointError: something was not finite; the first level is named.
        """
        if not self._found:
            return
        found = torch.stack(self._found).cpu().tolist()
        levels, self._found, self._levels = self._levels, [], []
        if not all(found):
            raise FloatingPointError(
                f"not finite at log-SNR {float(levels[found.index(False)].log_snr):.4g}; "
                "lower the guidance scale or use a higher precision"
            )
