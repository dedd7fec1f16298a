"""Score distillation: a frozen prior's gradient on any differentiable image.

Every member of the family is w(level) (A - B) for two predictions A and B at one or two noised
points: what the generator should look like minus what it looks like. Here are the frame and its
first member, SDS; the others are in `scorefield.sds.objectives`. Nothing of this knows what made
the image.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from typing import Any, ClassVar, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.devices import to_device
from scorefield.priors.denoiser import Denoiser
from scorefield.priors.experts import check_is_denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction
from scorefield.priors.prior import ImagePrior, Prompts, ToldCameras

Weight = Callable[[NoiseLevel], Tensor]
"""w(level): (batch,) weights of a batch of levels."""


def sigma_squared(level: NoiseLevel) -> Tensor:
    """The weight sigma^2, DreamFusion's choice; 1 - alpha_bar for variance-preserving schedules."""
    return level.sigma**2


def uniform(level: NoiseLevel) -> Tensor:
    """The weight 1 at every level."""
    return torch.ones_like(level.sigma)


def noise_to_signal(level: NoiseLevel) -> Tensor:
    """The weight sigma / alpha, sqrt((1 - alpha_bar) / alpha_bar): eps differences become x0's."""
    return level.sigma / level.alpha


@dataclass(frozen=True)
class NoisedLatents:
    """Where an objective looks: clean latents x, noised to z = alpha x + sigma eps.

    progress: the share of the run that is done, in [0, 1], for what changes over it.
    reference: the clean latents of the image that is edited, one per item; only for editing.
    """

    x: Float[Tensor, "batch *shape"]
    level: NoiseLevel
    eps: Float[Tensor, "batch *shape"]
    progress: float = 0.0
    reference: Float[Tensor, "batch *shape"] | None = None

    @property
    def z(self) -> Float[Tensor, "batch *shape"]:
        """The noised latents."""
        return self.level.add_noise(self.x, self.eps)


_LACKS = {
    "cond": "the prior under the prompt; build them with PromptedDenoisers.of",
    "uncond": "the prior without a prompt, and there is none",
    "negative": "a negative prompt; give one",
    "source": "a source prompt: it edits an image, see edit_image",
    "phi": "phi, a learned field of the generator's images, see VSD",
}


@dataclass(frozen=True, eq=False)
class PromptedDenoisers:
    """The denoisers an objective takes differences of: one prior under several prompts.

    guided: under the prompt, guided as samples of the prior are (its `guidance_kind`); what the
        generator should look like.
    cond: under the prompt. uncond: without one. negative: under the negative prompt.
    source: under the prompt of the image that is edited, guided as `guided` is.
    phi: a field of what the generator makes now.
    """

    guided: Denoiser
    cond: Denoiser | None = None
    uncond: Denoiser | None = None
    negative: Denoiser | None = None
    source: Denoiser | None = None
    phi: Denoiser | None = None

    @classmethod
    def of(
        cls,
        prior: ImagePrior,
        prompts: Prompts,
        scale: float | int | None = None,
        *,
        negative: Prompts | None = None,
        source: Prompts | None = None,
        phi: Denoiser | None = None,
        cameras: ToldCameras | None = None,
    ) -> "PromptedDenoisers":
        """A prior's, under one prompt or one prompt per item.

        scale: of the classifier-free guidance; None takes the prior's own.
        negative: what guidance leads away from in place of no prompt.
        cameras: that see the items, for a prior that is told them, under every prompt and none.
        """
        scale = prior.guidance_scale if scale is None else scale
        condition = (
            prior.condition if cameras is None else partial(prior.condition, cameras=cameras)
        )
        cond = condition(prompts)
        bad = None if negative is None else condition(negative)
        uncond = None
        try:
            uncond = condition(None)
        except ValueError:  # not every prior can do without a prompt, nor has to
            if bad is None and scale != 1:
                raise

        def guided(towards: Denoiser) -> Denoiser:
            away = bad or uncond or towards
            return prior.guidance_kind(towards, away, scale)

        from_source = None if source is None else guided(condition(source))
        return cls(guided(cond), cond, uncond, bad, from_source, phi)

    def need(self, name: str) -> Denoiser:
        """The denoiser of that name.

        Raises:
            ValueError: there is none.
        """
        denoiser: Denoiser | None = getattr(self, name)
        if denoiser is None:
            raise ValueError(f"this objective needs {_LACKS[name]}")
        return denoiser

    def check(self, objective: "Objective") -> None:
        """Raise ValueError if the objective names a denoiser that is not there."""
        for name in getattr(objective, "needs", ()):
            self.need(name)


@runtime_checkable
class Objective(Protocol):
    """What the frozen dataclasses of `scorefield.sds.objectives` are, and any function may be.

    The attribute ``needs``, if there is one, names the denoisers it uses, to be checked early.
    """

    def __call__(
        self, denoisers: PromptedDenoisers, point: NoisedLatents
    ) -> tuple[Tensor, Prediction]:
        """(w (A - B), the prediction A) at a point; called without a graph."""
        ...


def weighted(weight: Weight, level: NoiseLevel, difference: Tensor) -> Tensor:
    """w (A - B), the weight of each item shaped to broadcast."""
    shape = (-1,) + (1,) * (difference.ndim - 1)
    row = to_device(weight(level).to(difference.dtype), difference.device)
    return row.view(shape) * difference


@dataclass(frozen=True)
class SDS:
    """w (eps_guided(z) - eps): score distillation sampling (Poole et al. 2022, eq. 3).

    DreamFusion's guidance omega = 100 is a scale of 101 here.
    """

    weight: Weight = sigma_squared
    needs: ClassVar[tuple[str, ...]] = ("guided",)

    def __call__(
        self, denoisers: PromptedDenoisers, point: NoisedLatents
    ) -> tuple[Tensor, Prediction]:
        """See the class."""
        prediction = denoisers.guided(point.z, point.level)
        return weighted(self.weight, point.level, prediction.eps - point.eps), prediction


@dataclass(frozen=True)
class DistillationResult:
    """The outcome of one distillation step.

    gradient: with respect to the latents of each item, w (A - B) after clipping.
    x0: the clean latents that the prior sees in the noised ones.
    loss: a scalar whose gradient with respect to the latents is `gradient / batch`, and whose
        value means nothing; the metrics are what to look at.
    metrics: by name, numbers on the device: none is waited for until it is read.
    """

    gradient: Float[Tensor, "batch *shape"]
    x0: Float[Tensor, "batch *shape"]
    loss: Float[Tensor, ""]
    metrics: dict[str, Float[Tensor, ""]]


def distill(
    denoisers: PromptedDenoisers | Denoiser,
    latents: Float[Tensor, "batch *shape"],
    level: NoiseLevel,
    eps: Float[Tensor, "batch *shape"],
    *,
    objective: Objective = SDS(),
    progress: float | int = 0.0,
    reference: Float[Tensor, "batch *shape"] | None = None,
    clip: float | None = None,
) -> DistillationResult:
    """One evaluation of a distillation objective.

    The gradient goes into whatever made the latents (a codec's encoder, a renderer), never through
    the prior's network.

    denoisers: the prior under its prompts, one per item or one for all; a single denoiser is the
        guided one.
    latents: clean latents, usually with a graph behind them.
    level: one for all items or one each.
    eps: standard normal noise in the shape of the latents.
    progress, reference: see `NoisedLatents`.
    clip: largest norm of an item's gradient, per root of its size (so 1.0 allows each number a
        root mean square of 1); None does not clip.

    Raises:
        ValueError: no denoiser first, or the objective needs a denoiser or a reference that is not
            given.
    """
    if isinstance(denoisers, Denoiser):
        denoisers = PromptedDenoisers(denoisers)
    elif not isinstance(denoisers, PromptedDenoisers):
        check_is_denoiser(denoisers)
    level = level.expand(len(latents))
    with torch.no_grad():
        point = NoisedLatents(latents.detach(), level, eps, float(progress), reference)
        gradient, prediction = objective(denoisers, point)
        norm = gradient.flatten(1).square().mean(1).sqrt()
        if clip is not None:
            shape = (-1,) + (1,) * (latents.ndim - 1)
            gradient = gradient * (clip / norm.clamp(min=clip)).view(shape)
        x0 = prediction.x0
    loss = (gradient * latents).sum() / len(latents)
    residual = (latents.detach() - x0).square().mean().sqrt()
    metrics = {"gradient": norm.mean(), "x0_residual": residual.detach()}
    return DistillationResult(gradient, x0, loss, metrics)


def image_loss(
    images: Float[Tensor, "batch 3 height width"],
    seen: Float[Tensor, "batch 3 height width"],
    level: NoiseLevel,
    *,
    weight: Weight = sigma_squared,
) -> Float[Tensor, ""]:
    """w alpha / sigma (image - seen) as a gradient on pixels, HiFA's image loss (Zhu et al. 2023).

    SDS is w alpha / sigma (x - x0) on latents; this is the same on pixels, with ``seen`` the
    decoded x0 of the step. The gradient of the returned scalar is that, divided by the batch.

    images: in [0, 1], with a graph behind them. seen: in [0, 1]; its graph is not followed.
    """
    level = level.expand(len(images))
    with torch.no_grad():
        gradient = weighted(weight, level, (images - seen).detach())
        gradient = weighted(lambda at: at.alpha / at.sigma, level, gradient)
    return (gradient * images).sum() / len(images)


def to_config(value: Any) -> Any:
    """An objective as JSON values, for a run's config: its class and all that it was given."""
    if is_dataclass(value) and not isinstance(value, type):
        given = {one.name: to_config(getattr(value, one.name)) for one in fields(value)}
        return {"name": type(value).__name__, **given}
    if isinstance(value, Mapping):
        return {str(key): to_config(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_config(item) for item in value]
    return value.__qualname__ if callable(value) else value
