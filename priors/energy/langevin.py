"""Sampling by Markov chains alone: Langevin at one level, annealed Langevin through all of them.

Predictor-corrector sampling (Song et al. 2021, Algorithm 1) is `sample` with a corrector:
``sample(denoiser, shape, n, corrector=ULA(steps=2, step_size=0.1))``.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.energy.likelihood import level_grid
from scorefield.priors.energy.mcmc import Corrector, Moved
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import item_generators, normal


def langevin(
    denoiser: Denoiser,
    z: Float[Tensor, "batch *shape"],
    level: NoiseLevel,
    corrector: Corrector,
    *,
    seed: int = 0,
    items: Sequence[int] | None = None,
) -> Moved:
    """A chain at one level, from z: the moved samples, and the share of proposals accepted.

    Args:
        denoiser: whose density at ``level`` the chain samples.
        z: where it starts, noisy samples.
        level: shape () or (batch,), sigma > 0.
        corrector: the chain, e.g. ``MALA(steps=100, step_size=0.5)``.
        seed: of the chain; that of an item depends on (seed, item) only.
        items: the items in the batch; 0, 1, ... if None.
    """
    return corrector(denoiser, z, level, item_generators(len(z), seed, items))


@torch.no_grad()
def annealed_langevin(
    denoiser: Denoiser,
    shape: Sequence[int],
    n: int = 1,
    *,
    corrector: Corrector,
    levels: int | Sequence[NoiseLevel] = 25,
    seed: int = 0,
    items: Sequence[int] | None = None,
    progress: bool = False,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "n *shape"]:
    """Samples by chains at cleaner and cleaner levels (Song and Ermon 2019, Algorithm 1).

    From level to level z / alpha is kept, as in the paper, whose alpha is 1; so a chain must be
    long enough to shrink the noise by the ratio of two levels.  At the end the posterior mean
    E[x | z] removes the noise that is left (Jolicoeur-Martineau et al. 2021).

    Args:
        denoiser: what to sample; conditioned for one item or for n.
        shape: of one sample.
        n: number of samples.
        corrector: the chain at each level, e.g. ``ULA(steps=10, step_size=0.1)``.
        levels: noisiest first, alpha and sigma > 0; a number stands for `level_grid` of as many
            steps, without a level that holds no signal.
        seed: of the chains; that of an item depends on (seed, item) only.
        items: the numbers of the n samples; 0 ... n - 1 if None.
        progress: show a progress bar.
        dtype: of the samples, float32 or float64.
        device: where the denoiser lives.

    Raises:
        ValueError: n < 1, not n items, no levels, or one without signal or without noise.
        FloatingPointError: a chain left the finite numbers.
    """
    if n < 1:
        raise ValueError(f"n must be >= 1, got {n}")
    if isinstance(levels, int):
        grid = level_grid(denoiser.schedule, levels)
        levels = [level for level in grid if bool(level.alpha > 0)]
    if len(levels) == 0:
        raise ValueError("levels must hold at least one level, got none")
    if any(bool((level.alpha == 0).any()) for level in levels):
        raise ValueError("a level of alpha = 0 has nothing to keep for the next; leave it out")
    generators = item_generators(n, seed, items)
    noise = normal(torch.empty((n, *shape), dtype=dtype, device=device), generators)
    alpha, sigma = levels[0].like(noise)
    kept = (alpha**2 + sigma**2).sqrt() * noise / alpha
    for level in tqdm(levels, disable=not progress, desc="annealed Langevin", leave=False):
        alpha, _ = level.like(kept)
        z, _ = corrector(denoiser, alpha * kept, level, generators)
        kept = z / alpha
    return denoiser(z, level).x0
