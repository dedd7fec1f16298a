"""Perp-Neg: negative prompts that cannot undo the positive one."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.experts import predict_together
from scorefield.priors.guidance.classifier_free import check_finite, component_along
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction


class PerpNeg(Denoiser):
    """eps_uncond + scale (d - sum_i w_i perp(d_i, d)) (Armandpour et al. 2023, Algorithm 1).

    d = eps_cond - eps_uncond is the positive direction, d_i = eps_i - eps_uncond that of negative i
    and perp(d_i, d) its part perpendicular to d over all of an item: a negative that repeats the
    positive takes nothing away.  Where d = 0 there is nothing to protect and d_i counts in full.

    Not linear in the predictions; yet, as differences in eps, x0, v and score are parallel, the
    same in any of them.  Their weights w_i > 0 are subtracted; threestudio adds them, negated.

    A negative of weight 0 is not evaluated; without any, it is ClassifierFreeGuidance.

    Args:
        cond: the denoiser under the prompt.
        uncond: the denoiser without a prompt.
        negatives: denoisers under what is not wanted.
        weights: w_i >= 0, shape (negatives,), or (negatives, items) for weights of each item, as
            for views of an object from different sides.
        scale: guidance scale, finite.
    """

    def __init__(
        self,
        cond: Denoiser,
        uncond: Denoiser,
        negatives: Sequence[Denoiser],
        weights: Sequence[float | int] | Float[Tensor, "negatives *items"],
        scale: float | int,
    ) -> None:
        check_finite("scale", scale)
        w = torch.as_tensor(weights, dtype=torch.float64)
        if w.ndim not in (1, 2) or len(w) != len(negatives):
            raise ValueError(
                f"weights must have shape ({len(negatives)},) or ({len(negatives)}, items), one "
                f"for each negative, got {tuple(w.shape)}"
            )
        if not bool((w.isfinite() & (w >= 0)).all()):
            raise ValueError(
                f"weights must be finite and >= 0, got {w.tolist()}; they are subtracted, "
                "so a negative with weight 1 leads away from it"
            )
        self.cond = cond
        self.uncond = uncond
        self.negatives = tuple(negatives)
        self.weights = w if w.ndim == 2 else w[:, None]
        self.scale = scale
        self.schedule = cond.schedule

    def predict(self, z: Float[Tensor, "batch *shape"], level: NoiseLevel) -> Prediction:
        """The guided prediction, in one forward pass where all share a prior."""
        if self.weights.shape[1] not in (1, len(z)):
            raise ValueError(
                f"weights for {self.weights.shape[1]} items do not fit a batch of {len(z)}; "
                f"give weights for one item or {len(z)}"
            )
        if self.scale == 0:
            return self.uncond(z, level)
        active = [i for i, row in enumerate(self.weights) if bool((row > 0).any())]
        if self.scale == 1 and not active:
            return self.cond(z, level)
        denoisers = [self.cond, self.uncond, *(self.negatives[i] for i in active)]
        predictions = predict_together(denoisers, z, level)
        cond, uncond, *negatives = (prediction.v for prediction in predictions)
        positive = cond - uncond
        direction = positive
        for i, negative in zip(active, negatives, strict=True):
            weight = self.weights[i].to(z.device, cond.dtype).reshape(-1, *[1] * (z.ndim - 1))
            away = negative - uncond
            direction = direction - weight * (away - component_along(away, positive))
        return Prediction.from_v(predictions[0].z, level, uncond + self.scale * direction)

    def rows(self, index: Sequence[int]) -> "PerpNeg":
        """All of them for the items ``index``."""
        one_for_all = self.weights.shape[1] == 1
        return PerpNeg(
            self.cond.rows(index),
            self.uncond.rows(index),
            [negative.rows(index) for negative in self.negatives],
            self.weights if one_for_all else self.weights[:, list(index)],
            self.scale,
        )
