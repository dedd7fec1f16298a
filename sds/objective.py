"""Score distillation: a frozen prior's gradient on any differentiable image.

Every member of the family is w(level) (A - B) for two predictions A and B at a noised point: what
the generator should look like minus what it looks like. Here are the pieces: the difference, the
weight, and their application to latents. Nothing of this knows what made the image.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.denoiser import Denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction

Weight = Callable[[NoiseLevel], Tensor]
"""w(level): (batch,) weights of a batch of levels."""


def sigma_squared(level: NoiseLevel) -> Tensor:
    """The weight sigma^2, DreamFusion's choice; 1 - alpha_bar for variance-preserving schedules."""
    return level.sigma**2


def uniform(level: NoiseLevel) -> Tensor:
    """The weight 1 at every level."""
    return torch.ones_like(level.sigma)


@dataclass(frozen=True)
class Point:
    """Where an objective looks: clean latents x, noised to z = alpha x + sigma eps."""

    x: Float[Tensor, "batch *shape"]
    level: NoiseLevel
    eps: Float[Tensor, "batch *shape"]

    @property
    def z(self) -> Float[Tensor, "batch *shape"]:
        """The noised latents."""
        return self.level.add_noise(self.x, self.eps)


Difference = Callable[[Denoiser, Point], tuple[Tensor, Prediction]]
"""(A - B, the prediction it came from) at a point; evaluated without a graph."""


def sds_difference(denoiser: Denoiser, point: Point) -> tuple[Tensor, Prediction]:
    """eps_hat(z) - eps: score distillation sampling (Poole et al. 2022, eq. 3).

    Guidance is the denoiser's business: pass a guided one.
    """
    prediction = denoiser(point.z, point.level)
    return prediction.eps - point.eps, prediction


@dataclass(frozen=True)
class Distilled:
    """The outcome of one distillation step.

    gradient: with respect to the latents of each item, w (A - B) after clipping.
    x0: the clean latents that the prior sees in the noised ones.
    loss: a scalar whose gradient with respect to the latents is `gradient / batch`, and whose
        value means nothing; the figures are what to look at.
    """

    gradient: Float[Tensor, "batch *shape"]
    x0: Float[Tensor, "batch *shape"]
    loss: Float[Tensor, ""]
    figures: dict[str, float]


def distill(
    denoiser: Denoiser,
    latents: Float[Tensor, "batch *shape"],
    level: NoiseLevel,
    eps: Float[Tensor, "batch *shape"],
    *,
    difference: Difference = sds_difference,
    weight: Weight = sigma_squared,
    clip: float | None = None,
) -> Distilled:
    """One evaluation of a distillation objective.

    The gradient goes into whatever made the latents (a codec's encoder, a renderer), never through
    the prior's network.

    denoiser: the prior under its conditions, one per item or one for all.
    latents: clean latents, usually with a graph behind them.
    level: one for all items or one each.
    eps: standard normal noise in the shape of the latents.
    clip: largest norm of an item's gradient, per root of its size (so 1.0 allows each number a
        root mean square of 1); None does not clip.
    """
    level = level.expand(len(latents))
    with torch.no_grad():
        point = Point(latents.detach(), level, eps)
        direction, prediction = difference(denoiser, point)
        shape = (-1,) + (1,) * (latents.ndim - 1)
        gradient = weight(level).to(direction).view(shape) * direction
        norm = gradient.flatten(1).square().mean(1).sqrt()
        if clip is not None:
            gradient = gradient * (clip / norm.clamp(min=clip)).view(shape)
        x0 = prediction.x0
    loss = (gradient * latents).sum() / len(latents)
    residual = (latents.detach() - x0).square().mean().sqrt()
    figures = {"gradient": norm.mean().item(), "x0_residual": residual.item()}
    return Distilled(gradient, x0, loss, figures)
