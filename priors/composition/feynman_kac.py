"""Feynman-Kac correctors: weighted particles that follow the product itself.

The reverse SDE of the summed score S = sum_i w_i s_i does not stay at prod_i p_i^{w_i}; the weights
of its particles say by how much it strays (Skreta et al. 2025, "Feynman-Kac correctors in
diffusion"). In y = z / alpha, where the noise has variance u^2 = sigma^2 / alpha^2, and with time
running as u^2 falls,

    dy      = (S + a y) dt + dW,    a = (W - 1) / (2 (1 + u^2)),    W = sum_i w_i
    d log w = (|S|^2 - sum_i w_i |s_i|^2 + 2 a <y, S>) dt / 2.

With the weights, and particles resampled by them, the end is the product of the data densities.
Theirs is a = 0; any linear drift may be added, for its divergence is a constant. This one makes the
weights constant where all experts are N(0, I), which at high noise they are, so that no particle
is lost there.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from scorefield.priors.composition.normalisable import check_density
from scorefield.priors.denoiser import Composition, ConditionedDenoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import noise_generator
from scorefield.priors.schedule import NoiseSchedule
from scorefield.priors.steps import level_path

# Nothing happens at more noise than this, and at alpha = 0 there is no y.
_ENTRY_LOG_SNR = -12.0
# Keys of a population's noise.
_START, _MOVE, _RESAMPLE, _DRAW = 0, 1, 2, 3


@dataclass(frozen=True, eq=False)
class WeightedParticles:
    """A population that stands for a distribution, each particle with its weight.

    Attributes:
        samples: the particles.
        log_weights: of each, normalised: their exponentials sum to one.
        ess: the effective sample size 1 / sum w^2 after each step, before any resampling.
    """

    samples: Float[Tensor, "particles *shape"]
    log_weights: Float[Tensor, " particles"]
    ess: Float[Tensor, " steps"]

    def draw(self, n: int, seed: int = 0) -> Float[Tensor, "n *shape"]:
        """Unweighted samples; a particle of high weight comes several times."""
        return self.samples[systematic_resampling(self.log_weights, n, seed)]


@torch.no_grad()
def sample_fkc(
    composition: Composition,
    shape: Sequence[int],
    particles: int = 256,
    *,
    steps: int = 200,
    resample_below: float | int = 0.5,
    seed: int = 0,
    batch_size: int = 256,
    progress: bool = False,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> WeightedParticles:
    """Particles of the product prod_i p_i^{w_i} of the data densities, in the limit of many.

    Euler-Maruyama along `level_path` from N(0, sigma^2 / W), what the product is where all is
    noise; the last step draws none. All items of a population depend on each other, through
    resampling, and on its seed: independent samples are those of populations of different seeds.
    The weights spread with the dimension, so the particles needed grow fast with it; look at
    ``ess``.

    Args:
        composition: experts with weights that are numbers, each conditioned for one item.
        shape: shape of one sample.
        particles: size of the population.
        steps: of `level_path`, each one evaluation of every expert; those at log-SNR below -12 are
            left out.
        resample_below: resample when the effective sample size falls below this share of the
            particles; 0 never resamples, 1 always.
        seed: of the population.
        batch_size: how many particles the experts see at a time; changes rounding only.
        progress: show a progress bar.
        dtype: of the samples, float32 or float64.
        device: where the experts live.

    Raises:
        ValueError: weights that depend on the level, whose correction needs densities; a condition
            per item; a product that is no density.
        FloatingPointError: a weight or a particle is not finite.
    """
    _check(composition, particles, batch_size, resample_below)
    total = float(composition.weight_sum(torch.zeros(1)))
    levels = _path(composition.schedule, steps)
    steps = len(levels) - 1
    threshold = resample_below * particles

    def noise(*key: int) -> Tensor:
        draws = torch.randn(particles, *shape, generator=noise_generator(seed, *key))
        return draws.to(dtype).to(device)

    u = float(levels[0].sigma / levels[0].alpha)
    y = u * total**-0.5 * noise(_START)
    log_weights = torch.zeros(particles, dtype=torch.float64)
    history = []
    for i in tqdm(range(steps), disable=not progress, desc="particles", leave=False):
        u_next = float(levels[i + 1].sigma / levels[i + 1].alpha)
        time = u**2 - u_next**2
        score, energy = _summed(composition, y, levels[i], batch_size)
        linear = (total - 1) / (2 * (1 + u**2))
        energy = energy + 2 * linear * (y * score).flatten(1).sum(dim=1)
        y = y + time * (score + linear * y)
        if u_next > 0:
            y = y + time**0.5 * noise(_MOVE, i)
        log_weights = log_weights + (0.5 * time * energy).cpu().double()
        log_weights = log_weights - log_weights.logsumexp(dim=0)
        if not bool(log_weights.isfinite().all() and y.isfinite().all()):
            raise FloatingPointError(
                f"a particle is not finite after step {i + 1} of {steps}; take more steps"
            )
        history.append((-(2 * log_weights).logsumexp(dim=0)).exp())
        if i + 1 < steps and float(history[-1]) < threshold:
            y = y[systematic_resampling(log_weights, particles, seed, i).to(y.device)]
            log_weights = torch.zeros_like(log_weights)
        u = u_next
    return WeightedParticles(y, log_weights, torch.stack(history))


def systematic_resampling(
    log_weights: Float[Tensor, " particles"], n: int, seed: int = 0, draw: int = 0
) -> Int[Tensor, " n"]:
    """Indices of n particles, each n w_i times but for rounding up or down (Kitagawa 1996).

    One uniform number u places all: particle i is taken once for each (u + k) / n, k = 0 ... n - 1,
    that falls into its share of [0, 1].

    Args:
        log_weights: of the particles, up to a constant.
        n: how many to take.
        seed: with ``draw``, of the uniform number.
        draw: which resampling of the seed's it is.
    """
    generator = noise_generator(seed, _RESAMPLE, draw)
    u = torch.rand((), generator=generator, dtype=torch.float64)
    points = (u + torch.arange(n, dtype=torch.float64)) / n
    bounds = log_weights.cpu().double().softmax(dim=0).cumsum(dim=0)
    # rounding may leave the last bound below the last point
    return torch.searchsorted(bounds, points).clamp(max=len(bounds) - 1)


def _summed(
    composition: Composition, y: Tensor, level: NoiseLevel, batch_size: int
) -> tuple[Tensor, Tensor]:
    """S and |S|^2 - sum_i w_i |s_i|^2, in y."""
    totals, energies = [], []
    for part in y.split(batch_size):
        alpha, _ = level.like(part)
        # grad_y = alpha grad_z
        scores = alpha * composition.expert_scores((alpha * part).to(y.dtype), level)
        weights = composition.weights(level.log_snr.reshape(1)).to(scores)
        total = (weights.reshape(-1, *[1] * y.ndim) * scores).sum(dim=0)
        squares = (scores**2).flatten(2).sum(dim=2)
        totals.append(total)
        energies.append((total**2).flatten(1).sum(dim=1) - (weights * squares).sum(dim=0))
    return torch.cat(totals), torch.cat(energies)


def _path(schedule: NoiseSchedule, steps: int) -> list[NoiseLevel]:
    """`level_path` from where data of unit variance is 6e-6 of the noise, or its first level."""
    levels = level_path(schedule, steps)
    entered = [level for level in levels if float(level.log_snr) > _ENTRY_LOG_SNR]
    if len(entered) == len(levels):
        return levels
    return [schedule.at_log_snr(torch.tensor(_ENTRY_LOG_SNR, dtype=torch.float64)), *entered]


def _check(
    composition: Composition, particles: int, batch_size: int, resample_below: float | int
) -> None:
    if particles < 2 or batch_size < 1:
        raise ValueError(
            f"particles must be >= 2 and batch_size >= 1, got {particles} and {batch_size}"
        )
    if not 0 <= resample_below <= 1:
        raise ValueError(
            f"resample_below is a share of the particles, 0 to 1; got {resample_below}"
        )
    for term in composition.terms:
        if callable(term.weight):
            raise ValueError(
                "Feynman-Kac correction needs weights that are numbers: the change of a weight "
                "with the level enters by log p_i, which is not known; use a corrector instead"
            )
        if isinstance(term.denoiser, ConditionedDenoiser) and len(term.denoiser.condition) > 1:
            raise ValueError(
                f"particles change places, so all experts need one condition, got one with "
                f"{len(term.denoiser.condition)} items; run a population per condition"
            )
    check_density(composition)
