"""The guiders of diffusers, as denoisers."""

import copy
import inspect
from collections.abc import Sequence
from typing import Any, Literal

from jaxtyping import Float
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.experts import predict_together
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction

_READERS = {
    "eps": Prediction.from_eps,
    "x0": Prediction.from_x0,
    "v": Prediction.from_v,
    "velocity": Prediction.from_velocity,
}

# Settings of guiders that make them depend on the step, with the values at which they do not.
_STATELESS = {
    "start": (0.0, "use GuidanceInterval"),
    "stop": (1.0, "use GuidanceInterval"),
    "zero_init_steps": (0, "start the sampler later"),
    "adaptive_projected_guidance_momentum": (
        None,
        "use AdaptiveProjectedGuidance.predict_with_momentum",
    ),
}


class DiffusersGuidance(Denoiser):
    """Two denoisers combined by a guider of `diffusers.guiders`.

    For guiders that combine a conditional and an unconditional prediction and nothing else:
    ClassifierFreeGuidance, AdaptiveProjectedGuidance, ClassifierFreeZeroStarGuidance,
    TangentialClassifierFreeGuidance, FrequencyDecoupledGuidance (which needs kornia) and, on packed
    latents (batch, tokens, channels) alone, MagnitudeAwareGuidance.  Those that skip or perturb
    layers reach into one network and do not fit; nor does what depends on the number of the step,
    for a denoiser only knows its level.

    Except for plain guidance they are not linear, so ``space`` matters: a guider acts on the output
    of its pipeline's network, which is eps for Stable Diffusion 1 and XL, v for 2.1 and the
    velocity for flows.  diffusers calls its guiders experimental and warns when one is made.

    Args:
        cond: the denoiser under the prompt.
        uncond: the denoiser without one, or under a negative one.
        guider: an instance; it is copied, never changed.
        space: the quantity it combines, any a `Prediction` is made from.
    """

    def __init__(
        self,
        cond: Denoiser,
        uncond: Denoiser,
        guider: Any,
        space: Literal["eps", "x0", "v", "velocity"],
    ) -> None:
        name = type(guider).__name__
        if set(inspect.signature(guider.forward).parameters) != {"pred_cond", "pred_uncond"}:
            raise ValueError(
                f"{name} needs more than a conditional and an unconditional prediction; "
                "only guiders of these two can guide denoisers"
            )
        for setting, (value, instead) in _STATELESS.items():
            given = guider.config.get(setting, value)
            if given != value:
                raise ValueError(
                    f"{name} with {setting}={given} depends on the number of the step; "
                    f"set {setting}={value} and {instead}"
                )
        self.cond = cond
        self.uncond = uncond
        self.space = space
        self.schedule = cond.schedule
        self.guider = copy.copy(guider)
        self.guider.set_state(0, 1, None)  # some guiders expect to be at some step
        self._make = _READERS[space]

    def predict(self, z: Float[Tensor, "batch *shape"], level: NoiseLevel) -> Prediction:
        """The guided prediction, in one forward pass where both halves share a prior."""
        if self.guider.num_conditions == 1:
            return self.cond(z, level)
        halves = predict_together([self.cond, self.uncond], z, level)
        cond, uncond = (getattr(half, self.space) for half in halves)
        return self._make(halves[0].z, level, self.guider.forward(cond, uncond).pred)

    def rows(self, index: Sequence[int]) -> "DiffusersGuidance":
        """Both halves for the items ``index``."""
        return DiffusersGuidance(
            self.cond.rows(index), self.uncond.rows(index), self.guider, self.space
        )
