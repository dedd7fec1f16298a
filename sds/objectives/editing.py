"""Objectives that change an image: DDS and PDS.

Both look at the image and at its reference with the same noise at the same level, under the
target prompt and under the source prompt; what is wrong with both in the same way cancels.
"""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from scorefield.priors.prediction import Prediction
from scorefield.sds.objective import NoisedLatents, PromptedDenoisers, Weight, uniform, weighted


def _both(
    denoisers: PromptedDenoisers, point: NoisedLatents
) -> tuple[Prediction, Prediction, Tensor]:
    """The target's prediction, the source's, and the reference."""
    if point.reference is None:
        raise ValueError("editing needs reference, the latents of the image as it was")
    source = denoisers.need("source")
    target = denoisers.guided(point.z, point.level)
    at = point.level.add_noise(point.reference, point.eps)
    return target, source(at, point.level), point.reference


@dataclass(frozen=True)
class DDS:
    """w (eps_target(z) - eps_source(z_reference)): delta denoising score (Hertz et al. 2023).

    0, without any noise, for an unchanged image under an unchanged prompt. On Gaussians
    N(m, s^2) of one width the noise cancels altogether and the fixed point is the reference plus
    m_target - m_source.
    """

    weight: Weight = uniform
    needs: ClassVar[tuple[str, ...]] = ("guided", "source")

    def __call__(
        self, denoisers: PromptedDenoisers, point: NoisedLatents
    ) -> tuple[Tensor, Prediction]:
        """See the class."""
        target, source, _ = _both(denoisers, point)
        return weighted(self.weight, point.level, target.eps - source.eps), target


@dataclass(frozen=True)
class PDS:
    """psi (x - reference) + chi (eps_target(z) - eps_source(z_reference)): Koo et al. 2024.

    The difference of the latents z~ = (z_s - mu(z_t)) / sigma~ that say how an image leaves the
    mean mu of DDPM's posterior in a step from level t to s. With shared noises only this is left of
    it, psi = (alpha_s - c_0 - c_1 alpha_t) / sigma~ and chi = c_0 sigma_t / (alpha_t sigma~), for
    mu = c_0 x0 + c_1 z_t.

    Of the exact posterior c_0 + c_1 alpha_t = alpha_s, so that psi = 0 and PDS is DDS with the
    weight chi. What holds the image to its reference is that the published code walks two
    timesteps and takes beta, and so mu and sigma~, of one.

    gap: of the posterior, t - u, as a fraction of the schedule; 0.001 is one timestep of 1000. At
        levels within `stride` of it, it is half of what there is.
    stride: how many gaps z_s is away from z_t: 2 is the published one, larger ones keep more, 1
        nothing.
    """

    gap: float = 0.001
    stride: float = 2.0
    weight: Weight = uniform
    needs: ClassVar[tuple[str, ...]] = ("guided", "source")

    def __post_init__(self) -> None:
        if not 0 < self.gap < 1:
            raise ValueError(f"gap must lie between 0 and 1; got {self.gap}")
        if not self.stride >= 1:
            raise ValueError(f"stride must be at least 1; got {self.stride}")

    def coefficients(
        self, denoisers: PromptedDenoisers, point: NoisedLatents
    ) -> tuple[Tensor, Tensor]:
        """(psi, chi), shaped to broadcast with x."""
        schedule = denoisers.guided.schedule
        # float64: differences of neighbouring levels
        t = schedule.fraction(point.level).double()
        gap = (t / (2 * self.stride)).clamp(max=self.gap)
        x = point.x.double()
        alpha, sigma = schedule.at_fraction(t).like(x)
        alpha_u, sigma_u = schedule.at_fraction(t - gap).like(x)
        alpha_s, sigma_s = schedule.at_fraction(t - self.stride * gap).like(x)
        ratio = alpha / alpha_u
        beta = sigma**2 - ratio**2 * sigma_u**2
        c_0 = alpha_s * beta / sigma**2
        c_1 = ratio * sigma_s**2 / sigma**2
        deviation = sigma_s / sigma * beta.sqrt()
        psi = (alpha_s - c_0 - c_1 * alpha) / deviation
        return psi.to(point.x), (c_0 * sigma / (alpha * deviation)).to(point.x)

    def __call__(
        self, denoisers: PromptedDenoisers, point: NoisedLatents
    ) -> tuple[Tensor, Prediction]:
        """See the class."""
        target, source, reference = _both(denoisers, point)
        psi, chi = self.coefficients(denoisers, point)
        direction = psi * (point.x - reference) + chi * (target.eps - source.eps)
        return weighted(self.weight, point.level, direction), target
