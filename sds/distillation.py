"""Distillation of any generator: what radiance fields, drawings and your own module have in common.

`Distillation` turns rendered images into a loss; `ModuleDistillation` is the whole job of a
`torch.nn.Module` that renders.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from scorefield.images import contact_sheet, save_image
from scorefield.priors.frozen_prior import prior_digest
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import noise_generator, noise_like
from scorefield.priors.prior import ImagePrior, Prompts, ToldCameras, check_is_prior
from scorefield.runs.metrics import Metric
from scorefield.sds.objective import (
    DistillationResult,
    PromptedDenoisers,
    distill,
    image_loss,
    to_config,
)
from scorefield.sds.objectives import ParticleScore, make_particle_score
from scorefield.sds.settings import DistillationSettings

__all__ = ["Distillation", "DistillationJob", "ModuleDistillation"]

_PREVIEW = -1
"""Key of what is drawn besides the numbers of the steps, which have 0 and above."""

_ROUNDING = 1e-3  # by which images may leave [0, 1]: a renderer's weights sum to one but for it


class Distillation:
    """A prior, its prompts, an objective, the noise levels and, for VSD, phi.

    phi: the field that VSD trains; None for other objectives.
    """

    def __init__(self, prior: ImagePrior, settings: DistillationSettings) -> None:
        check_is_prior(prior)
        self.settings = settings
        self.prior = prior
        self.phi = make_particle_score(settings.objective, prior, settings.seed)

    def denoisers(self, prompts: Prompts, cameras: ToldCameras | None = None) -> PromptedDenoisers:
        """The prior under one prompt, or one prompt per image.

        cameras: that see the images, for a prior that is told them.

        Raises:
            ValueError: words or cameras the prior does not know.
        """
        return PromptedDenoisers.of(
            self.prior,
            prompts,
            self.settings.scale,
            negative=self.settings.negative or None,
            phi=None if self.phi is None else self.phi.denoiser(prompts, cameras),
            cameras=cameras,
        )

    def check(self, prompts: Prompts) -> None:
        """Raise ValueError now for an unknown word, or a prompt that the objective lacks."""
        self.denoisers(prompts).check(self.settings.objective)

    def look(
        self,
        images: Float[Tensor, "batch 3 height width"],
        denoisers: PromptedDenoisers,
        progress: float,
        generator: torch.Generator,
    ) -> tuple[DistillationResult, Float[Tensor, "batch *shape"]]:
        """Fits rendered images to the prior's size, encodes them and asks the prior.

        Args:
            images: in [0, 1], with a graph to the generator.
            denoisers: of the images' prompts, from `denoisers`.
            progress: share of the run that is done, in [0, 1].
            generator: what levels and noise are drawn from.

        Returns:
            The outcome, whose ``loss`` goes backward, and the latents, which `learn` takes.
        """
        images = fitted(images, self.prior)
        latents = self.prior.encode(images)
        schedule = self.prior.schedule
        level = self.settings.levels.draw(schedule, progress, len(images), generator)
        eps = noise_like(latents, generator)
        return self.ask(latents, level, eps, denoisers, progress, images=images), latents

    def ask(
        self,
        latents: Float[Tensor, "batch *shape"],
        level: NoiseLevel,
        eps: Float[Tensor, "batch *shape"],
        denoisers: PromptedDenoisers,
        progress: float,
        *,
        images: Float[Tensor, "batch 3 height width"] | None = None,
        reference: Float[Tensor, "batch *shape"] | None = None,
    ) -> DistillationResult:
        """The objective at latents, levels and noise that are given.

        Args:
            latents: clean, usually with a graph behind them.
            level: one for all latents or one each.
            eps: standard normal noise in the shape of the latents.
            denoisers: of the latents' prompts, from `denoisers`.
            progress: share of the run that is done, in [0, 1].
            images: what the latents were encoded from; the image loss, if any, is of them.
            reference: the clean latents of the image that is edited; only for editing.

        Raises:
            ValueError: the objective needs a prompt or a reference that is not given, or the
                image loss the images.
        """
        settings = self.settings
        if settings.image and images is None:
            raise ValueError(f"image = {settings.image} is a loss on images; give them or set 0")
        distilled = distill(
            denoisers,
            latents,
            level,
            eps,
            objective=settings.objective,
            progress=progress,
            reference=reference,
            clip=settings.clip or None,
        )
        if not settings.image or images is None:
            return distilled
        with torch.no_grad():
            seen = self.prior.decode(distilled.x0)
        return replace(
            distilled, loss=distilled.loss + settings.image * image_loss(images, seen, level)
        )

    def learn(
        self,
        latents: Float[Tensor, "batch *shape"],
        prompts: Prompts,
        generator: torch.Generator,
        cameras: ToldCameras | None = None,
    ) -> dict[str, Float[Tensor, ""]]:
        """Trains phi on what the generator made under the prompts; returns its loss by name.

        To be called after the generator's update. Without phi nothing is done.
        """
        if self.phi is None:
            return {}
        return {"phi_loss": self.phi.learn(latents, prompts, generator, cameras)}

    def state(self) -> dict[str, Any]:
        """phi under its name, if there is one; part of a task's state."""
        return {} if self.phi is None else {"phi": self.phi.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Inverse of `state`; other entries are left alone."""
        if self.phi is not None:
            self.phi.load_state(state["phi"])

    def config(self) -> dict[str, Any]:
        """Settings and prior as JSON values, for a run's config.

        A run that goes on with another model of the same name, or another precision, is refused.
        """
        prior = {
            "prior": self.prior.name,
            "dtype": str(getattr(self.prior, "dtype", torch.float32)).removeprefix("torch."),
            "weights": prior_digest(self.prior),
        }
        return {**asdict(self.settings), "objective": to_config(self.settings.objective), **prior}


def fitted(images: Float[Tensor, "b *f 3 h w"], prior: ImagePrior) -> Float[Tensor, "b *f 3 H W"]:
    """Images scaled, bilinearly and without aliases, so that the shorter side is the prior's.

    Priors know their own size: an eighth of it, encoded as it is, would be another image to them.
    The longer side is rounded to the codec's cell. Images that fit are returned as they are, and so
    are videos.
    """
    height, width = images.shape[-2:]
    side, cell = prior.image_size, prior.codec.factor
    if images.ndim != 4 or (min(height, width) == side and not height % cell and not width % cell):
        return images
    scale = side / min(height, width)
    size = [max(1, round(scale * one / cell)) * cell for one in (height, width)]
    return F.interpolate(images, size, mode="bilinear", align_corners=False, antialias=True)


class DistillationJob:
    """What every `Job` of distillation shares: its length, its state and what it depends on.

    A subclass renders, updates itself and writes files.
    """

    distillation: Distillation

    @property
    def steps(self) -> int:
        """Number of updates."""
        return self.distillation.settings.steps

    @property
    def phi(self) -> ParticleScore | None:
        """The field that VSD trains."""
        return self.distillation.phi

    def parts(self) -> Mapping[str, nn.Module | torch.optim.Optimizer]:
        """What the state is of, by name, besides phi."""
        return {}

    def state(self) -> dict[str, Any]:
        """The state of all parts and, if there is one, of phi."""
        states = {name: part.state_dict() for name, part in self.parts().items()}
        return {**states, **self.distillation.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        for name, part in self.parts().items():
            part.load_state_dict(state[name])
        self.distillation.load_state(state)

    def config(self) -> dict[str, Any]:
        """All that the result depends on, as JSON values."""
        return self.distillation.config()


class ModuleDistillation(DistillationJob):
    """A module of yours that renders images, to be distilled: a job for `scorefield.runs.run`.

        run(ModuleDistillation(prior, settings, module), "runs/mine", resume=True)

    ``module(generator)`` returns images (batch, 3, height, width) in [0, 1], with a graph to its
    parameters. What is random in it (cameras, crops) is drawn from the `torch.Generator` that it is
    given, a new one in every step; then a resumed run equals one that was not stopped, bit for bit.
    Images of another size than the prior's are scaled to it.

    settings: what to make, and how.
    prior: what it should look like.
    module: what renders; moved to the prior's device.
    learning_rate: Adam's.

    Raises:
        ValueError: words the prior does not know, a prompt the objective lacks, no module, or one
            that renders no images in [0, 1] with a graph to its parameters.
    """

    def __init__(
        self,
        prior: ImagePrior,
        settings: DistillationSettings,
        module: nn.Module,
        *,
        learning_rate: float = 0.01,
    ) -> None:
        if not learning_rate > 0:
            raise ValueError(f"learning_rate must be positive; got {learning_rate}")
        _check_module(module)
        self.settings = settings
        self.learning_rate = learning_rate
        self.distillation = Distillation(prior, settings)
        self.distillation.check(settings.prompt)
        self.module = module.to(prior.device)
        with torch.enable_grad():
            self._check_images(module(noise_generator(settings.seed, _PREVIEW)))
        self.optimizer = torch.optim.Adam(module.parameters(), lr=learning_rate)

    @staticmethod
    def _check_images(images: Any) -> None:
        shape = tuple(images.shape) if isinstance(images, Tensor) else None
        if shape is None or len(shape) != 4 or shape[1] != 3:
            got = f"a {type(images).__name__}" if shape is None else shape
            raise ValueError(f"the module must return images (batch, 3, height, width); got {got}")
        if not images.requires_grad:
            raise ValueError(
                "the module's images have no graph to its parameters, so nothing can be trained; "
                "make what is trained an nn.Parameter, and render without detach() and no_grad()"
            )
        low, high = images.detach().aminmax()
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):  # NaN too
            raise ValueError(
                f"the module must return images in [0, 1]; got values from {low.item():g} to "
                f"{high.item():g}; end it in sigmoid(), divide by 255, or rescale from [-1, 1]"
            )

    @torch.no_grad()
    def images(self) -> Float[Tensor, "batch 3 height width"]:
        """What the module renders now, always from the same random numbers."""
        return self._preview_images()

    def _preview_images(self) -> Tensor:
        images: Tensor = self.module(noise_generator(self.settings.seed, _PREVIEW))
        return images.detach()

    def step(self, step: int) -> Mapping[str, Metric]:
        """Render, ask the prior, update the module and, for VSD, phi."""
        settings, distillation = self.settings, self.distillation
        generator = noise_generator(settings.seed, step)
        images = self.module(generator)
        denoisers = distillation.denoisers(settings.prompt)
        distilled, latents = distillation.look(images, denoisers, step / settings.steps, generator)
        self.optimizer.zero_grad(set_to_none=True)
        distilled.loss.backward()
        self.optimizer.step()
        return {**distilled.metrics, **distillation.learn(latents, settings.prompt, generator)}

    def preview(self, step: int) -> Float[Tensor, "3 height width"]:
        """The images side by side."""
        return contact_sheet(self.images().clamp(0, 1))

    def parts(self) -> Mapping[str, nn.Module | torch.optim.Optimizer]:
        """The module and its optimiser."""
        return {"module": self.module, "optimizer": self.optimizer}

    def config(self) -> dict[str, Any]:
        """All that the result depends on but the module's own settings, as JSON values."""
        state = self.module.state_dict()
        return {
            **super().config(),
            "learning_rate": self.learning_rate,
            "module": type(self.module).__qualname__,
            "module_shapes": {
                name: list(value.shape)
                for name, value in state.items()
                if isinstance(value, Tensor)
            },
        }

    def finish(self, folder: Path, *, progress: bool = True) -> dict[str, Path]:
        """Write `final.png`, the image or the images side by side; a subclass may write more."""
        images = self.images().clamp(0, 1)
        picture = contact_sheet(images) if len(images) > 1 else images[0]
        return {"final": save_image(folder / "final.png", picture)}


def _check_module(module: object) -> None:
    if not isinstance(module, nn.Module):
        raise ValueError(
            f"the module must be a torch.nn.Module; got a {type(module).__name__}: derive a class, "
            "with what is trained as nn.Parameter and forward(generator) -> images"
        )
