"""DDIM inversion: the noise from which the deterministic sampler makes a given sample."""

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.experts import check_is_denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.steps import ddim_step, denoise_loop, trajectory_levels


@torch.no_grad()
def ddim_invert(
    denoiser: Denoiser,
    x: Float[Tensor, "batch *shape"],
    *,
    steps: int = 50,
    strength: float | int = 1.0,
    iterations: int = 1,
    progress: bool = False,
) -> Float[Tensor, "batch *shape"]:
    """The z that `ddim_generate` walks back to ``x``, up to an error that the arguments control.

    The DDIM step from z at (alpha, sigma) down to z' at (alpha', sigma') is linear in z and in the
    prediction v(z), and solving it for z,

        z = (kept z' + turned v(z)) / length,       kept = alpha^2 + sigma^2,
        turned = alpha' sigma - sigma' alpha,       length = alpha alpha' + sigma sigma',

    is an equation with z on both sides.  It is iterated from z = z' (Pan et al. 2023, "Effective
    real image editing with accelerated iterative diffusion inversion"; there in eps, here in v,
    which exists at zero terminal SNR).  One iteration is plain DDIM inversion (Song et al. 2021,
    section 4.3).  Where v is smooth, the error of the round trip falls as steps^-iterations; under
    strong guidance the iteration need not converge.

    Args:
        denoiser: under the prompt that describes ``x``; best unguided.
        x: clean samples in the space of the denoiser.
        steps: of a walk to the noisiest level.
        strength: in (0, 1]; how far up to walk, as in `sdedit`.
        iterations: evaluations of the denoiser per step.
        progress: show a progress bar.

    Raises:
        ValueError: no denoiser first; strength, steps or iterations out of range; or a single step
            from a level without signal to the clean one, which nothing inverts.
        FloatingPointError: as soon as z is not finite.
    """
    check_is_denoiser(denoiser)
    if iterations < 1:
        raise ValueError(f"iterations must be >= 1, got {iterations}")
    upwards = trajectory_levels(denoiser.schedule, steps, strength)[::-1]
    if len(upwards) == 2 and float(upwards[1].alpha) == 0:
        raise ValueError(
            "one step from a level without signal to the clean one cannot be inverted; "
            f"use more steps than {steps}"
        )

    def step(z_below: Tensor, below: NoiseLevel, level: NoiseLevel, _: int) -> Tensor:
        alpha_below, sigma_below = below.like(x)
        alpha, sigma = level.like(x)
        kept = alpha**2 + sigma**2
        turned = alpha_below * sigma - sigma_below * alpha
        length = alpha * alpha_below + sigma * sigma_below
        z = z_below
        for _ in range(iterations):
            z = ((kept * z_below + turned * denoiser(z, level).v) / length).to(x.dtype)
        return z

    return denoise_loop(x, upwards, step, label="inverting", progress=progress)


@torch.no_grad()
def ddim_generate(
    denoiser: Denoiser,
    z: Float[Tensor, "batch *shape"],
    *,
    steps: int = 50,
    strength: float | int = 1.0,
    progress: bool = False,
) -> Float[Tensor, "batch *shape"]:
    """The clean sample that DDIM makes of ``z``; what `ddim_invert` inverts.

    Under another prompt than that of the inversion it is an edit.

    Args:
        denoiser: what to sample.
        z: at the level that ``steps`` and ``strength`` name, usually from `ddim_invert`.
        steps: of a walk from the noisiest level.
        strength: in (0, 1]; from how far up to walk.
        progress: show a progress bar.

    Raises:
        ValueError: no denoiser first, strength or steps out of range.
        FloatingPointError: as soon as z is not finite.
    """
    check_is_denoiser(denoiser)

    def step(z: Tensor, here: NoiseLevel, to: NoiseLevel, _: int) -> Tensor:
        return ddim_step(denoiser(z, here), to)

    levels = trajectory_levels(denoiser.schedule, steps, strength)
    return denoise_loop(z, levels, step, progress=progress)
