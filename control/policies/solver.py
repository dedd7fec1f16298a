"""From noise to a chunk: the steps of the sampler, with all of their coefficients in a table.

DDIM, Euler's method for rectified flow, DPM-Solver++ of the second order and DDPM are all

    x = p z + q out,    x0 = clip(x),    z' = a z + b x0 + c (x0 of the step before) + d x + e n,

with noise n, which DDPM and students of few steps add, and numbers that depend on the schedule
alone. They are computed once, in float64, so that a step costs the network and a few products;
exported policies carry the same table.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.control.networks.settings import Predicts, Sampler
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.schedule import DiscreteSchedule, FlowSchedule
from scorefield.priors.steps import level_path

Schedule = DiscreteSchedule | FlowSchedule
"""The two kinds of a policy."""


@dataclass(frozen=True, eq=False)
class SolverStep:
    """One step.

    level: of z.
    time: the same as the network is told it, the timestep over their number.
    x0_of_z, x0_of_out: p and q above.
    next_of_z, next_of_x0, next_of_before, next_of_raw, next_of_noise: a, b, c, d and e above.
    """

    level: NoiseLevel
    time: float
    x0_of_z: float
    x0_of_out: float
    next_of_z: float
    next_of_x0: float
    next_of_before: float
    next_of_raw: float
    next_of_noise: float = 0.0


def solver_steps(
    schedule: Schedule,
    predicts: Predicts,
    steps: int,
    order: Literal[1, 2] = 1,
    begin: float = 1.0,
    sampler: Sampler = "consistent",
) -> list[SolverStep]:
    """The steps from a level of a schedule to the clean one.

    Args:
        schedule: of the policy.
        predicts: what its network outputs.
        steps: how many there are from the noisiest level; at most the schedule's.
        order: 1 is DDIM (Song et al. 2021), which for a flow is Euler's method; 2 is DPM-Solver++
            2M (Lu et al. 2022, Algorithm 2), with first and last step of order 1.
        begin: fraction of the schedule to begin at; of the steps, those that are noisier are left
            out, and the last is always there.
        sampler: consistent: the noise of a step is what z and the clipped chunk leave of it (d = 0,
            diffusers' `use_clipped_model_output`), at timesteps counted from the noisiest.
            reference: the noise is the network's, whatever was clipped, at timesteps counted from
            the cleanest ("leading"), as diffusion_policy has its DDIM. ancestral: DDPM (Ho et al.
            2020, with the posterior's variance), which adds noise at every step but the last, at
            the same timesteps. Both are of order 1 and for a chain. renoised: the clean chunk is
            noised anew to the next level of `renoised_path` (Song et al. 2023, "Consistency
            models", algorithm 1), as students of few steps are trained to be sampled; of order 1.

    Raises:
        ValueError: a number is out of range, or the sampler does not go with the order or schedule.
    """
    if order not in (1, 2) or not 0 < begin <= 1:
        raise ValueError(f"order must be 1 or 2 and begin in (0, 1]; got {order} and {begin}")
    if sampler != "consistent":
        check_sampler(sampler, order, isinstance(schedule, FlowSchedule))
    if sampler in ("reference", "ancestral") and not isinstance(schedule, FlowSchedule):
        path = _leading_path(schedule, steps)
    elif sampler == "renoised":
        path = renoised_path(schedule, steps)
    else:
        path = level_path(schedule, steps)
    while len(path) > 2 and float(schedule.fraction(path[0])) > begin:
        path = path[1:]
    table: list[SolverStep] = []
    gain_before = math.inf
    for level, to in itertools.pairwise(path):
        alpha, sigma = float(level.alpha), float(level.sigma)
        alpha_to, sigma_to = float(to.alpha), float(to.sigma)
        a = sigma_to / sigma
        b = alpha_to - a * alpha
        # h, the gain in log(alpha / sigma), is infinite from pure noise and to the clean level.
        gain = _half_log_snr(to) - _half_log_snr(level)
        usable = order == 2 and table and math.isfinite(gain)
        extra = gain / (2 * gain_before) if usable else 0.0
        gain_before = gain
        p, q = _x0_of(predicts, alpha, sigma)
        time = float(schedule.timestep(level)) / schedule.num_timesteps
        if sampler == "ancestral":
            kept = alpha / alpha_to
            lost, part = 1 - kept**2, (sigma_to / sigma) ** 2
            b, e = alpha_to * lost / sigma**2, math.sqrt(part * lost)
            table.append(SolverStep(level, time, p, q, part * kept, b, 0.0, 0.0, e))
            continue
        if sampler == "renoised":
            table.append(SolverStep(level, time, p, q, 0.0, alpha_to, 0.0, 0.0, sigma_to))
            continue
        raw = -a * alpha if sampler == "reference" else 0.0
        table.append(SolverStep(level, time, p, q, a, b * (1 + extra) - raw, -b * extra, raw))
    return table


def renoised_path(schedule: Schedule, steps: int) -> list[NoiseLevel]:
    """The levels of a student's steps, from the noisiest on, and the clean one.

    They are at the squares of equal fractions of the schedule, so that most are where little noise
    is: the first step chooses between ways, and what it leaves between them, little noise sends
    to the nearer one. At much noise a step would have to choose once more.
    """
    fractions = [(1 - i / steps) ** 2 for i in range(steps)]
    return [*(schedule.at_fraction(u) for u in fractions), *level_path(schedule, 1)[1:]]


def check_sampler(sampler: Sampler, order: int, is_flow: bool) -> None:
    """Refuse a sampler that does not go with the order or the kind of schedule.

    Raises:
        ValueError: it does not.
    """
    if sampler != "consistent" and order != 1:
        raise ValueError(f"the sampler {sampler!r} is of order 1, got order {order}")
    if sampler in ("reference", "ancestral") and is_flow:
        raise ValueError(f"the sampler {sampler!r} is not for velocity")


def solve(
    table: Sequence[SolverStep],
    z: Float[Tensor, "batch steps size"],
    x0_at: Callable[[Tensor, SolverStep], Tensor],
    limit: float | None = None,
    fresh: Float[Tensor, "batch more steps size"] | None = None,
) -> Float[Tensor, "batch steps size"]:
    """Walks down the table.

    Args:
        table: from `solver_steps`.
        z: at the first step's level.
        x0_at: the clean chunk that is predicted at (z, step).
        limit: it is clipped to [-limit, limit]; None: it is not.
        fresh: standard normal noise of the steps that add some, in their order.

    Raises:
        ValueError: there is none, and a step adds some.
    """
    if fresh is None and any(step.next_of_noise for step in table):
        raise ValueError("steps of this table add noise, and none is given; give it as fresh")
    before = z
    for number, step in enumerate(table):
        raw = x0_at(z, step)
        x0 = raw if limit is None else raw.clamp(-limit, limit)
        z = step.next_of_z * z + step.next_of_x0 * x0
        if step.next_of_raw:
            z = z + step.next_of_raw * raw
        if step.next_of_before:
            z = z + step.next_of_before * before
        if fresh is not None and step.next_of_noise:
            z = z + step.next_of_noise * fresh[:, number]
        before = x0
    return z


def _leading_path(schedule: DiscreteSchedule, steps: int) -> list[NoiseLevel]:
    """The levels at timesteps (steps - 1) r, ..., r, 0, with r = T // steps, and the clean one."""
    count = schedule.num_timesteps
    if not 1 <= steps <= count:
        raise ValueError(f"steps must lie from 1 to the schedule's {count}, got {steps}")
    times = [float(count // steps * i) for i in reversed(range(steps))]
    levels = [schedule.at_timestep(torch.tensor(time).double()) for time in times]
    return [*levels, level_path(schedule, 1)[-1]]


def _x0_of(predicts: Predicts, alpha: float, sigma: float) -> tuple[float, float]:
    """p and q; the inverses of what `Prediction` says of each kind."""
    match predicts:
        case "eps":
            return 1 / alpha, -sigma / alpha
        case "x0":
            return 0.0, 1.0
        case "v":
            return alpha / (alpha**2 + sigma**2), -sigma / (alpha**2 + sigma**2)
        case "velocity":
            return 1 / (alpha + sigma), -sigma / (alpha + sigma)


def _half_log_snr(level: NoiseLevel) -> float:
    return float(level.log_snr) / 2
