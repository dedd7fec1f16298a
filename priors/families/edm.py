"""Networks of Karras et al. 2022 (EDM), which know all noise levels: Playground 2.5, CosXL."""

import inspect
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction
from scorefield.priors.queries import Real, level_as_asked, on_host, within
from scorefield.priors.schedule import NoiseSchedule

_RHO = 7.0  # Karras et al. 2022, table 1
_ROUNDING = 1e-4  # of log(s) / 4 and of log-SNR, kept in float32 where alpha is


class EDMSchedule(NoiseSchedule):
    """z = (x + s eps) / sqrt(s^2 + sigma_data^2) for every s between two, of variance one.

    The native timestep is log(s) / 4; s^(1/7) is linear in the fraction (Karras et al. 2022,
    equation 5 and table 1).

    Args:
        sigma_min, sigma_max: the least and the largest s, 0 < sigma_min < sigma_max.
        sigma_data: the standard deviation of the data that the network was made for.
    """

    def __init__(self, sigma_min: float, sigma_max: float, sigma_data: float = 1.0) -> None:
        if not (0 < sigma_min < sigma_max and sigma_data > 0):
            raise ValueError(
                "an EDM schedule needs 0 < sigma_min < sigma_max and sigma_data > 0; got "
                f"{sigma_min:g}, {sigma_max:g} and {sigma_data:g}"
            )
        self.sigma_min, self.sigma_max, self.sigma_data = sigma_min, sigma_max, sigma_data
        ends = torch.tensor([sigma_min, sigma_max], dtype=torch.float64)
        self._ends = ends.log()
        self._roots = ends ** (1 / _RHO)

    def at_timestep(self, timestep: Real) -> NoiseLevel:
        """The level of s = exp(4 timestep)."""
        low, high = (self._ends / 4).tolist()
        t = within("timestep", on_host(timestep), low, high, _ROUNDING)
        return self._at((4 * t).exp(), timestep)

    def at_fraction(self, fraction: Real) -> NoiseLevel:
        """The level of s = (sigma_min^(1/7) + fraction (sigma_max^(1/7) - sigma_min^(1/7)))^7."""
        u = within("fraction", on_host(fraction), 0.0, 1.0)
        low, high = self._roots
        return self._at((low + u * (high - low)) ** _RHO, fraction)

    def at_log_snr(self, log_snr: Real) -> NoiseLevel:
        """The level of s = exp(-log_snr / 2)."""
        low, high = (-2 * self._ends).flip(0).tolist()
        value = within("log-SNR", on_host(log_snr), low, high, 8 * _ROUNDING)
        return self._at((-value / 2).exp(), log_snr)

    def timestep(self, level: NoiseLevel) -> Float[Tensor, "*batch"]:
        """log(s) / 4."""
        return (self._s(level).log() / 4).to(level.alpha.dtype).to(level.alpha.device)

    def fraction(self, level: NoiseLevel) -> Float[Tensor, "*batch"]:
        """(s^(1/7) - sigma_min^(1/7)) / (sigma_max^(1/7) - sigma_min^(1/7))."""
        low, high = self._roots
        u = (self._s(level) ** (1 / _RHO) - low) / (high - low)
        return u.to(level.alpha.dtype).to(level.alpha.device)

    def scheduler(self, scheduler_class: Any = None, **kwargs: Any) -> Any:
        """A diffusers scheduler that walks between the same two s and takes v.

        Args:
            scheduler_class: EDMEulerScheduler if None; EDMDPMSolverMultistepScheduler and
                EulerDiscreteScheduler follow such a schedule as well.
            **kwargs: further arguments of the class, which overrule ours.

        Raises:
            ValueError: for another class.
        """
        if scheduler_class is None:
            from diffusers import EDMEulerScheduler

            scheduler_class = EDMEulerScheduler
        # what the sampler divides its states by cancels; with sigma_data = 1 its output is v
        options: dict[str, Any] = {
            "sigma_min": self.sigma_min,
            "sigma_max": self.sigma_max,
            "sigma_data": 1.0,
            "timestep_type": "continuous",
            "use_karras_sigmas": True,
            "prediction_type": "v_prediction",
        }
        accepted = inspect.signature(scheduler_class.__init__).parameters
        if not {"sigma_data", "timestep_type"} & accepted.keys():
            raise ValueError(
                f"{scheduler_class.__name__} cannot follow a schedule of continuous noise levels; "
                "use EDMEulerScheduler, EDMDPMSolverMultistepScheduler or EulerDiscreteScheduler"
            )
        ours = {name: value for name, value in options.items() if name in accepted}
        return scheduler_class(**(ours | kwargs))

    def _at(self, s: Tensor, query: Real) -> NoiseLevel:
        alpha = (s**2 + self.sigma_data**2).rsqrt()
        return level_as_asked(alpha, s * alpha, query)

    def _s(self, level: NoiseLevel) -> Tensor:
        log_s = on_host(level.sigma).log() - on_host(level.alpha).log()
        low, high = self._ends.tolist()
        return within("log(s)", log_s, low, high, 4 * _ROUNDING).exp()

    def __repr__(self) -> str:
        return (
            f"EDMSchedule(s {self.sigma_min:g} to {self.sigma_max:g}, data of standard deviation "
            f"{self.sigma_data:g})"
        )


def read_preconditioned(
    z: Tensor, level: NoiseLevel, value: Tensor, sigma_data: float, sign: float
) -> Prediction:
    """The prediction of x0 = c_skip (x + s eps) + sign c_out value.

    Karras et al. 2022, equation 7 and table 1, with the x + s eps whose multiple z is.
    diffusers calls its own "epsilon" where the sign is 1, and "v_prediction" where it is -1: v it
    is for sigma_data = 1.
    """
    alpha, sigma = level.like(z)
    cosine = sigma_data * alpha
    x0 = sigma_data * (cosine * z + sign * sigma * value)
    eps = sigma * z - sign * cosine * value
    return Prediction.from_v(z, level, alpha * eps - sigma * x0)
