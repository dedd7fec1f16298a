"""Schedules of noise levels: variance-preserving chains of timesteps, and rectified flow."""

import inspect
import math
from abc import ABC, abstractmethod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.levels import NoiseLevel
from scorefield.priors.queries import Real, check_range, level_as_asked, on_host

# A timestep recovered from a level is off by the rounding of float32; networks trained on integers
# are owed the integer.
_TIMESTEP_ROUNDING = 1e-3

# Schedulers keep alphas_cumprod in float32, where 1 - alphas_cumprod[0] has a relative error of
# about 1e-3.  A log-SNR outside a schedule's range by no more than this is at its end.
LOG_SNR_ROUNDING = 2e-3


class NoiseSchedule(ABC):
    """A monotone path of noise levels: fraction 0 is its cleanest end, fraction 1 its noisiest.

    Every ``at_*`` takes a number or a tensor of shape () or (batch,), and returns a level of that
    shape, on that device, in that dtype (numbers and integers: the default dtype).  What lies
    outside the schedule is an error, never clamped.
    """

    @abstractmethod
    def at_timestep(self, timestep: Real) -> NoiseLevel:
        """The level of a native timestep, which may be fractional."""

    @abstractmethod
    def at_fraction(self, fraction: Real) -> NoiseLevel:
        """The level at a fraction, in [0, 1], of the schedule."""

    @abstractmethod
    def at_log_snr(self, log_snr: Real) -> NoiseLevel:
        """The level of the given log(alpha^2 / sigma^2)."""

    def at_flow_sigma(self, flow_sigma: Real) -> NoiseLevel:
        """The level at which sigma / (alpha + sigma) is ``flow_sigma``, in [0, 1]."""
        s = on_host(flow_sigma)
        check_range("flow sigma", s, 0.0, 1.0)
        level = self.at_log_snr(2 * (torch.log1p(-s) - s.log()))
        return level_as_asked(level.alpha, level.sigma, flow_sigma)

    @abstractmethod
    def timestep(self, level: NoiseLevel) -> Float[Tensor, "*batch"]:
        """The native timestep whose log-SNR is that of ``level``; the inverse of at_timestep."""

    @abstractmethod
    def fraction(self, level: NoiseLevel) -> Float[Tensor, "*batch"]:
        """The fraction whose log-SNR is that of ``level``; the inverse of at_fraction."""

    def rescaling(self, level: NoiseLevel) -> Float[Tensor, "*batch"]:
        """By how much z grows from ``level`` to this schedule's own level of equal log-SNR."""
        own = self.at_log_snr(level.log_snr)
        # the two pairs of amplitudes are proportional, and never both zero
        return (own.alpha + own.sigma) / (level.alpha + level.sigma)

    @abstractmethod
    def scheduler(self, scheduler_class: Any = None, **kwargs: Any) -> Any:
        """A diffusers scheduler that follows this schedule, ready for ``sample``."""


class DiscreteSchedule(NoiseSchedule):
    """The variance-preserving schedule of a discrete chain: alpha^2 = alphas_cumprod.

    At integer timesteps alpha is sqrt(alphas_cumprod) to the last bit; between them log-SNR is
    linear in the timestep.  Where the last step holds no signal (log-SNR is -inf), alpha is linear
    in the timestep over the last interval instead.  Fraction u is timestep u (T - 1).

    Args:
        alphas_cumprod: shape (T,), T >= 2, strictly decreasing in (0, 1); the last may be 0.
    """

    def __init__(self, alphas_cumprod: Tensor) -> None:
        a = torch.as_tensor(alphas_cumprod).detach().to("cpu", torch.float64)
        if a.ndim != 1 or len(a) < 2:
            raise ValueError(f"alphas_cumprod must have shape (T,), T >= 2, got {tuple(a.shape)}")
        if not (bool((a.diff() < 0).all()) and 0 <= float(a[-1]) and float(a[0]) < 1):
            raise ValueError(
                "alphas_cumprod must decrease strictly from below 1 to at least 0, "
                f"got {float(a[0]):.6g} ... {float(a[-1]):.6g}"
            )
        self.alphas_cumprod = a
        self._log_snr = a.log() - torch.log1p(-a)
        self._falling = -self._log_snr
        self._range = (float(self._log_snr[-1]), float(self._log_snr[0]))
        self._ends_at_zero = float(a[-1]) == 0.0

    @classmethod
    def linear_beta(
        cls, num_timesteps: int = 1000, beta_start: float = 1e-4, beta_end: float = 0.02
    ) -> "DiscreteSchedule":
        """Betas linear in the timestep (Ho et al. 2020, section 4)."""
        beta = torch.linspace(beta_start, beta_end, num_timesteps, dtype=torch.float64)
        return cls((1 - beta).cumprod(0))

    @classmethod
    def scaled_linear(
        cls, num_timesteps: int = 1000, beta_start: float = 0.00085, beta_end: float = 0.012
    ) -> "DiscreteSchedule":
        """Square roots of beta linear in the timestep: Stable Diffusion 1 and 2, SDXL."""
        root = torch.linspace(beta_start**0.5, beta_end**0.5, num_timesteps, dtype=torch.float64)
        return cls((1 - root**2).cumprod(0))

    @classmethod
    def cosine(cls, num_timesteps: int = 1000) -> "DiscreteSchedule":
        """Squared cosine with betas capped at 0.999 (Nichol and Dhariwal 2021, equation 17)."""
        u = torch.arange(num_timesteps + 1, dtype=torch.float64) / num_timesteps
        f = torch.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
        beta = (1 - f[1:] / f[:-1]).clamp(max=0.999)
        return cls((1 - beta).cumprod(0))

    def zero_terminal_snr(self) -> "DiscreteSchedule":
        """This schedule with a last level that holds no signal and the same first level.

        Alpha is shifted and scaled (Lin et al. 2023, "Common diffusion noise schedules and sample
        steps are flawed", Algorithm 1).
        """
        alpha = self.alphas_cumprod.sqrt()
        return DiscreteSchedule(((alpha - alpha[-1]) * alpha[0] / (alpha[0] - alpha[-1])) ** 2)

    @property
    def num_timesteps(self) -> int:
        """T: native timesteps are 0 ... T - 1."""
        return len(self.alphas_cumprod)

    @property
    def is_zero_terminal_snr(self) -> bool:
        """Whether the last level holds no signal."""
        return self._ends_at_zero

    def at_timestep(self, timestep: Real) -> NoiseLevel:
        """The level of a timestep in [0, T - 1]."""
        t = on_host(timestep)
        check_range("timestep", t, 0.0, self.num_timesteps - 1.0)
        return level_as_asked(*self._amplitudes(t), timestep)

    def at_fraction(self, fraction: Real) -> NoiseLevel:
        """The level of timestep ``fraction`` (T - 1)."""
        u = on_host(fraction)
        check_range("fraction", u, 0.0, 1.0)
        return level_as_asked(*self._amplitudes(u * (self.num_timesteps - 1)), fraction)

    def at_log_snr(self, log_snr: Real) -> NoiseLevel:
        """The variance-preserving level of a log-SNR within the schedule."""
        value = on_host(log_snr)
        self._check_log_snr(value)
        return level_as_asked(value.sigmoid().sqrt(), (-value).sigmoid().sqrt(), log_snr)

    def timestep(self, level: NoiseLevel) -> Float[Tensor, "*batch"]:
        """The native timestep whose log-SNR is that of ``level``; the inverse of at_timestep.

        Within 0.001 of an integer it is that integer.
        """
        log_snr = NoiseLevel(on_host(level.alpha), on_host(level.sigma)).log_snr
        self._check_log_snr(log_snr)
        log_snr = log_snr.clamp(*self._range)
        low = torch.searchsorted(self._falling, -log_snr, right=True) - 1
        low = low.clamp(0, self.num_timesteps - 2)
        upper, lower = self._log_snr[low], self._log_snr[low + 1]
        part = (upper - log_snr) / (upper - lower)
        if self.is_zero_terminal_snr:
            alpha_ratio = (log_snr.sigmoid() / self.alphas_cumprod[low]).sqrt()
            part = torch.where(lower.isinf(), 1 - alpha_ratio, part)
        t = low + part
        near = t.round()
        t = torch.where((t - near).abs() < _TIMESTEP_ROUNDING, near, t)
        return t.to(level.alpha.dtype).to(level.alpha.device)

    def rescaling(self, level: NoiseLevel) -> Float[Tensor, "*batch"]:
        """1 / sqrt(alpha^2 + sigma^2)."""
        return (level.alpha**2 + level.sigma**2).rsqrt()

    def fraction(self, level: NoiseLevel) -> Float[Tensor, "*batch"]:
        """The native timestep of ``level`` over T - 1."""
        return self.timestep(level) / (self.num_timesteps - 1)

    def scheduler(self, scheduler_class: Any = None, **kwargs: Any) -> Any:
        """A diffusers scheduler with these alphas, that takes v and does not clip.

        The timesteps are "trailing" so that sampling starts at the last level (Lin et al. 2023,
        section 3.3).  diffusers steps DDIM by T // steps, so a number of steps that does not divide
        T ends a little short of clean.

        Args:
            scheduler_class: e.g. DDPMScheduler, EulerDiscreteScheduler; DDIMScheduler if None.
            **kwargs: further arguments of the class, which overrule ours.

        Raises:
            ValueError: if the class cannot follow a schedule of zero terminal SNR.
        """
        if scheduler_class is None:
            from diffusers import DDIMScheduler

            scheduler_class = DDIMScheduler
        previous = torch.cat([self.alphas_cumprod.new_ones(1), self.alphas_cumprod[:-1]])
        options: dict[str, Any] = {
            "num_train_timesteps": self.num_timesteps,
            "trained_betas": (1 - self.alphas_cumprod / previous).tolist(),
            "prediction_type": "v_prediction",
            "clip_sample": False,
            "timestep_spacing": "trailing",
        }
        accepted = inspect.signature(scheduler_class.__init__).parameters
        if self.is_zero_terminal_snr:
            # An identity on betas that already end at zero SNR; the classes that divide by alpha
            # also take it as their sign to keep the last alpha away from zero.
            if "rescale_betas_zero_snr" not in accepted:
                raise ValueError(
                    f"{scheduler_class.__name__} cannot follow a schedule of zero terminal SNR; "
                    "use DDIM, DDPM, DPMSolverMultistep, Euler, EulerAncestral or UniPC"
                )
            options["rescale_betas_zero_snr"] = True
        ours = {name: value for name, value in options.items() if name in accepted}
        return scheduler_class(**(ours | kwargs))

    def _amplitudes(self, t: Tensor) -> tuple[Tensor, Tensor]:
        low = t.floor().long()
        part = t - low
        exact = part == 0
        fading = (1 - part) ** 2 * self.alphas_cumprod[low]
        if bool(exact.all()):
            return fading.sqrt(), (1 - fading).sqrt()
        high = (low + 1).clamp(max=self.num_timesteps - 1)
        log_snr = torch.lerp(self._log_snr[low], self._log_snr[high], part)
        exact = exact | self._log_snr[high].isinf()
        signal = torch.where(exact, fading, log_snr.sigmoid())
        noise = torch.where(exact, 1 - fading, (-log_snr).sigmoid())
        return signal.sqrt(), noise.sqrt()

    def _check_log_snr(self, log_snr: Tensor) -> None:
        low, high = self._range
        check_range("log-SNR", log_snr, low, high, slack=LOG_SNR_ROUNDING)

    def __repr__(self) -> str:
        return (
            f"DiscreteSchedule({self.num_timesteps} timesteps, log-SNR "
            f"{float(self._log_snr[0]):.4g} to {float(self._log_snr[-1]):.4g})"
        )


class FlowSchedule(NoiseSchedule):
    """Rectified flow: alpha = 1 - sigma, fraction = sigma, native timestep = 1000 sigma.

    Args:
        num_timesteps: the native timestep of sigma = 1.
        shift: by which sampling spends more of its steps at high noise, sigma' = shift sigma /
            (1 + (shift - 1) sigma) (Esser et al. 2024, equation 23). The schedulers made here
            have it; the levels of timesteps and fractions do not depend on it.
        shift_terminal: the level that the last step of sampling sets out from, to which the others
            are stretched; None leaves it to the shift. It is the schedulers' as well.
    """

    def __init__(
        self, num_timesteps: int = 1000, shift: float = 1.0, shift_terminal: float | None = None
    ) -> None:
        if not (shift > 0 and math.isfinite(shift)):
            raise ValueError(f"shift must be positive and finite; got {shift}")
        self.num_timesteps = num_timesteps
        self.shift = shift
        self.shift_terminal = shift_terminal

    def at_timestep(self, timestep: Real) -> NoiseLevel:
        """The level of sigma = timestep / num_timesteps."""
        t = on_host(timestep)
        check_range("timestep", t, 0.0, float(self.num_timesteps))
        sigma = t / self.num_timesteps
        return level_as_asked(1 - sigma, sigma, timestep)

    def at_fraction(self, fraction: Real) -> NoiseLevel:
        """The level of sigma = fraction."""
        sigma = on_host(fraction)
        check_range("fraction", sigma, 0.0, 1.0)
        return level_as_asked(1 - sigma, sigma, fraction)

    def at_log_snr(self, log_snr: Real) -> NoiseLevel:
        """The level of any log-SNR, both infinities included."""
        half = on_host(log_snr) / 2
        check_range("log-SNR", half, -math.inf, math.inf)
        return level_as_asked(half.sigmoid(), (-half).sigmoid(), log_snr)

    def at_flow_sigma(self, flow_sigma: Real) -> NoiseLevel:
        """The level of sigma = flow_sigma."""
        return self.at_fraction(flow_sigma)

    def timestep(self, level: NoiseLevel) -> Float[Tensor, "*batch"]:
        """``num_timesteps sigma / (alpha + sigma)``."""
        return self.num_timesteps * level.flow_sigma

    def fraction(self, level: NoiseLevel) -> Float[Tensor, "*batch"]:
        """``sigma / (alpha + sigma)``."""
        return level.flow_sigma

    def rescaling(self, level: NoiseLevel) -> Float[Tensor, "*batch"]:
        """1 / (alpha + sigma)."""
        return 1 / (level.alpha + level.sigma)

    def sampling_fractions(self, steps: int) -> list[float]:
        """The fractions that sampling in so many steps sets out from, shifted and stretched."""
        even = [1 - i / steps for i in range(steps)]
        found = [self.shift * u / (1 + (self.shift - 1) * u) for u in even]
        if self.shift_terminal is None or steps == 1:
            return found
        stretch = (1 - self.shift_terminal) / (1 - found[-1])
        return [1 - stretch * (1 - u) for u in found]

    def scheduler(self, scheduler_class: Any = None, **kwargs: Any) -> Any:
        """A diffusers scheduler of flow sigmas that takes the velocity eps - x0, with the shift.

        Args:
            scheduler_class: FlowMatchEulerDiscreteScheduler if None; multistep classes that have
                ``use_flow_sigmas`` (DPMSolverMultistep, UniPC) are put into that mode.
            **kwargs: further arguments of the class, which overrule ours.
        """
        if scheduler_class is None:
            from diffusers import FlowMatchEulerDiscreteScheduler

            scheduler_class = FlowMatchEulerDiscreteScheduler
        options: dict[str, Any] = {"num_train_timesteps": self.num_timesteps}
        accepted = inspect.signature(scheduler_class.__init__).parameters
        options |= {name: self.shift for name in ("shift", "flow_shift") if name in accepted}
        if "shift_terminal" in accepted:
            options["shift_terminal"] = self.shift_terminal
        if "use_flow_sigmas" in accepted:
            options |= {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
        return scheduler_class(**(options | kwargs))

    def __repr__(self) -> str:
        shift = "" if self.shift == 1 else f", shift {self.shift:.4g}"
        return f"FlowSchedule({self.num_timesteps} timesteps{shift})"
