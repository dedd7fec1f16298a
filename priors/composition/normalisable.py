"""Whether a product of powers of densities can be a density.

In a direction in which log p_i falls as -a_i x^2 / 2, the product of p_i^{w_i} falls as
-(sum_i w_i a_i) x^2 / 2, and integrates only if that sum, its precision, is positive. The tail of a
Gaussian mixture is that of its widest component. Of a network one knows the tail where all is
noise: there every p_i is the same Gaussian and the sum of the weights decides.
"""

import torch
from torch import Tensor

from scorefield.priors.condition import Conditioned
from scorefield.priors.denoiser import Composition, Denoiser
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.exact.standard_normal import StandardNormal
from scorefield.priors.experts import tried_levels

# Stands for sigma = 0: it keeps the precision of a point finite.
_CLEAN = 1e-9
# A sum of precisions this small, relative to its terms, is zero but for rounding.
_ROUNDING = 1e-9


def check_density(composition: Composition) -> None:
    """Refuse a product that is known to be no density.

    Raises:
        ValueError: the weights sum to zero or less at the noisiest level; or all experts are
            Gaussian mixtures and their total precision is not positive, in the data or at a level.
            Mixtures of several components of full covariance are not judged.
    """
    levels = tried_levels(composition.schedule)
    weights = composition.weights(levels.log_snr)
    total = float(weights[:, -1].sum())
    if total <= 0:
        raise ValueError(
            f"the weights sum to {total:.4g} where all is noise: the product is not normalisable; "
            "let them sum to more than zero, the usual choice being one"
        )
    tails = [_tail_covariance(denoiser) for denoiser in composition.denoisers]
    known = [tail for tail in tails if tail is not None]
    if len(known) < len(tails):
        return
    size = max(len(tail) for tail in known)
    known = [tail * torch.eye(size).to(tail) if len(tail) < size else tail for tail in known]
    alpha = torch.cat([torch.ones(1).double(), levels.alpha.cpu().double()])
    sigma = torch.cat([torch.full((1,), _CLEAN).double(), levels.sigma.cpu().double()])
    # the data have the weights of the cleanest level
    weights = torch.cat([weights[:, :1], weights], dim=1).cpu().double()
    precisions = torch.stack([_precision(tail, alpha, sigma) for tail in known])
    weights = weights[..., None, None]
    worst = torch.linalg.eigvalsh((weights * precisions).sum(dim=0)).amin(dim=-1)
    scale = (weights * precisions).abs().sum(dim=0).amax(dim=(-2, -1))
    bad = (worst <= _ROUNDING * scale).nonzero()
    if len(bad):
        place = int(bad[0])
        log_snr = float(2 * (alpha[place] / sigma[place]).log())
        where = "of the data" if place == 0 else f"at log-SNR {log_snr:.3g}"
        raise ValueError(
            f"the product {where} has precision {float(worst[place]):.4g}: it is not normalisable; "
            "weaken the negative weights"
        )


def _tail_covariance(denoiser: Denoiser) -> Tensor | None:
    """Of x in the tails, (D, D), or (1, 1) for a multiple of the identity; None if not known."""
    if isinstance(denoiser, StandardNormal):
        return torch.ones(1, 1, dtype=torch.float64)
    prior = denoiser.prior if isinstance(denoiser, Conditioned) else denoiser
    if not isinstance(prior, GaussianMixturePrior):
        return None
    scales = prior.scales.cpu().double()
    if isinstance(denoiser, Conditioned):
        # with a condition per item: the components that any item has
        scales = scales[(denoiser.condition.tensors["weights"] > 0).any(dim=0).cpu()]
    if scales.ndim == 1:
        return scales.max().square().reshape(1, 1)
    return scales[0] if len(scales) == 1 else None


def _precision(tail: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """(alpha^2 S + sigma^2 I)^-1 at every level, shape (levels, D, D)."""
    variances, axes = torch.linalg.eigh(tail)
    variances = variances.clamp(min=0)
    noisy = alpha[:, None] ** 2 * variances + sigma[:, None] ** 2
    return torch.einsum("ij,lj,kj->lik", axes, 1 / noisy, axes)
