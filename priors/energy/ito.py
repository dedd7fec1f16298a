"""Log-likelihoods along noisy paths, without a derivative: the Ito estimator.

Along a noisy path the log density of the noised data changes by what the score says of each move
(Skreta et al. 2024, "The superposition of diffusion models").  The path may be that of a sampler or
of noise added to a given image; of one path every denoiser says how likely it finds the clean
end, which is how densities are compared, and mixed, while sampling.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.energy.likelihood import (
    LogDensity,
    LogLikelihood,
    level_grid,
    log_density_of_noise,
)
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import item_generators, normal
from scorefield.priors.prediction import Prediction


def ito_increment(
    prediction: Prediction, z: Float[Tensor, "batch *shape"], level: NoiseLevel
) -> Float[Tensor, " batch"]:
    """log p(z) - log p(z'), where z' = prediction.z is noisier; both on one path.

    The estimate is log R(z | z') - log F(z' | z): F is the transition that adds noise, R the
    reverse one of DDPM with variance beta (Ho et al. 2020, section 3.2).  For small steps it is

        d log p = <dz, s> + (<f, s> + div f - g^2 |s|^2 / 2) dt,

    and at any step it is exact where the data is standard normal.

    Args:
        prediction: a denoiser's, at the noisier point.
        z: the cleaner point, its neighbour on the path.
        level: the level of z, shape () or (batch,); alpha, sigma > 0.

    Raises:
        ValueError: ``level`` is not the cleaner one.
    """
    kept, spread = _forward(level, prediction.level, z)
    mean, variance = ancestral_kernel(prediction, level)
    forth = (prediction.z - kept * z) ** 2 / spread + spread.log()
    back = (z - mean) ** 2 / variance + variance.log()
    return 0.5 * (forth - back).flatten(1).sum(dim=1)


@torch.no_grad()
def log_likelihood_ito(
    denoiser: Denoiser,
    x: Float[Tensor, "batch *shape"],
    level: NoiseLevel | None = None,
    *,
    steps: int = 100,
    paths: int = 1,
    terminal: LogDensity | None = None,
    seed: int = 0,
    items: Sequence[int] | None = None,
    progress: bool = False,
) -> LogLikelihood:
    """log p(x) by the sum of `ito_increment` along paths that noise x step by step.

    Their mean tends to log p(x) with the number of steps, with an error of order 1 / steps and
    proportional to the dimension.  At finite steps its expectation is the variational bound on the
    log density of the ancestral sampler of those steps (Ho et al. 2020, equation 5).

    Args:
        denoiser: any; nothing is differentiated.
        x: clean samples or, if ``level`` is given, noisy ones.
        level: one level for the batch; None as in `log_likelihood_ode`.
        steps: of a path, on `level_grid`; one evaluation each.
        paths: independent ones per item.
        terminal: log density at the noisiest level; None for the standard normal distribution.
        seed: of the noise; that of an item depends on (seed, item) only.
        items: the items in the batch; 0, 1, ... if None.
        progress: show a progress bar.

    Raises:
        ValueError: a count below 1, or items that do not number the batch.
        FloatingPointError: an estimate is not finite.
    """
    if paths < 1:
        raise ValueError(f"paths must be >= 1, got {paths}")
    generators = item_generators(len(x), seed, items)
    noisier = level_grid(denoiser.schedule, steps, level)[::-1]
    scale = noisier[0].like(x)[0] if level is None else x.new_ones(())  # z = scale x
    end = log_density_of_noise(denoiser, terminal)
    estimates = []
    with tqdm(total=paths * steps, disable=not progress, desc="likelihood", leave=False) as bar:
        for _ in range(paths):
            z = scale * x
            estimate = _log_volume(z, scale)
            for here, there in pairwise(noisier):
                kept, spread = _forward(here, there, z)
                moved = kept * z + spread.sqrt() * normal(z, generators)
                estimate = estimate + ito_increment(denoiser(moved, there), z, here)
                z = moved
                bar.update()
            estimates.append(estimate + end(z, noisier[-1]))
    return LogLikelihood.of(torch.stack(estimates))


@torch.no_grad()
def sample_with_likelihood(
    denoiser: Denoiser,
    shape: Sequence[int],
    n: int = 1,
    *,
    steps: int = 100,
    seed: int = 0,
    items: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> tuple[Float[Tensor, "n *shape"], Float[Tensor, " n"]]:
    """Samples of the ancestral sampler, and log p of each by the sum of `ito_increment` on its way.

    The likelihood costs nothing beyond sampling.  The samples are those of the last level of
    `level_grid`, divided by its alpha.

    Args:
        denoiser: conditioned for one item or for n.
        shape: of one sample.
        n: number of samples.
        steps: one evaluation each.
        seed: of the noise; that of an item depends on (seed, item) only.
        items: the numbers of the n samples; 0 ... n - 1 if None.
        dtype: of the samples, float32 or float64.
        device: where the denoiser lives.

    Raises:
        ValueError: a count below 1, or not n items.
        FloatingPointError: a likelihood is not finite.
    """
    if n < 1:
        raise ValueError(f"n must be >= 1, got {n}")
    generators = item_generators(n, seed, items)
    cleaner = level_grid(denoiser.schedule, steps)
    noise = normal(torch.empty((n, *shape), dtype=dtype, device=device), generators)
    alpha, sigma = cleaner[0].like(noise)
    z = (alpha**2 + sigma**2).sqrt() * noise
    value = log_density_of_noise(denoiser, None)(z, cleaner[0])
    for here, there in pairwise(cleaner):
        prediction = denoiser(z, here)
        mean, variance = ancestral_kernel(prediction, there)
        z = mean + variance.sqrt() * normal(z, generators)
        value = value + ito_increment(prediction, z, there)
    alpha, _ = cleaner[-1].like(z)
    likelihood = LogLikelihood.of((value + _log_volume(z, alpha))[None])
    return z / alpha, likelihood.value


def _forward(cleaner: NoiseLevel, noisier: NoiseLevel, z: Tensor) -> tuple[Tensor, Tensor]:
    """(k, w) of the transition N(k z, w I) that adds noise, shaped to broadcast with z.

    Computed in the precision of the levels, for w is a difference.
    """
    kept = noisier.alpha / cleaner.alpha
    spread = noisier.sigma**2 - (kept * cleaner.sigma) ** 2
    if not bool((spread > 0).all()):
        raise ValueError("a path of noise leads from cleaner to noisier levels; exchange the two")
    kept, spread = NoiseLevel(kept, spread).like(z)
    return kept, spread


def ancestral_kernel(prediction: Prediction, cleaner: NoiseLevel) -> tuple[Tensor, Tensor]:
    """Mean and variance of DDPM's transition to the cleaner level.

    The mean is that of the posterior given x0, linear in it.  The variance, w c / c' with
    c = alpha^2 + sigma^2 of either level (beta, where both are 1), is right for standard normal
    data.
    """
    z = prediction.z
    kept, spread = _forward(cleaner, prediction.level, z)
    alpha, sigma = cleaner.like(z)
    alpha_from, sigma_from = prediction.level.like(z)
    mean = (alpha * spread * prediction.x0 + kept * sigma**2 * z) / sigma_from**2
    return mean, spread * (alpha**2 + sigma**2) / (alpha_from**2 + sigma_from**2)


def _log_volume(z: Tensor, scale: Tensor) -> Tensor:
    """log of the volume that multiplying an item by ``scale`` fills, D log scale, shape ()."""
    return z[0].numel() * scale.log().reshape(())
