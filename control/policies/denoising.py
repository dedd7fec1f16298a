"""From noise to a chunk, or on from the chunk before: what all policies that denoise share.

Under a condition such a policy is a `Denoiser` like any other of this library: it can be guided,
composed and sampled as they are.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.control.data.spaces import Horizons
from scorefield.control.networks.network import ChunkNetwork
from scorefield.control.networks.settings import Predicts
from scorefield.control.policies.chunking import Continuing, soft_mask
from scorefield.control.policies.solver import Schedule, SolverStep, solve
from scorefield.priors.denoiser import Denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction


@dataclass(frozen=True)
class RealTime:
    """Go on from the chunk that is being executed: real-time chunking, `chunking.Continuing`.

    delay: how many of its actions will be executed while the next chunk is computed; they are
        frozen in it.
    limit: the largest weight of the pull.
    """

    delay: int = 0
    limit: float = 5.0


@dataclass(frozen=True)
class WarmStart:
    """Begin with what the chunk before had planned, noised; fewer steps are left.

    fraction: of the schedule, the level that it is noised to, in (0, 1].
    """

    fraction: float = 0.5


Continuation = RealTime | WarmStart
"""How a chunk goes on from the one before it."""


class ChunkDenoiser(Denoiser):
    """A network given what was observed, one row per item: a denoiser of normalised chunks.

    Args:
        network: of the policy.
        prepared: the condition, as the network's `prepare` gives it.
        schedule: of the noise.
        predicts: what the network outputs.
        limit: the clean chunk that it predicts is kept in [-limit, limit]; None: it is not.
        denoise: a faster form of the network's `denoise`, for `x0`; None: there is none.
    """

    def __init__(
        self,
        network: ChunkNetwork,
        prepared: Tensor,
        schedule: Schedule,
        predicts: Predicts,
        limit: float | None,
        denoise: Callable[[Tensor, Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.schedule: Schedule = schedule
        self._network, self._prepared, self._predicts = network, prepared, predicts
        self.limit, self._denoise = limit, denoise

    def predict(self, z: Float[Tensor, "batch *shape"], level: NoiseLevel) -> Prediction:
        """The network's prediction."""
        time = (self.schedule.timestep(level) / self.schedule.num_timesteps).to(z)
        prepared = self._prepared.expand(len(z), *self._prepared.shape[1:])
        out = self._network.denoise(z, time, prepared)
        made = {
            "eps": Prediction.from_eps,
            "x0": Prediction.from_x0,
            "v": Prediction.from_v,
            "velocity": Prediction.from_velocity,
        }[self._predicts](z, level, out)
        if self.limit is None:
            return made
        return Prediction.from_x0(z, level, made.x0.clamp(-self.limit, self.limit))

    def x0(self, z: Tensor, step: SolverStep) -> Tensor:
        """The same prediction's x0 before it is clipped, by the numbers of a table."""
        denoise = self._denoise or self._network.denoise
        out = denoise(z, z.new_full((len(z),), step.time), self._prepared)
        return step.x0_of_z * z + step.x0_of_out * out

    def rows(self, index: Sequence[int]) -> "ChunkDenoiser":
        """The denoiser given the observations of these items."""
        return ChunkDenoiser(
            self._network,
            self._prepared[list(index)],
            self.schedule,
            self._predicts,
            self.limit,
            self._denoise,
        )


def draw_chunk(
    denoiser: ChunkDenoiser,
    table: Callable[[float], Sequence[SolverStep]],
    noise: Float[Tensor, "batch *draws steps size"],
    horizons: Horizons,
    previous: Tensor | None = None,
    follow: Continuation | None = None,
) -> Float[Tensor, "batch steps size"]:
    """A normalised chunk, as a function of its noise.

    Args:
        denoiser: given the observations.
        table: the steps of sampling from a fraction of the schedule.
        noise: standard normal; (batch, steps, Tp, A) where the sampler adds noise on the way, the
            first to begin from.
        horizons: of the policy.
        previous: the normalised chunk that began Ta steps before this one.
        follow: how to go on from it; None: do not.

    Raises:
        ValueError: the previous chunk has another shape, or does not reach past the delay.
    """
    fresh = None
    if noise.ndim == 4:
        noise, fresh = noise[:, 0], noise[:, 1:]
    if previous is None or follow is None:
        return solve(table(1.0), noise, denoiser.x0, denoiser.limit, fresh)
    planned = _planned(previous, noise, horizons)
    if isinstance(follow, WarmStart):
        rest = table(follow.fraction)
        begin = rest[0].level.add_noise(planned, noise)
        return solve(rest, begin, denoiser.x0, denoiser.limit, fresh)
    frozen = horizons.n_obs_steps - 1 + follow.delay
    mask = soft_mask(horizons.horizon, frozen, horizons.horizon - horizons.n_action_steps)
    steered = Continuing(denoiser, planned, mask, follow.limit)
    return solve(
        table(1.0), noise, lambda z, step: steered(z, step.level).x0, denoiser.limit, fresh
    )


def _planned(previous: Tensor, noise: Tensor, horizons: Horizons) -> Tensor:
    """What the previous chunk planned for the steps of the next; its last action goes on."""
    if previous.shape != noise.shape:
        raise ValueError(
            f"previous must be a whole chunk, of shape {tuple(noise.shape)}; "
            f"got {tuple(previous.shape)}"
        )
    steps, done = horizons.horizon, horizons.n_action_steps
    rows = torch.arange(done, done + steps, device=previous.device).clamp(max=steps - 1)
    return previous[:, rows]
