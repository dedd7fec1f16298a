"""Energies E = -log p at one noise level, where a denoiser knows its energy and where it does not.

A diffusion network gives the gradient, grad E = eps / sigma, and no energy.  Differences of energy
are line integrals of the gradient,

    E(b) - E(a) = int_0^1 grad E(a + r (b - a)) . (b - a) dr,

which do not depend on the path if, and only if, the Jacobian of the score is symmetric.  That of a
network is not quite; `asymmetry` says by how much.  Normalised energies are in `likelihood` and
`ito`.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from scorefield.acceleration import as_written
from scorefield.priors.denoiser import Denoiser, HasEnergy
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import item_generators, rademacher


def energy_change(
    denoiser: Denoiser,
    path: Sequence[Float[Tensor, "batch *shape"]],
    level: NoiseLevel,
    points: int = 4,
) -> Float[Tensor, " batch"]:
    """E(path[-1]) - E(path[0]) in nats: from ``denoiser.energy``, or else along the path.

    Args:
        denoiser: its energy is used if it is a `HasEnergy`.
        path: two or more points; without an energy, the corners of the line that is followed.
        level: shape () or (batch,).
        points: of `line_integral_energy`, on each piece of the line.
    """
    if isinstance(denoiser, HasEnergy):
        return denoiser.energy(path[-1], level) - denoiser.energy(path[0], level)
    pieces = [line_integral_energy(denoiser, a, b, level, points) for a, b in pairwise(path)]
    return torch.stack(pieces).sum(dim=0)


@torch.no_grad()
def line_integral_energy(
    denoiser: Denoiser,
    a: Float[Tensor, "batch *shape"],
    b: Float[Tensor, "batch *shape"],
    level: NoiseLevel,
    points: int = 8,
) -> Float[Tensor, " batch"]:
    """E(b) - E(a) = -int_0^1 score(a + r (b - a)) . (b - a) dr, in nats.

    Gauss-Legendre quadrature: exact where the score is a polynomial of degree 2 points - 1 along
    the segment.  Of a score that is not a gradient this is minus the work along the segment, and
    another path gives another value.  It changes sign when a and b are exchanged, whatever the
    score, as Metropolis-Hastings needs (Sjoberg et al. 2023, arXiv 2307.14012).

    Args:
        denoiser: evaluated ``points`` times on the whole batch.
        a: where the segment begins, noisy samples of ``level``.
        b: where it ends.
        level: shape () or (batch,); sigma > 0.
        points: of the quadrature, >= 1.

    Raises:
        ValueError: a and b of different shapes, or no points.
    """
    if a.shape != b.shape:
        raise ValueError(
            f"a and b must have one shape, got {tuple(a.shape)} and {tuple(b.shape)}; "
            "give the ends of one segment per item"
        )
    if points < 1:
        raise ValueError(f"points must be >= 1, got {points}")
    nodes, weights = np.polynomial.legendre.leggauss(points)  # on [-1, 1]
    work = torch.zeros(len(a), dtype=torch.promote_types(a.dtype, torch.float32), device=a.device)
    for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True):
        score = denoiser.score(torch.lerp(a, b, (1 + node) / 2), level)
        work = work + weight / 2 * (score * (b - a)).flatten(1).sum(dim=1)
    return -work


def asymmetry(
    denoiser: Denoiser,
    z: Float[Tensor, "batch *shape"],
    level: NoiseLevel,
    *,
    probes: int = 8,
    seed: int = 0,
    items: Sequence[int] | None = None,
) -> Float[Tensor, " batch"]:
    """``E|(J - J^T) v|^2 / E|J v|^2``, J the Jacobian of the score at z; 0 where it is a gradient.

    In [0, 4]: 2 is a Jacobian without any relation to its transpose, 4 an antisymmetric one, a pure
    rotation.  It does not depend on the scale of the score.  E is the mean over Rademacher probes.

    Args:
        denoiser: twice differentiable in z.
        z: noisy samples.
        level: shape () or (batch,).
        probes: v per item; each costs a pass forward and two backward.
        seed: of the probes; those of an item depend on (seed, item) only.
        items: the items in the batch; 0, 1, ... if None.

    Raises:
        ValueError: the prediction has no graph.
    """
    if probes < 1:
        raise ValueError(f"probes must be >= 1, got {probes}")
    generators = item_generators(len(z), seed, items)
    level = level.expand(len(z))
    skew = torch.zeros(len(z), dtype=torch.promote_types(z.dtype, torch.float32), device=z.device)
    whole = torch.zeros_like(skew)
    z = z.detach()
    for _ in range(probes):
        v = rademacher(z, generators)
        # neither fused attention kernels nor compiled networks can be differentiated twice
        with torch.enable_grad(), as_written(), sdpa_kernel(SDPBackend.MATH):
            z.requires_grad_()
            eps = with_graph(denoiser(z, level).eps)
            # J v, as the derivative of w -> J^T w, which is linear
            w = torch.zeros_like(eps, requires_grad=True)
            (transposed,) = torch.autograd.grad(eps, z, w, create_graph=True)
            (jacobian_v,) = torch.autograd.grad(transposed, w, v, retain_graph=True)
            (transposed_v,) = torch.autograd.grad(eps, z, v)
        skew = skew + (jacobian_v - transposed_v).flatten(1).square().sum(dim=1)
        whole = whole + jacobian_v.flatten(1).square().sum(dim=1)
    return skew / whole


def with_graph(value: Tensor) -> Tensor:
    """The value, if it can be differentiated.

    Raises:
        ValueError: it has no graph.
    """
    if not value.requires_grad:
        raise ValueError(
            "the prediction has no graph back to z, and its Jacobian is needed; of a FrozenPrior "
            "take prior.with_network_gradient().condition(...)"
        )
    return value
