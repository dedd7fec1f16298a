"""Superposition of denoisers by their densities along the way: OR and AND.

Of the path that a sampler draws, each expert i says how its log-density changes (`ito_increment`),
at no cost beyond the predictions. The sampler follows sum_i kappa_i s_i, kappa_i summing to one
(Skreta et al. 2024, "The superposition of diffusion models using the Ito density estimator"):

    OR:   kappa = softmax(T (log q_i + l_i)): the mixture, for T = 1 with weights e^{l_i};
    AND:  the kappa for which d log q_i is the same for all i, so that all log q_i stay equal.

Products (`composition`) need no densities; a mixture cannot be had without.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.energy.ito import ancestral_kernel, ito_increment
from scorefield.priors.energy.likelihood import level_grid
from scorefield.priors.exact.standard_normal import StandardNormal
from scorefield.priors.experts import check_compatible, common_schedule, predict_experts
from scorefield.priors.noise import item_generators, normal

_Kappa = Callable[[Tensor, Tensor, Tensor], Tensor]
"""From the experts' means of a step (experts, batch, D), its variance (batch or 1, 1) and log q
(experts, batch) to kappa (experts, batch)."""


@dataclass(frozen=True, eq=False)
class Superposition:
    """Samples, and what each expert thinks of them.

    Attributes:
        samples: of the cleanest level, divided by its alpha.
        log_density: log q_i of each, in nats, by the Ito estimator.
    """

    samples: Float[Tensor, "n *shape"]
    log_density: Float[Tensor, "experts n"]


def superpose_or(
    experts: Sequence[Denoiser],
    shape: Sequence[int],
    n: int = 1,
    *,
    bias: Sequence[float | int] | None = None,
    temperature: float | int = 1.0,
    steps: int = 100,
    seed: int = 0,
    batch_size: int = 64,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Superposition:
    """Samples of one expert or the other: kappa = softmax(T (log q_i + l_i)).

    For T = 1 that is the mixture sum_i e^{l_i} q_i, whose components get the shares
    softmax(l_i). Item i depends on (seed, i) only.

    Args:
        experts: two or more, in one space; conditioned for one item or for n.
        shape: shape of one sample.
        n: number of samples.
        bias: l_i, in nats; 0 for all if None.
        temperature: T > 0: above one, items decide for an expert earlier and harder.
        steps: number of steps, each one evaluation of every expert.
        seed: the seed.
        batch_size: how many items the experts see at a time.
        dtype: of the samples, float32 or float64.
        device: where the experts live.

    Raises:
        ValueError: experts that do not combine, a count below 1, not one bias per expert.
    """
    if bias is not None and len(bias) != len(experts):
        raise ValueError(f"bias must be one number per expert, got {len(bias)} of {len(experts)}")
    if not temperature > 0:
        raise ValueError(f"temperature must be > 0, got {temperature}")
    shift = torch.tensor([0.0] * len(experts) if bias is None else list(bias)).double()[:, None]

    def kappa(means: Tensor, variance: Tensor, log_density: Tensor) -> Tensor:
        return (temperature * (log_density.double() + shift.to(log_density.device))).softmax(dim=0)

    return _superpose(experts, kappa, shape, n, steps, seed, batch_size, dtype, device)


def superpose_and(
    experts: Sequence[Denoiser],
    shape: Sequence[int],
    n: int = 1,
    *,
    relaxation: float | int = 0.1,
    steps: int = 200,
    seed: int = 0,
    batch_size: int = 64,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Superposition:
    """Samples to which all experts give about the same density.

    kappa makes the expected d log q_i the same for all i, but for the share ``relaxation`` of the
    difference that the noise of earlier steps has left, which is taken back. Solving with the
    step's own noise, as the paper does (proposition 6), cancels all noise between the experts, and
    the estimator, which counts on that noise, then errs by an amount that more steps do not reduce:
    0.46 nats for N(-2, 0.5^2) and N(1.5, 0.8^2), against 0.04 here at 800 steps.

    Not the product, and not where both densities are high: for two Gaussians all samples lie on the
    surface of equal density. Item i depends on (seed, i) only.

    Args:
        experts: two or more, in one space; conditioned for one item or for n.
        shape: shape of one sample.
        n: number of samples.
        relaxation: in (0, 1]: small values need many steps, large ones bias the estimate of
            log q_i, by about that share of its second-order part.
        steps: number of steps, each one evaluation of every expert.
        seed: the seed.
        batch_size: how many items the experts see at a time.
        dtype: of the samples, float32 or float64.
        device: where the experts live.

    Raises:
        ValueError: experts that do not combine, a count below 1, a relaxation out of range.
    """
    if not 0 < relaxation <= 1:
        raise ValueError(f"relaxation must lie in (0, 1], got {relaxation}")

    def kappa(means: Tensor, variance: Tensor, log_density: Tensor) -> Tensor:
        ahead = (log_density[:-1] - log_density[-1]).double()
        return _equalising(means.double(), relaxation * variance.double() * ahead.T)

    return _superpose(experts, kappa, shape, n, steps, seed, batch_size, dtype, device)


def _equalising(means: Tensor, drop: Tensor) -> Tensor:
    """kappa for which log q_i - log q_K is expected to fall by drop_i over the step's variance.

    With d_i = m_i - m_K and the step's mean m_K + sum_j kappa_j d_j, the expected difference of the
    increments is <m - m_K, d_i> - |d_i|^2 / 2 over the variance, so that

        sum_j <d_i, d_j> kappa_j = |d_i|^2 / 2 - drop_i.

    Args:
        means: (experts, batch, D).
        drop: (batch, experts - 1).
    """
    to_last = (means[:-1] - means[-1]).transpose(0, 1)  # batch, K - 1, D
    gram = to_last @ to_last.transpose(1, 2)
    pull = gram.diagonal(dim1=1, dim2=2) / 2 - drop
    # experts that agree leave kappa open: the smallest is taken
    solved = torch.einsum("bij,bj->ib", torch.linalg.pinv(gram, hermitian=True), pull)
    return torch.cat([solved, 1 - solved.sum(dim=0, keepdim=True)])


@torch.no_grad()
def _superpose(
    experts: Sequence[Denoiser],
    kappa: _Kappa,
    shape: Sequence[int],
    n: int,
    steps: int,
    seed: int,
    batch_size: int,
    dtype: torch.dtype,
    device: torch.device | str,
) -> Superposition:
    """Ancestral sampling of sum_i kappa_i s_i."""
    if len(experts) < 2:
        raise ValueError(f"a superposition needs two or more experts, got {len(experts)}")
    if n < 1 or batch_size < 1:
        raise ValueError(f"n and batch_size must be >= 1, got {n} and {batch_size}")
    check_compatible(experts, same_text=True)
    schedule = common_schedule(
        experts, lambda log_snr: log_snr.new_ones(len(experts), len(log_snr))
    )
    levels = level_grid(schedule, steps)
    samples, densities = [], []
    for start in range(0, n, batch_size):
        items = range(start, min(start + batch_size, n))
        part = experts if len(items) == n else [expert.rows(items) for expert in experts]
        generators = item_generators(len(items), seed, items)
        z = normal(torch.empty(len(items), *shape, dtype=dtype, device=device), generators)
        alpha, sigma = levels[0].like(z)
        z = (alpha**2 + sigma**2).sqrt() * z
        log_density = -StandardNormal(schedule).energy(z, levels[0]).expand(len(experts), -1)
        for here, there in pairwise(levels):
            predictions = predict_experts(part, schedule, z, here.expand(len(z)))
            reverse = [ancestral_kernel(prediction, there) for prediction in predictions]
            means = torch.stack([mean for mean, _ in reverse])
            variance = reverse[0][1]  # the same for all experts
            shares = kappa(means.flatten(2), variance.flatten(1), log_density)
            mean = torch.einsum("kb,kb...->b...", shares.to(means), means)
            z = (mean + variance.sqrt() * normal(z, generators)).to(dtype)
            changes = [ito_increment(prediction, z, there) for prediction in predictions]
            log_density = log_density + torch.stack(changes)
        alpha, _ = levels[-1].like(z)
        samples.append(z / alpha)
        densities.append(log_density + z[0].numel() * alpha.log().reshape(()))
    return Superposition(torch.cat(samples), torch.cat(densities, dim=1))
