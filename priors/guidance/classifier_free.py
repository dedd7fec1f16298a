"""Classifier-free guidance, and guidance inside an interval of noise levels.

Every guidance of this library takes denoisers and is one: a function of (z, level), the same
whatever was evaluated before.  The others have a module each: `perp_neg`, `projected_guidance`,
`cfg_plus_plus`, `autoguidance`, `classifier_guidance`, and `guiders` for those of diffusers.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.denoiser import Denoiser, Term
from scorefield.priors.expert_weights import times
from scorefield.priors.experts import predict_together
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction


class ClassifierFreeGuidance(Denoiser):
    """eps_uncond + scale (eps_cond - eps_uncond) (Ho and Salimans 2022).

    scale = 1 is unguided and does not evaluate ``uncond``; scale = 0 is ``uncond``.  Papers that
    write (1 + w) eps_cond - w eps_uncond, as DreamFusion with w = 100, mean scale = 1 + w.

    The weights sum to one, so the combination is the same in eps, x0, v or score: it is made in
    what the network predicts.  ``rescale`` is not linear and does depend on the space: it is that
    of Lin et al. 2023 (section 3.4, equations 15 and 16) on v, as in their models.

    Args:
        cond: the denoiser under the prompt.
        uncond: the denoiser without a prompt, or under a negative one, which then is what the
            guidance leads away from.
        scale: guidance scale s, finite.
        rescale: phi in [0, 1]: how far the standard deviation of every guided item is brought back
            to that of the conditional prediction.
    """

    def __init__(
        self, cond: Denoiser, uncond: Denoiser, scale: float | int, rescale: float | int = 0.0
    ) -> None:
        check_finite("scale", scale)
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
        cond, uncond = predict_together([self.cond, self.uncond], z, level)
        # at the half's own z: a frozen prior cut it from the caller's graph
        guided = uncond.towards(cond, self.scale)
        if self.rescale == 0:
            return guided
        ratio = _item_std(cond.v) / _item_std(guided.v)
        v = guided.v * (self.rescale * ratio + (1 - self.rescale))
        return Prediction.from_v(guided.z, level, v)

    @property
    def terms(self) -> Sequence[Term]:
        """Those of both halves, weighted; itself alone with a rescale, or where it is derived."""
        if type(self) is not ClassifierFreeGuidance or self.rescale > 0:
            return super().terms
        halves = ((self.cond, self.scale), (self.uncond, 1 - self.scale))
        return [
            Term(part.denoiser, times(part.weight, weight))
            for half, weight in halves
            for part in half.terms
        ]

    def rows(self, index: Sequence[int]) -> "ClassifierFreeGuidance":
        """Both halves for the items ``index``."""
        return ClassifierFreeGuidance(
            self.cond.rows(index), self.uncond.rows(index), self.scale, self.rescale
        )


class GuidanceInterval(Denoiser):
    """``guided`` where low <= log-SNR < high, ``unguided`` elsewhere.

    Guidance at high noise costs diversity, at low noise nothing but time (Kynkaanniemi et al.
    2024, "Applying guidance in a limited interval").  Their interval (sigma_lo, sigma_hi] of
    sigma / alpha is log-SNR [-2 ln sigma_hi, -2 ln sigma_lo).  Items outside the interval are never
    handed to ``guided``, so its second half costs nothing there; a batch of mixed levels is split.
    As ``guided`` may be any guidance, intervals nest and chain.

    Args:
        guided: e.g. ClassifierFreeGuidance(cond, uncond, scale).
        unguided: e.g. cond.
        low, high: the interval of log-SNR; low < high, infinities allowed.
    """

    def __init__(
        self, guided: Denoiser, unguided: Denoiser, low: float | int, high: float | int
    ) -> None:
        if not low < high:  # also refuses NaN
            raise ValueError(f"the interval of log-SNR needs low < high, got {low} and {high}")
        self.guided = guided
        self.unguided = unguided
        self.low = low
        self.high = high
        self.schedule = guided.schedule

    def predict(self, z: Float[Tensor, "batch *shape"], level: NoiseLevel) -> Prediction:
        """The prediction of whichever is in charge of each item."""
        log_snr = level.log_snr
        inside = ((log_snr >= self.low) & (log_snr < self.high)).tolist()
        if all(inside):
            return self.guided(z, level)
        if not any(inside):
            return self.unguided(z, level)
        parts, order = [], []
        for denoiser, wanted in ((self.guided, True), (self.unguided, False)):
            index = [item for item, is_inside in enumerate(inside) if is_inside == wanted]
            parts.append(denoiser.rows(index)(z[index], level[index]))
            order += index
        back = torch.tensor(order, device=z.device).argsort()
        at = torch.cat([part.z for part in parts])[back]
        return Prediction.from_v(at, level, torch.cat([part.v for part in parts])[back])

    def rows(self, index: Sequence[int]) -> "GuidanceInterval":
        """Both for the items ``index``."""
        return GuidanceInterval(
            self.guided.rows(index), self.unguided.rows(index), self.low, self.high
        )


def check_finite(name: str, value: float | int) -> None:
    """Refuse NaN and infinities."""
    if not math.isfinite(value):
        raise ValueError(f"{name} must be a finite number, got {value}")


def component_along(
    x: Float[Tensor, "batch *shape"], direction: Float[Tensor, "batch *shape"]
) -> Float[Tensor, "batch *shape"]:
    """The part of every item of ``x`` parallel to that of ``direction``; 0 where that is 0."""
    dims = tuple(range(1, x.ndim))
    square = (direction**2).sum(dim=dims, keepdim=True)
    share = (x * direction).sum(dim=dims, keepdim=True) / torch.where(square > 0, square, 1)
    return share * direction


def _item_std(x: Tensor) -> Tensor:
    """Standard deviation over all but the batch, shaped to broadcast with ``x``."""
    return x.flatten(1).std(dim=1).reshape(-1, *[1] * (x.ndim - 1))
