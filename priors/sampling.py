"""Drawing samples: any denoiser along any diffusers scheduler.

A scheduler walks down a path of noise levels in coordinates of its own.  Here the denoiser is
always asked at the same log-SNR as the scheduler's, with the state rescaled to the denoiser's own
amplitudes, and the scheduler is handed v (or velocity), which determine eps and x0 at every level.
So a prior trained on one schedule can be sampled along another.
"""

import copy
import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from scorefield.priors.composition.normalisable import check_density
from scorefield.priors.denoiser import Composition, Denoiser
from scorefield.priors.energy.mcmc import Corrector
from scorefield.priors.experts import check_is_denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import CORRECTION, ON_THE_WAY, START, item_generators, keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import LOG_SNR_ROUNDING, DiscreteSchedule, NoiseSchedule
from scorefield.priors.steps import FiniteCheck

SampleCallback = Callable[[int, int, Prediction], object]

# How far the weights of a composition may be from summing to one without a warning.
_WEIGHT_SUM_TOLERANCE = 0.01


class CollapseWarning(UserWarning):
    """A deterministic sampler follows a composition whose weights do not sum to one.

    Without noise the samples contract by a power of the noise range: for W > 1 they collapse to a
    point, for W < 1 they spread (docs/composition.md has the closed form).
    """


@torch.no_grad()
def sample(
    denoiser: Denoiser,
    shape: Sequence[int],
    n: int | None = None,
    *,
    scheduler: Any = None,
    corrector: Corrector | None = None,
    steps: int = 25,
    seed: int = 0,
    items: Sequence[int] | None = None,
    batch_size: int = 16,
    progress: bool = False,
    callback: SampleCallback | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
) -> Float[Tensor, "n *shape"]:
    """Draw samples, item i of which depends on (seed, i) only.

    Neither the batch size nor the order of the items changes an item, beyond the rounding of the
    denoiser itself, even under a scheduler that adds noise.

    Args:
        denoiser: what to sample; conditioned for one item or for n.
        shape: shape of one sample, in the space of the denoiser (latents, for a latent prior).
        n: number of samples, the items 0 ... n - 1; 1 if neither it nor ``items`` is given.
        scheduler: a diffusers scheduler that takes v or flow velocity, best made by
            ``schedule.scheduler(SchedulerClass)``.  It is copied, never changed.  By default DDIM,
            or Euler for a flow.
        corrector: moves the samples after every step, at the level the step has reached, but for
            the last, clean one; e.g. ``ULA(20, 0.1)``. Its score is that of ``denoiser`` there: the
            predictor-corrector sampler (Song et al. 2021, Algorithm 1).
        steps: number of steps, each one evaluation of the denoiser (for Heun, two).
        seed: the seed.
        items: the items to draw, in any order.
        batch_size: how many items the denoiser sees at a time.
        progress: show a progress bar.
        callback: called as callback(step, total, prediction) after every evaluation, step counting
            from 1 over all batches; e.g. to show ``prediction.x0``.
        dtype: of the samples, float32 or float64.
        device: where the denoiser lives.

    Raises:
        ValueError: for a scheduler that takes another prediction, or that visits log-SNRs outside
            the denoiser's schedule; for a corrector with a scheduler that remembers its steps; for
            a composition that is no density.
        FloatingPointError: a sample is not finite, on a CPU as soon as it is not.

    Warns:
        CollapseWarning: the weights of a composition do not sum to one, and nothing draws noise.
    """
    check_is_denoiser(denoiser)
    if isinstance(shape, str):
        raise ValueError(f"shape is that of one sample, as prior.latent_shape; got {shape!r}")
    if items is None:
        items = range(1 if n is None else n)
    elif n is not None and n != len(items):
        raise ValueError(f"n = {n} contradicts the {len(items)} items given; leave one out")
    if steps < 1 or batch_size < 1:
        raise ValueError(f"steps and batch_size must be >= 1, got {steps} and {batch_size}")
    if scheduler is None:
        scheduler = _default_scheduler(denoiser.schedule, steps)
    if len(items) == 0:
        return torch.empty((0, *shape), dtype=dtype, device=device)

    starts = range(0, len(items), batch_size)
    path = _Path(scheduler, steps, denoiser.schedule)
    if corrector is not None:
        _check_forgets(scheduler)
    if isinstance(denoiser, Composition):
        check_density(denoiser)
        if corrector is None:
            _warn_of_collapse(denoiser, path)
    total = len(path) * len(starts)
    done, finite = 0, FiniteCheck()
    samples = []
    with tqdm(total=total, disable=not progress, desc="sampling", leave=False) as bar:
        for start in starts:
            batch = items[start : start + batch_size]
            places = range(start, start + len(batch))
            part = denoiser if len(starts) == 1 else denoiser.rows(places)
            trajectory = _Trajectory(path, keyed_noise(seed, batch, START, shape, dtype, device))
            generators = item_generators(len(batch), seed, batch, ON_THE_WAY)
            moves = item_generators(len(batch), seed, batch, CORRECTION)
            for i in range(len(path)):
                prediction = trajectory.step(i, part, generators)
                if corrector is not None and i + 1 < len(path):
                    trajectory.correct(i + 1, part, corrector, moves)
                done += 1
                finite.note(trajectory.state, path.levels[i])
                if callback is not None:
                    callback(done, total, prediction)
                bar.update()
            finite.end()
            samples.append(trajectory.state.to(dtype))
    return torch.cat(samples)


def levels_of(scheduler: Any, steps: int, schedule: NoiseSchedule) -> list[NoiseLevel]:
    """The levels of a schedule at which `sample` asks a denoiser, from the most noise down.

    Raises:
        ValueError: the scheduler takes another prediction than v or flow velocity, or visits
            log-SNRs outside the schedule.
    """
    return _Path(scheduler, steps, schedule).levels


class _Path:
    """The levels a scheduler visits, in its coordinates and in those of a schedule."""

    def __init__(self, scheduler: Any, steps: int, schedule: NoiseSchedule) -> None:
        self.is_flow = _takes_velocity(scheduler)
        # Schedulers are stateful: even set_timesteps changes them.
        self.scheduler = copy.deepcopy(scheduler)
        with warnings.catch_warnings():
            # diffusers converts tensors in a way numpy 2 means to drop
            warnings.filterwarnings("ignore", "__array__", DeprecationWarning)
            if self.is_flow and "sigmas" in inspect.signature(scheduler.set_timesteps).parameters:
                # FlowMatchEuler would apply its shift twice to the sigmas it chooses by itself
                self.scheduler.set_timesteps(sigmas=[1 - i / steps for i in range(steps)])
            else:
                self.scheduler.set_timesteps(steps)
        _stay_on_the_schedule(self.scheduler)
        if hasattr(self.scheduler, "set_begin_index"):
            # otherwise the first step is looked up by timestep, and skipped if that occurs twice
            self.scheduler.set_begin_index(0)
        self.timesteps = self.scheduler.timesteps
        self.own = self._own_levels()
        self.levels = [
            _same_log_snr(schedule, own, float(t))
            for own, t in zip(self.own, self.timesteps, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.timesteps)

    def draws_noise(self) -> bool:
        """Whether the scheduler adds noise, found out by a step on zeros."""
        scheduler = copy.deepcopy(self.scheduler)
        if "generator" not in inspect.signature(scheduler.step).parameters:
            return False
        generator = torch.Generator().manual_seed(0)
        before = generator.get_state()
        zeros, first = torch.zeros(1, 1), self.timesteps[0]
        if hasattr(scheduler, "scale_model_input"):
            scheduler.scale_model_input(zeros, first)  # some refuse to step before
        scheduler.step(zeros, first, zeros, return_dict=False, generator=generator)
        return not torch.equal(before, generator.get_state())

    def _own_levels(self) -> list[NoiseLevel]:
        if hasattr(self.scheduler, "sigmas"):
            # where both are given, timesteps are rounded and sigmas are what the step uses
            sigmas = self.scheduler.sigmas[: len(self)].double()
            alpha = 1 - sigmas if self.is_flow else (1 + sigmas**2).rsqrt()
            sigma = sigmas if self.is_flow else sigmas * alpha
        else:
            signal = self.scheduler.alphas_cumprod[self.timesteps].double()
            alpha, sigma = signal.sqrt(), (1 - signal).sqrt()
        return [NoiseLevel(a, s) for a, s in zip(alpha, sigma, strict=True)]


class _Trajectory:
    """One batch on its way down a path."""

    def __init__(self, path: _Path, noise: Tensor) -> None:
        self.path = path
        self.scheduler = copy.deepcopy(path.scheduler)
        self.state = noise * float(getattr(self.scheduler, "init_noise_sigma", 1.0))
        self._draws = "generator" in inspect.signature(self.scheduler.step).parameters

    def step(self, i: int, denoiser: Denoiser, generators: list[torch.Generator]) -> Prediction:
        t, own, level = self.path.timesteps[i], self.path.own[i], self.path.levels[i]
        z = self._model_input(self.state, i)
        prediction = denoiser((self._to_level(i) * z).to(self.state.dtype), level)
        if self.path.is_flow:
            output = prediction.velocity
        else:
            alpha, sigma = own.like(z)
            output = alpha * prediction.eps - sigma * prediction.x0
        options: dict[str, Any] = {"generator": generators} if self._draws else {}
        self.state = self.scheduler.step(output, t, self.state, return_dict=False, **options)[0]
        return prediction

    def correct(
        self, i: int, denoiser: Denoiser, corrector: Corrector, generators: list[torch.Generator]
    ) -> None:
        """Move the state at level i, in the amplitudes of the denoiser."""
        # the model's input is a multiple of the state
        scale = self._to_level(i) * float(self._model_input(torch.ones(()).double(), i))
        z = (scale * self.state).to(self.state.dtype)
        moved, _ = corrector(denoiser, z, self.path.levels[i], generators)
        self.state = (moved / scale).to(self.state.dtype)

    def _model_input(self, state: Tensor, i: int) -> Tensor:
        """What the scheduler would hand a network at level i: alpha x + sigma eps of its own."""
        if not hasattr(self.scheduler, "scale_model_input"):
            return state
        scaled: Tensor = self.scheduler.scale_model_input(state, self.path.timesteps[i])
        return scaled

    def _to_level(self, i: int) -> float:
        """From the scheduler's amplitudes to the denoiser's, at equal log-SNR."""
        own, level = self.path.own[i], self.path.levels[i]
        # the two pairs of amplitudes are proportional, and never both zero
        return float((level.alpha + level.sigma) / (own.alpha + own.sigma))


def _default_scheduler(schedule: NoiseSchedule, steps: int) -> Any:
    if isinstance(schedule, DiscreteSchedule) and schedule.num_timesteps % steps:
        # DDIM of diffusers steps by T // steps and would miss the levels it evaluates; DPM-Solver
        # of order one is the same map (Lu et al. 2022, section 4.1) and follows its own levels.
        from diffusers import DPMSolverMultistepScheduler

        return schedule.scheduler(DPMSolverMultistepScheduler, solver_order=1)
    return schedule.scheduler()


def _stay_on_the_schedule(scheduler: Any) -> None:
    """Drop the timestep -1 of a scheduler, which is no level: DDIM would take it for pure noise.

    Spaced "trailing", diffusers rounds 1000 / 61 to 62 steps of which the last is -1, and so
    likewise for 61 other numbers of steps (findings/diffusers_trailing_extra_step.sh).
    """
    config = scheduler.config
    numbered = config.get("timestep_type", "discrete") == "discrete"  # others are log-sigmas
    if config.get("timestep_spacing") != "trailing" or not numbered:
        return
    if len(scheduler.timesteps) > 1 and scheduler.timesteps[-1] < 0:
        scheduler.timesteps = scheduler.timesteps[:-1]
        if hasattr(scheduler, "sigmas"):
            scheduler.sigmas = torch.cat([scheduler.sigmas[:-2], scheduler.sigmas[-1:]])


def _check_forgets(scheduler: Any) -> None:
    """Refuse schedulers that build a step on earlier ones, which a corrector would falsify."""
    order = max(getattr(scheduler, "order", 1), scheduler.config.get("solver_order", 1))
    if order > 1 or any(hasattr(scheduler, name) for name in ("ets", "derivatives", "last_sample")):
        raise ValueError(
            f"{type(scheduler).__name__} builds each step on earlier states, which a corrector "
            "changes; with a corrector use a one-step scheduler: DDIM, DDPM, Euler, EulerAncestral"
        )


def _warn_of_collapse(denoiser: Composition, path: _Path) -> None:
    total = denoiser.weight_sum(torch.stack([level.log_snr for level in path.levels]))
    off = total[(total - 1).abs().argmax()]
    if abs(float(off) - 1) <= _WEIGHT_SUM_TOLERANCE or path.draws_noise():
        return
    warnings.warn(
        f"the weights sum to {float(off):.4g} and {type(path.scheduler).__name__} draws no noise: "
        "the samples will be contracted (sum > 1) or spread; normalise the weights, add a "
        "corrector, or use a scheduler that draws noise, such as DDPM",
        CollapseWarning,
        stacklevel=4,
    )


def _takes_velocity(scheduler: Any) -> bool:
    name = type(scheduler).__name__
    if scheduler.config.get("invert_sigmas"):
        raise ValueError(f"{name} with invert_sigmas runs time backwards; set invert_sigmas=False")
    kind = scheduler.config.get("prediction_type", "flow_prediction")
    if kind not in ("v_prediction", "flow_prediction"):
        raise ValueError(
            f"the scheduler must take prediction_type 'v_prediction' or 'flow_prediction', "
            f"{name} takes {kind!r}; make it with denoiser.schedule.scheduler({name})"
        )
    return bool(kind == "flow_prediction")


def _same_log_snr(schedule: NoiseSchedule, own: NoiseLevel, timestep: float) -> NoiseLevel:
    """The schedule's level of a scheduler's; the timestep's own where they agree to rounding."""
    try:
        native = schedule.at_timestep(timestep)
    except ValueError:
        pass  # the scheduler counts its timesteps otherwise
    else:
        if torch.isclose(native.log_snr.double(), own.log_snr, rtol=0, atol=LOG_SNR_ROUNDING):
            return native
    return schedule.at_log_snr(float(own.log_snr))
