"""Objectives of one noised point: SJC, CSD, NFSD and SDS-Bridge."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from scorefield.priors.experts import predict_together
from scorefield.priors.guidance.classifier_free import check_finite
from scorefield.priors.prediction import Prediction
from scorefield.sds.objective import (
    SDS,
    NoisedLatents,
    PromptedDenoisers,
    Weight,
    sigma_squared,
    weighted,
)
from scorefield.sds.objective import uniform as uniform_weight


@dataclass(frozen=True)
class SJC:
    """w (x - x0(z)) alpha / sigma: score Jacobian chaining (Wang et al. 2023, section 4.3).

    In their variance-exploding units y = z / alpha, s = sigma / alpha, the score of the blurred
    data at y is (x0 - y) / s^2, and they follow s times it. As x - x0 = (sigma / alpha)
    (eps_guided - eps), this is SDS with the weight 1.

    centred: their variance reduction, which takes x in place of y. Without it the direction is
        (y - x0) / s = eps_guided: the same mean, as eps has none, and another variance, larger
        where sigma > alpha s for data of standard deviation s, smaller below that.
    """

    centred: bool = True
    weight: Weight = uniform_weight
    needs: ClassVar[tuple[str, ...]] = ("guided",)

    def __call__(
        self, denoisers: PromptedDenoisers, point: NoisedLatents
    ) -> tuple[Tensor, Prediction]:
        """See the class."""
        prediction = denoisers.guided(point.z, point.level)
        direction = prediction.eps - point.eps if self.centred else prediction.eps
        return weighted(self.weight, point.level, direction), prediction


@dataclass(frozen=True)
class CSD:
    """w (eps_cond - (1 - q) eps_uncond - q eps_negative): classifier score distillation.

    Only the direction that guidance adds (Yu et al. 2023, eq. 7): sigma times the gradient of
    -log p(prompt | z). Their omega_1 = 1, and their omegas of the negative and of no prompt are
    -q and -(1 - q).

    It has no term that keeps x near the data: where the classifier is never satisfied, as for two
    Gaussians of one width, it has no fixed point.

    start, end: q at the start and the end of the run, in [0, 1], linear between. Their coarse
        stage is (0, 1), their refinement (1, 0.5); (0, 0) needs no negative prompt.
    """

    start: float = 0.0
    end: float = 0.0
    weight: Weight = sigma_squared

    def __post_init__(self) -> None:
        for name in ("start", "end"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1]; got {getattr(self, name)}")

    @property
    def needs(self) -> tuple[str, ...]:
        """The negative only where it has a share."""
        return ("cond", "uncond", "negative") if self.start or self.end else ("cond", "uncond")

    def __call__(
        self, denoisers: PromptedDenoisers, point: NoisedLatents
    ) -> tuple[Tensor, Prediction]:
        """See the class."""
        share = self.start + (self.end - self.start) * point.progress
        shares = {"uncond": 1 - share, "negative": share}
        shares = {name: share for name, share in shares.items() if share}
        cond, *others = predict_together(
            [denoisers.need(name) for name in ("cond", *shares)], point.z, point.level
        )
        away = sum(share * other.eps for share, other in zip(shares.values(), others, strict=True))
        return weighted(self.weight, point.level, cond.eps - away), cond


@dataclass(frozen=True)
class NFSD:
    """w (scale (eps_cond - eps_uncond) + d): noise-free score distillation (Katzir et al. 2023).

    d, the part of the prediction that leads to the data and is not noise, is eps_uncond below the
    fraction `threshold` of the schedule, and eps_uncond - eps_negative above it, where a negative
    prompt of what bad images look like stands for the noise.

    On a Gaussian d's noise below the threshold is sigma^2 / v a dimension, where SDS has
    alpha^2 s^2 / v: less as long as sigma < alpha s.

    scale: of the guidance.
    threshold: 0.2 is timestep 200 of 1000.

    Without a negative prompt no prompt stands for it: d = 0 above the threshold.
    """

    scale: float = 7.5
    threshold: float = 0.2
    weight: Weight = sigma_squared
    needs: ClassVar[tuple[str, ...]] = ("cond", "uncond")

    def __post_init__(self) -> None:
        check_finite("scale", self.scale)
        if not 0 <= self.threshold <= 1:
            raise ValueError(f"threshold is a fraction of the schedule; got {self.threshold}")

    def __call__(
        self, denoisers: PromptedDenoisers, point: NoisedLatents
    ) -> tuple[Tensor, Prediction]:
        """See the class."""
        cond, uncond = denoisers.need("cond"), denoisers.need("uncond")
        high = cond.schedule.fraction(point.level) >= self.threshold
        negative = denoisers.negative
        sides = [cond, uncond]
        if negative is not None and bool(high.any()):
            sides.append(negative)
        predictions = predict_together(sides, point.z, point.level)
        cond_eps, uncond_eps, bad_eps = (
            predictions[0].eps,
            predictions[1].eps,
            predictions[-1 if len(sides) == 3 else 1].eps,
        )
        mask = high.to(cond_eps).view(-1, *[1] * (cond_eps.ndim - 1))
        direction = self.scale * (cond_eps - uncond_eps) + uncond_eps - mask * bad_eps
        return weighted(self.weight, point.level, direction), predictions[0]


@dataclass(frozen=True)
class Bridge:
    """w scale (eps_cond - eps_negative), after a first stage of SDS: SDS-Bridge.

    McAllister et al. 2024: SDS approximates a bridge from what the generator makes now to the
    data, and is wrong about where it starts. Once there is an image, the negative prompt says what
    it looks like now (theirs: the prompt, and "oversaturated, smooth, pixelated, ..."), and the
    prompt what it should.

    scale: of the second stage.
    begin: the share of the run that is SDS.
    """

    scale: float = 7.5
    begin: float = 0.8
    weight: Weight = sigma_squared
    needs: ClassVar[tuple[str, ...]] = ("guided", "cond", "negative")

    def __post_init__(self) -> None:
        check_finite("scale", self.scale)
        if not 0 <= self.begin <= 1:
            raise ValueError(f"begin is a share of the run; got {self.begin}")

    def __call__(
        self, denoisers: PromptedDenoisers, point: NoisedLatents
    ) -> tuple[Tensor, Prediction]:
        """See the class."""
        if point.progress < self.begin:
            return SDS(self.weight)(denoisers, point)
        sides = [denoisers.need("cond"), denoisers.need("negative")]
        cond, negative = predict_together(sides, point.z, point.level)
        direction = self.scale * (cond.eps - negative.eps)
        return weighted(self.weight, point.level, direction), cond
