"""Adaptive projected guidance: high scales without saturated colours."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.experts import predict_together
from scorefield.priors.guidance.classifier_free import check_finite, component_along
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction


class AdaptiveProjectedGuidance(Denoiser):
    """x0_cond + (scale - 1) (D_perp + eta D_par) (Sadat et al. 2024, "APG", Algorithm 1).

    D = x0_cond - x0_uncond, shortened to at most ``max_norm``, is split into its part parallel to
    x0_cond, which is blamed for saturation, and the rest.  scale = 1 is the conditional prediction;
    eta = 1 without max_norm is ClassifierFreeGuidance.

    Not linear, and made in x0: in eps or v the split would be another.  Norms and products are over
    all of an item.  ``diffusers.guiders.AdaptiveProjectedGuidance`` with
    ``use_original_formulation=True`` and its scale one lower is the same on x0; its default form
    starts from the unconditional prediction, and with eta < 1 does not meet the conditional one at
    scale 1.

    The paper's reverse momentum makes a step depend on the one before, which a denoiser does not
    know: it would leak from one batch, run or corrector step into the next.  A loop that owns its
    trajectory can have it, by `predict_with_momentum`.

    Args:
        cond: the denoiser under the prompt.
        uncond: the denoiser without one, or under a negative one.
        scale: guidance scale s, finite.
        eta: share of the parallel part that is kept, in [0, 1].
        max_norm: longest D, in units of x0; it grows with the square root of the number of
            elements.  None for no limit.  The paper takes 15 for Stable Diffusion XL.
    """

    def __init__(
        self,
        cond: Denoiser,
        uncond: Denoiser,
        scale: float | int,
        eta: float | int = 0.0,
        max_norm: float | int | None = None,
    ) -> None:
        check_finite("scale", scale)
        if not 0 <= eta <= 1:
            raise ValueError(f"eta must lie in [0, 1], got {eta}")
        if max_norm is not None and not 0 < max_norm < math.inf:
            raise ValueError(f"max_norm must be positive, got {max_norm}; None is no limit")
        self.cond = cond
        self.uncond = uncond
        self.scale = scale
        self.eta = eta
        self.max_norm = max_norm
        self.schedule = cond.schedule

    def predict(self, z: Float[Tensor, "batch *shape"], level: NoiseLevel) -> Prediction:
        """The guided prediction, in one forward pass where both halves share a prior."""
        if self.scale == 1:
            return self.cond(z, level)
        return self.predict_with_momentum(z, level, None, 0.0)[0]

    def predict_with_momentum(
        self,
        z: Float[Tensor, "batch *shape"],
        level: NoiseLevel,
        running: Float[Tensor, "batch *shape"] | None,
        momentum: float | int,
    ) -> tuple[Prediction, Float[Tensor, "batch *shape"]]:
        """One step of a trajectory whose D is averaged with those of the steps before.

        D = (x0_cond - x0_uncond) + momentum D_before, before it is shortened and split.

        Args:
            z: noisy samples.
            level: their level.
            running: D of the step before, as it was returned; None at the first step.
            momentum: in (-1, 1); the paper takes -0.5 or -0.75.

        Returns:
            The prediction, and D for the next step.
        """
        if not -1 < momentum < 1:
            raise ValueError(f"momentum must lie in (-1, 1), got {momentum}")
        level = level.expand(len(z))
        halves = predict_together([self.cond, self.uncond], z, level)
        cond, uncond = (half.x0 for half in halves)
        difference = cond - uncond
        if running is not None:
            difference = difference + momentum * running
        short = self._shortened(difference)
        parallel = component_along(short, cond)
        update = short - (1 - self.eta) * parallel
        guided = cond + (self.scale - 1) * update
        return Prediction.from_x0(halves[0].z, level, guided), difference

    def rows(self, index: Sequence[int]) -> "AdaptiveProjectedGuidance":
        """Both halves for the items ``index``."""
        return AdaptiveProjectedGuidance(
            self.cond.rows(index), self.uncond.rows(index), self.scale, self.eta, self.max_norm
        )

    def _shortened(self, difference: Tensor) -> Tensor:
        if self.max_norm is None:
            return difference
        norm = torch.linalg.vector_norm(
            difference, dim=tuple(range(1, difference.ndim)), keepdim=True
        )
        return difference * (self.max_norm / norm.clamp(min=self.max_norm))
