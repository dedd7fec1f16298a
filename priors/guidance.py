"""Classifier-free guidance."""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor

from scorefield.priors.denoiser import Denoiser, predict_together
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction


class ClassifierFreeGuidance(Denoiser):
    """eps_uncond + scale (eps_cond - eps_uncond) (Ho and Salimans 2022).

    scale = 1 is unguided and does not evaluate ``uncond``; scale = 0 is ``uncond``.  Papers that
    write (1 + w) eps_cond - w eps_uncond, as DreamFusion with w = 100, mean scale = 1 + w.

    The combination is made in v, which exists at zero terminal SNR; the weights sum to one, so it
    is the same in eps, x0 or score.  ``rescale`` is not linear and does depend on the space: it is
    that of Lin et al. 2023 (section 3.4, equations 15 and 16) on v, as in their models.

    Args:
        cond: the denoiser under the prompt.
        uncond: the denoiser without a prompt, or under a negative one, which then is what the
            guidance leads away from.
        scale: guidance scale s.
        rescale: phi in [0, 1]: how far the standard deviation of every guided item is brought back
            to that of the conditional prediction.
    """

    def __init__(
        self, cond: Denoiser, uncond: Denoiser, scale: float | int, rescale: float | int = 0.0
    ) -> None:
        if not 0 <= rescale <= 1:
            raise ValueError(f"rescale must lie in [0, 1], got {rescale}")
        self.cond = cond
        self.uncond = uncond
        self.scale = scale
        self.rescale = rescale
        self.schedule = cond.schedule

    def predict(self, z: Float[Tensor, "batch *shape"], level: NoiseLevel) -> Prediction:
        """The guided prediction, in one forward pass where both halves share a prior."""
        if self.scale == 1:
            return self.cond(z, level)
        if self.scale == 0 and self.rescale == 0:
            return self.uncond(z, level)
        halves = predict_together([self.cond, self.uncond], z, level)
        cond, uncond = (half.v for half in halves)
        guided = uncond + self.scale * (cond - uncond)
        if self.rescale > 0:
            ratio = _item_std(cond) / _item_std(guided)
            guided = guided * (self.rescale * ratio + (1 - self.rescale))
        # The half's own z: a frozen prior cut it from the caller's graph.
        return Prediction.from_v(halves[0].z, level, guided)

    def rows(self, index: Sequence[int]) -> "ClassifierFreeGuidance":
        """Both halves for the items ``index``."""
        return ClassifierFreeGuidance(
            self.cond.rows(index), self.uncond.rows(index), self.scale, self.rescale
        )


def _item_std(x: Tensor) -> Tensor:
    """Standard deviation over all but the batch, shaped to broadcast with ``x``."""
    return x.flatten(1).std(dim=1).reshape(-1, *[1] * (x.ndim - 1))
