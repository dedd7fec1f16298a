"""Log-likelihoods of a diffusion prior by its probability-flow ODE.

A network knows no density, but its deterministic sampler has one: the flow carries a known density
of noise to one of data (Song et al. 2021, section 4.3 and appendix D.2; Chen et al. 2018).  Where
the denoiser is the posterior mean of some density of data, it is that density.  `ito` has the
estimator that needs no derivative.

Time.  The grid is equal in s = arsinh(alpha / sigma).  In variance-preserving coordinates,
z / sqrt(alpha^2 + sigma^2), that is alpha = tanh s, sigma = sech s, and the probability-flow ODE is

    dz / ds = -sigma v_hat(z).

For little noise equal steps in s are equal steps in log-SNR, as small structure needs; and s = 0 is
pure noise, reached in finite time, with a density that is known.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from tqdm.auto import tqdm

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.energy.line_integral import with_graph
from scorefield.priors.exact.standard_normal import StandardNormal
from scorefield.priors.experts import check_is_denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import item_generators, rademacher
from scorefield.priors.schedule import NoiseSchedule

LogDensity = Callable[[Tensor, NoiseLevel], Tensor]
"""(z, level) -> log p(z) in nats, shape (batch,)."""

CLEANEST_LOG_SNR = 10.0
"""The log-SNR at which clean samples are evaluated, unless the schedule ends before: noise of
standard deviation 0.0067."""


@dataclass(frozen=True, eq=False)
class LogLikelihood:
    """An estimate of log p(x).

    Attributes:
        value: in nats, shape (batch,).
        standard_error: of the value over the estimator's draws, shape (batch,); 0 where nothing is
            drawn, nan for a single draw.
    """

    value: Float[Tensor, " batch"]
    standard_error: Float[Tensor, " batch"]

    @classmethod
    def of(cls, estimates: Float[Tensor, "draws batch"], exact: bool = False) -> "LogLikelihood":
        """The mean of independent estimates; ``exact`` says that nothing was drawn.

        Raises:
            FloatingPointError: an estimate is not finite.
        """
        if not bool(estimates.isfinite().all()):
            raise FloatingPointError("the likelihood is not finite; take more steps")
        draws, mean = len(estimates), estimates.mean(dim=0)
        if exact:
            return cls(mean, torch.zeros_like(mean))
        if draws == 1:
            return cls(mean, torch.full_like(mean, torch.nan))
        return cls(mean, estimates.std(dim=0) / draws**0.5)

    @property
    def energy(self) -> Float[Tensor, " batch"]:
        """E = -log p, normalised, in nats."""
        return -self.value


def log_likelihood_ode(
    denoiser: Denoiser,
    x: Float[Tensor, "batch *shape"],
    level: NoiseLevel | None = None,
    *,
    steps: int = 20,
    probes: int | None = 1,
    terminal: LogDensity | None = None,
    seed: int = 0,
    items: Sequence[int] | None = None,
    progress: bool = False,
) -> LogLikelihood:
    """log p(x) by the probability-flow ODE, followed from x to the noisiest level of the schedule.

    log p(x) = log p_T(z_T) + the integral of the divergence of the flow, with the ODE of the
    module's head, by the classical Runge-Kutta method of order 4.  This is the density of what the
    deterministic sampler draws from p_T.  Where a schedule keeps some signal at its end,
    the noised data is not quite standard normal there, and the density differs from that of the
    data by as much: the prior mismatch.

    Args:
        denoiser: differentiable in z: of a FrozenPrior take
            ``prior.with_network_gradient().condition(...)``.
        x: clean samples or, if ``level`` is given, noisy ones.
        level: one level for the batch.  None: x is clean, and the density is that of the data
            under noise of standard deviation sigma / alpha of the cleanest level (log-SNR 10, or
            the first of the schedule); without noise, data on a surface has no density.
        steps: of the method, 4 evaluations each.
        probes: Rademacher probes per item for the trace of the Jacobian (Hutchinson 1989), the same
            along the whole path, so that the estimate is unbiased for the steps taken; each is one
            backward pass per evaluation.  None: the exact trace, one backward pass per dimension.
        terminal: log density at the noisiest level; None for the standard normal distribution.
        seed: of the probes; those of an item depend on (seed, item) only.
        items: the items in the batch; 0, 1, ... if None.
        progress: show a progress bar.

    Raises:
        ValueError: the prediction has no graph, or a count below 1.
        FloatingPointError: the path left the finite numbers.
    """
    check_is_denoiser(denoiser)
    if probes is not None and probes < 1:
        raise ValueError(f"probes must be >= 1, or None for the exact trace; got {probes}")
    generators = item_generators(len(x), seed, items)
    # noisier and noisier; every second level is the middle of a step
    path = level_grid(denoiser.schedule, 2 * steps, level)[::-1]
    times = [_time(there) for there in path]
    start, end = path[0], path[-1]
    scale = 1.0 if level is not None else float(start.alpha)  # z = scale x
    z = scale * x.detach() / _norm(start)
    signs = None
    if probes is not None:
        signs = torch.stack([rademacher(z, generators) for _ in range(probes)])
    gain = torch.zeros(probes or 1, len(z), dtype=z.dtype, device=z.device)
    for i in tqdm(range(0, 2 * steps, 2), disable=not progress, desc="likelihood", leave=False):
        h = times[i + 2] - times[i]
        v1, t1 = _flow(denoiser, z, path[i], signs)
        v2, t2 = _flow(denoiser, z + h / 2 * v1, path[i + 1], signs)
        v3, t3 = _flow(denoiser, z + h / 2 * v2, path[i + 1], signs)
        v4, t4 = _flow(denoiser, z + h * v3, path[i + 2], signs)
        z = z + h / 6 * (v1 + 2 * v2 + 2 * v3 + v4)
        gain = gain + h / 6 * (t1 + 2 * t2 + 2 * t3 + t4)
    estimates = gain + log_density_of_noise(denoiser, terminal)(_norm(end) * z, end)
    # from the coordinates at the end, through those of the ODE, to those of x
    dimensions = math.prod(x.shape[1:])
    estimates = estimates + dimensions * math.log(_norm(end) / _norm(start) * scale)
    return LogLikelihood.of(estimates, exact=signs is None)


def log_density_of_noise(denoiser: Denoiser, terminal: LogDensity | None) -> LogDensity:
    """The log density paths end at: the one given, or the one samplers start from.

    That is N(0, (alpha^2 + sigma^2) I), exact where alpha = 0 or the data is standard normal.
    """
    if terminal is not None:
        return terminal
    start = StandardNormal(denoiser.schedule)
    return lambda z, level: -start.energy(z, level)


def level_grid(
    schedule: NoiseSchedule, steps: int, cleanest: NoiseLevel | None = None
) -> list[NoiseLevel]:
    """The steps + 1 levels, noisiest first, at equal distances in s = arsinh(alpha / sigma).

    Args:
        schedule: its noisiest level is the first.
        steps: >= 1.
        cleanest: the last; None for log-SNR 10, or the first level of a schedule that ends before.

    Raises:
        ValueError: no steps, or a cleanest level without noise or with an entry per item.
    """
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")
    zero, one = torch.zeros((), dtype=torch.float64), torch.ones((), dtype=torch.float64)
    noisiest = schedule.at_fraction(one)
    if cleanest is None:
        first = schedule.at_fraction(zero)
        cap = torch.tensor(CLEANEST_LOG_SNR, dtype=torch.float64)
        cleanest = first if first.log_snr <= cap else schedule.at_log_snr(cap)
    if cleanest.alpha.numel() != 1:
        raise ValueError(f"one level for the whole batch is needed, got {len(cleanest)}")
    cleanest = NoiseLevel(cleanest.alpha.reshape(()), cleanest.sigma.reshape(()))
    if float(cleanest.sigma) == 0:
        raise ValueError(
            "a density at sigma = 0 is not known; leave the level of clean samples out"
        )
    s = torch.linspace(_time(noisiest), _time(cleanest), steps + 1, dtype=torch.float64)
    between = [schedule.at_log_snr(2 * moment.sinh().log()) for moment in s[1:-1]]
    return [noisiest, *between, cleanest]


def bits_per_dim(
    log_likelihood: Float[Tensor, " batch"],
    shape: Sequence[int],
    bin_width: float | int = 1,
) -> Float[Tensor, " batch"]:
    """``-log2(p(x) bin_width^D) / D``: bits per dimension of data in bins of that width.

    Args:
        log_likelihood: log p(x) in nats.
        shape: of one item; D = prod(shape).
        bin_width: 1 gives the differential bits of the density itself, the figure for latents.
            2 / 256 is that of 8-bit data scaled to [-1, 1] and adds 7: the number that papers quote
            for priors on pixels, where no codec is in between (Song et al. 2021).

    Raises:
        ValueError: a width that is not positive.
    """
    if not bin_width > 0:
        raise ValueError(f"bin_width must be > 0, got {bin_width}")
    return -log_likelihood / (math.prod(shape) * math.log(2)) - math.log2(bin_width)


def _flow(
    denoiser: Denoiser, z: Tensor, level: NoiseLevel, signs: Tensor | None
) -> tuple[Tensor, Tensor]:
    """dz / ds at z, (batch, *shape), and estimates of its divergence, (probes, batch)."""
    norm = _norm(level)
    sigma = float(level.sigma) / norm
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        velocity = -sigma / norm * with_graph(denoiser(norm * z, level).v)
    if signs is None:
        signs = torch.eye(z[0].numel(), dtype=z.dtype, device=z.device)
        trace = sum(_quadratic(velocity, z, e.reshape(z[0].shape).expand_as(z)) for e in signs)
        return velocity.detach(), torch.as_tensor(trace)[None]
    traces = [_quadratic(velocity, z, probe) for probe in signs]
    return velocity.detach(), torch.stack(traces)


def _quadratic(value: Tensor, z: Tensor, probe: Tensor) -> Tensor:
    """probe^T (d value / d z) probe, per item."""
    (product,) = torch.autograd.grad(value, z, probe, retain_graph=True)
    return (product * probe).flatten(1).sum(dim=1)


def _time(level: NoiseLevel) -> float:
    return math.asinh(float(level.alpha) / float(level.sigma))


def _norm(level: NoiseLevel) -> float:
    """What a sample is divided by in variance-preserving coordinates."""
    return math.hypot(float(level.alpha), float(level.sigma))
