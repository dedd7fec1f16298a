"""Autoguidance: a prior led away from a worse version of itself."""

import copy
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.experts import check_compatible, check_range, predict_experts
from scorefield.priors.guidance.classifier_free import check_finite
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction


class AutoGuidance(Denoiser):
    """x0_bad + scale (x0_good - x0_bad) (Karras et al. 2024, "Guiding with a bad version").

    Both under the same prompt; the bad one is smaller, or trained for less long or on less.  What
    they disagree on is where the good one errs too, so samples gain quality without the loss of
    diversity that guidance away from no prompt brings.  scale = 1 is ``good`` and does not evaluate
    ``bad``.

    Two networks, each asked in turn.  Where their schedules differ the bad one is asked at equal
    log-SNR, in its own amplitudes.  Linear, with weights that sum to one, so the same in eps, x0, v
    and score.  ``diffusers.guiders.AutoGuidance`` has one network and makes the bad one by skipping
    layers of it.

    Args:
        good: the denoiser to sample.
        bad: the worse one, of the same shape and codec, at all levels of ``good.schedule``.
        scale: guidance scale, finite.

    Raises:
        ValueError: they live in different spaces, or the schedule of ``bad`` does not reach as far.
    """

    def __init__(self, good: Denoiser, bad: Denoiser, scale: float | int) -> None:
        check_finite("scale", scale)
        check_compatible([good, bad], same_text=False)
        check_range([good, bad], good.schedule, lambda log_snr: torch.ones(2, len(log_snr)))
        self.good = good
        self.bad = bad
        self.scale = scale
        self.schedule = good.schedule

    def predict(self, z: Float[Tensor, "batch *shape"], level: NoiseLevel) -> Prediction:
        """The guided prediction."""
        if self.scale == 1:
            return self.good(z, level)
        good, bad = predict_experts([self.good, self.bad], self.schedule, z, level)
        return Prediction.from_v(good.z, level, bad.v + self.scale * (good.v - bad.v))

    def rows(self, index: Sequence[int]) -> "AutoGuidance":
        """Both for the items ``index``."""
        other = copy.copy(self)  # what was checked stays true
        other.good, other.bad = self.good.rows(index), self.bad.rows(index)
        return other
