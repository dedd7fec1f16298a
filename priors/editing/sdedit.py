"""SDEdit: noise a sample part of the way, and denoise it under another condition."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.experts import check_is_denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import (
    ON_THE_WAY,
    START,
    item_generators,
    items_of,
    keyed_noise,
    normal,
)
from scorefield.priors.steps import ddim_step, denoise_loop, trajectory_levels


@torch.no_grad()
def sdedit(
    denoiser: Denoiser,
    x: Float[Tensor, "batch *shape"],
    *,
    strength: float | int = 0.6,
    steps: int = 50,
    eta: float | int = 0.0,
    seed: int = 0,
    items: Sequence[int] | None = None,
    progress: bool = False,
) -> Float[Tensor, "batch *shape"]:
    """``x`` noised to a level and walked down from there (Meng et al. 2022, Algorithm 1).

    Of the ``steps`` that sampling would take, the last max(1, round(strength steps)) are walked.
    Strength 1 starts at the noisiest level; where that holds no signal, the result is a sample and
    knows nothing of ``x``.  The smaller the strength, the more of ``x`` stays.

    Row i depends on (seed, items[i]) and x[i] only, so a large batch may be cut into pieces.

    Args:
        denoiser: what to move towards, usually guided; conditioned for one item or for all.
        x: clean samples in the space of the denoiser: latents of images, or of videos
            (batch, F, C, h, w).
        strength: in (0, 1].
        steps: of a walk from the noisiest level.
        eta: 0 walks by DDIM, 1 by ancestral steps, as in the paper; between them is allowed.
        seed: of the noise.
        items: whose noise each row gets; 0 ... batch - 1 if None.
        progress: show a progress bar.

    Raises:
        ValueError: no denoiser first, strength, steps or eta out of range, or another number of
            items than rows.
        FloatingPointError: as soon as a sample is not finite.
    """
    check_is_denoiser(denoiser)
    if not 0 <= eta <= 1:
        raise ValueError(f"eta must lie in [0, 1], got {eta}")
    levels = trajectory_levels(denoiser.schedule, steps, strength)
    items = items_of(len(x), items)
    generators = item_generators(len(x), seed, items, ON_THE_WAY)

    def step(z: Tensor, here: NoiseLevel, to: NoiseLevel, _: int) -> Tensor:
        noise = normal(x, generators) if eta > 0 else None
        return ddim_step(denoiser(z, here), to, eta, noise)

    start = keyed_noise(seed, items, START, x.shape[1:], x.dtype, x.device)
    z = levels[0].add_noise(x, start).to(x.dtype)
    return denoise_loop(z, levels, step, progress=progress)
