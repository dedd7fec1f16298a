"""Errors of the optimal denoiser, and the likelihood ratios they add up to.

Over log-SNR, E|eps - eps_hat|^2 of two optimal denoisers differs by twice the log-likelihood ratio
(Kong et al. 2023, "Information-theoretic diffusion"): what diffusion classifiers use.
"""

import numpy as np
import pytest
import torch
from torch import Tensor

from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.schedule import FlowSchedule

FLOW = FlowSchedule()


def errors(prior: GaussianMixturePrior, x: float, log_snr: Tensor) -> Tensor:
    """E (eps - eps_hat)^2 at a point, one per level, by Gauss-Hermite quadrature over eps."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    eps = torch.from_numpy(nodes).repeat(len(log_snr))
    level = FLOW.at_log_snr(log_snr)
    every = NoiseLevel(*(c.repeat_interleave(80) for c in (level.alpha, level.sigma)))
    z = every.add_noise(torch.full_like(eps, x)[:, None], eps[:, None])
    squares = (eps - prior(z, every).eps[:, 0]).square().reshape(-1, 80)
    return squares @ torch.from_numpy(weights / weights.sum())


def gaussian(mean: float, scale: float) -> GaussianMixturePrior:
    return GaussianMixturePrior(
        torch.tensor([[mean]]).double(), torch.tensor([scale]).double(), schedule=FLOW
    )


def test_error_of_a_gaussian() -> None:
    """(alpha^2 s^2 / v)^2 + sigma^2 alpha^2 (x - m)^2 / v^2 with v = alpha^2 s^2 + sigma^2."""
    log_snr = torch.linspace(-8, 8, 9).double()
    level = FLOW.at_log_snr(log_snr)
    a2, s2 = level.alpha**2, level.sigma**2
    v = a2 * 0.6**2 + s2
    expected = (a2 * 0.6**2 / v) ** 2 + s2 * a2 * (1.4 - 0.3) ** 2 / v**2
    torch.testing.assert_close(errors(gaussian(0.3, 0.6), 1.4, log_snr), expected)


@pytest.mark.parametrize("x", [0.2, 1.5, -0.8])
def test_errors_integrate_to_the_log_likelihood_ratio(x: float) -> None:
    """Half the integral over log-SNR, uniformly; what is left out beyond +-24 is below 1e-6."""
    one = GaussianMixturePrior(
        torch.tensor([[-1.0], [1.0]]).double(), torch.tensor([0.6, 0.8]).double(), schedule=FLOW
    )
    other = gaussian(0.5, 1.0)
    log_snr = torch.linspace(-24, 24, 481).double()
    gap = errors(other, x, log_snr) - errors(one, x, log_snr)
    clean = FLOW.at_fraction(torch.tensor(0.0).double())
    point = torch.tensor([[x]]).double()
    ratio = one.log_density(point, clean) - other.log_density(point, clean)
    assert float(torch.trapezoid(gap, log_snr) / 2) == pytest.approx(float(ratio), abs=1e-4)
