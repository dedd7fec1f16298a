"""CFG++: guidance that renoises with the unconditional noise."""

import copy
from collections.abc import Sequence
from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.experts import predict_together
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction
from scorefield.priors.schedule import LOG_SNR_ROUNDING
from scorefield.priors.steps import level_path

# Below, a level is taken to hold no signal: schedulers of diffusers that cannot do with alpha = 0
# put alpha^2 = 2^-24 in its place, log-SNR -16.6.
_NO_SIGNAL = -16.0


class CFGPlusPlus(Denoiser):
    """The denoiser whose deterministic first-order trajectory is that of CFG++ (Chung et al. 2024).

    From a level (alpha, sigma) to the next (alpha', sigma') CFG++ steps by

        x0 = (z - sigma (eps_u + scale (eps_c - eps_u))) / alpha
        z' = alpha' x0 + sigma' eps_u,

    where DDIM would renoise with the guided noise.  With u = sigma / alpha that is DDIM's step
    under ClassifierFreeGuidance of scale omega = scale u / (u - u'), which is ``scale`` itself at
    zero terminal SNR and at the last step, to u' = 0, and larger the shorter the step: CFG++ pushes
    by as much in every step, however short, so it is a rule for a number of steps without a limit.
    So it is a denoiser that knows the levels of its trajectory, those of ``level_path``, which
    `sample` visits by default:

        sample(CFGPlusPlus(cond, uncond, 0.6, steps=25), shape, steps=25)

    Under a scheduler that is not first order and deterministic it is guidance of scale omega, and
    no more CFG++.  Linear, with weights that sum to one, so the same in eps, x0, v and score.
    diffusers has no such guider: it would have to change the schedulers.

    Args:
        cond: the denoiser under the prompt.
        uncond: the denoiser without one, or under a negative one.
        scale: lambda in [0, 1]; 1 leads to the conditional x0 at every step.
        steps: of the trajectory, over ``cond.schedule``.
    """

    def __init__(self, cond: Denoiser, uncond: Denoiser, scale: float | int, steps: int) -> None:
        if not 0 <= scale <= 1:
            raise ValueError(
                f"the scale of CFG++ interpolates, in [0, 1], got {scale}; "
                "scales above 1 are those of ClassifierFreeGuidance"
            )
        self.cond = cond
        self.uncond = uncond
        self.scale = scale
        self.steps = steps
        self.schedule = cond.schedule
        path = level_path(self.schedule, steps)
        self._log_snr = torch.stack([level.log_snr for level in path[:-1]]).clamp(_NO_SIGNAL)
        # u' / u, without the division by alpha that zero terminal SNR forbids
        ratios = [to.sigma * at.alpha / (to.alpha * at.sigma) for at, to in pairwise(path)]
        self._omega = scale / (1 - torch.stack(ratios))

    def guidance_scale(self, level: NoiseLevel) -> Float[Tensor, "*batch"]:
        """omega, the scale of the equivalent classifier-free guidance, at levels of the trajectory.

        Raises:
            ValueError: a level the trajectory does not visit.
        """
        log_snr = level.log_snr.cpu().double().clamp(_NO_SIGNAL)
        distance, step = (log_snr[..., None] - self._log_snr).abs().min(dim=-1)
        astray = distance > LOG_SNR_ROUNDING
        if bool(astray.any()):
            raise ValueError(
                f"log-SNR {float(log_snr[astray].reshape(-1)[0]):.6g} is not on the trajectory of "
                f"{self.steps} steps that CFG++ was made for; sample with steps={self.steps} and "
                "the default scheduler, or visit the levels of level_path"
            )
        return self._omega[step]

    def predict(self, z: Float[Tensor, "batch *shape"], level: NoiseLevel) -> Prediction:
        """The guided prediction, in one forward pass where both halves share a prior."""
        omega = self.guidance_scale(level)
        halves = predict_together([self.cond, self.uncond], z, level)
        cond, uncond = (half.v for half in halves)
        omega = omega.to(cond.dtype).to(z.device).reshape(-1, *[1] * (z.ndim - 1))
        return Prediction.from_v(halves[0].z, level, uncond + omega * (cond - uncond))

    def rows(self, index: Sequence[int]) -> "CFGPlusPlus":
        """Both halves for the items ``index``."""
        other = copy.copy(self)  # the trajectory is the same
        other.cond, other.uncond = self.cond.rows(index), self.uncond.rows(index)
        return other
