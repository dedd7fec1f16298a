"""Real-time chunking: the next chunk goes on from the one that is being executed.

While the next chunk is computed, the robot executes actions of the present one. Those are decided:
they are frozen in the next chunk, and the actions that follow are drawn towards what the present
one had planned, less and less, so that the two do not part at the seam. Nothing is trained for it;
any denoiser of chunks is steered as it samples (Black et al. 2025, arXiv 2506.07339).
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction
from scorefield.priors.steps import ddim_step, denoise_loop, level_path


def soft_mask(steps: int, frozen: int, overlap: int) -> Float[Tensor, " steps"]:
    """How much each action of the next chunk is bound to the present one: W of the paper.

    1 for the frozen ones; c (e^c - 1) / (e - 1) with c = (overlap - i) / (overlap - frozen + 1) for
    the others, i, that the present chunk had planned; 0 beyond.

    Args:
        steps: Tp.
        frozen: how many actions are decided: those that will have been executed when the next
            chunk is there.
        overlap: how many actions of the next chunk the present one had planned.

    Raises:
        ValueError: not 0 <= frozen <= overlap <= steps.
    """
    if not 0 <= frozen <= overlap <= steps:
        raise ValueError(
            f"frozen {frozen}, overlap {overlap} and steps {steps} must not decrease; plan more "
            "often, or predict more steps, for the present chunk to reach past the delay"
        )
    places = torch.arange(steps, dtype=torch.float64)
    c = ((overlap - places) / (overlap - frozen + 1)).clamp(0, 1)
    mask = c * torch.expm1(c) / math.expm1(1)
    return torch.where(places < frozen, 1.0, mask).float()


class Continuing(Denoiser):
    """A denoiser of chunks, steered towards what another chunk had planned.

    x0' = x0 + sigma min(beta, (alpha^2 + sigma^2) / (alpha sigma)) J^T W (planned - x0), where J is
    the Jacobian of x0 in z; where W = 1, x0' is the plan itself.

    It is the paper's rule (pseudoinverse guidance, Song et al. 2023, with the weight clipped),
    written for any pair of amplitudes: for rectified flow, alpha = tau and sigma = 1 - tau, the
    velocity gains min(beta, (1 - tau) / (tau r^2)) J^T W (planned - x0) with
    r^2 = (1 - tau)^2 / (tau^2 + (1 - tau)^2). It takes the actions, given z, for independent and of
    variance r^2, and so is the exact posterior for a standard normal prior alone; a prior whose
    actions hang together is followed in part. The paper leaves the frozen actions to the guidance
    too, though others than the planned ones cannot be executed any more.

    Args:
        denoiser: of chunks (batch, Tp, A).
        planned: shape (batch, Tp, A); what the mask hides may be anything finite.
        mask: W, shape (Tp,), from `soft_mask`.
        limit: beta, the largest weight; 5 in the paper.

    Raises:
        ValueError: the limit is negative.
    """

    def __init__(
        self,
        denoiser: Denoiser,
        planned: Float[Tensor, "batch steps size"],
        mask: Float[Tensor, " steps"],
        limit: float | int = 5.0,
    ) -> None:
        if limit < 0:
            raise ValueError(f"limit must be at least 0, got {limit}")
        self.schedule = denoiser.schedule
        self._denoiser, self._planned = denoiser, planned
        self._mask = mask.to(planned)[:, None]
        self._limit = limit

    def predict(self, z: Float[Tensor, "batch steps size"], level: NoiseLevel) -> Prediction:
        """The steered prediction, as x0."""
        with torch.enable_grad():
            start = z.detach().requires_grad_()
            x0 = self._denoiser(start, level).x0
            error = self._mask * (self._planned - x0.detach())
            (pull,) = torch.autograd.grad(x0, start, error)
        alpha, sigma = level.like(z)
        # sigma times the clipped weight: finite at both ends of a schedule
        weight = torch.minimum(self._limit * sigma, (alpha**2 + sigma**2) / alpha)
        steered = (x0.detach() + weight * pull).to(z.dtype)
        return Prediction.from_x0(z, level, torch.where(self._mask == 1, self._planned, steered))

    def rows(self, index: Sequence[int]) -> "Continuing":
        """The rows ``index`` of the plan, and of the denoiser."""
        chosen = list(index)
        return Continuing(
            self._denoiser.rows(chosen), self._planned[chosen], self._mask[:, 0], self._limit
        )


@torch.no_grad()
def continue_chunk(
    denoiser: Denoiser,
    present: Float[Tensor, "batch steps size"],
    noise: Float[Tensor, "batch steps size"],
    *,
    executed: int,
    frozen: int,
    steps: int = 10,
    limit: float | int = 5.0,
    bound: float | None = 1.0,
) -> Float[Tensor, "batch steps size"]:
    """The next chunk, by DDIM (or Euler steps of a flow), going on from the present one.

    Its action i stands where action i + executed of the present chunk stood.

    Args:
        denoiser: of chunks, conditioned on the observation that the next one begins from; such as
            `Diffusion.denoiser`.
        present: the whole chunk that is being executed, in the denoiser's units.
        noise: standard normal.
        executed: by how many steps the next chunk begins after the present one.
        frozen: how many of its actions are decided: those before the observation (To - 1), and
            those that are executed while it is computed.
        steps: evaluations of the denoiser.
        limit: of the guidance, see `Continuing`.
        bound: x0 is kept within +-bound at every step; None for no bound.

    Raises:
        ValueError: the present chunk does not reach as far as the frozen actions.
    """
    length = present.shape[1]
    if not 0 <= executed <= length:
        raise ValueError(f"executed must lie in [0, {length}], the chunk's length; got {executed}")
    planned = torch.zeros_like(present)
    planned[:, : length - executed] = present[:, executed:]
    mask = soft_mask(length, frozen, length - executed)
    steered = Continuing(denoiser, planned, mask, limit)

    def step(z: Tensor, here: NoiseLevel, to: NoiseLevel, _: int) -> Tensor:
        x0 = steered(z, here).x0
        if bound is not None:
            x0 = x0.clamp(-bound, bound)
        return ddim_step(Prediction.from_x0(z, here.expand(len(z)), x0), to)

    return denoise_loop(noise, level_path(denoiser.schedule, steps), step)
