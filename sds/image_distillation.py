"""Distillation with nothing in between: latents, or pixels, that are moved themselves.

The simplest generator there is, to see what an objective does; and, from an image that exists, an
editor.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from scorefield.domains import Count, NotNegative, Positive
from scorefield.images import Images, contact_sheet, save_image
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise, noise_generator
from scorefield.priors.prior import ImagePrior, check_is_prior
from scorefield.runs.loop import optimise
from scorefield.runs.metrics import Metric
from scorefield.sds.distillation import Distillation, DistillationJob, fitted
from scorefield.sds.levels import LevelRange, Levels
from scorefield.sds.objective import Objective, PromptedDenoisers
from scorefield.sds.objectives import DDS
from scorefield.sds.settings import RenderedSettings

_START, _LEVEL, _PHI = -1, -2, -3
"""Keys of what is drawn besides the noise of the steps, which have 0 and above."""


@dataclass(frozen=True)
class ImageSettings(RenderedSettings):
    """How images are distilled: `RenderedSettings`, and what images need besides.

    images: how many, each on its own but for VSD's phi, which learns from all.
    pixels: whether pixels are moved, and encoded in every step, in place of latents.
    image: weight of HiFA's image loss; only of pixels.
    start: standard deviation of the noise the latents start from, or of the pixels around grey.
    learning_rate: Adam's.
    """

    steps: Count = 200
    images: Count = 4
    levels: Levels = field(default_factory=lambda: LevelRange(0.02, 0.98))
    pixels: bool = False
    start: NotNegative = 0.5
    learning_rate: Positive = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.size or self.later_sizes) and not self.pixels:
            raise ValueError(f"size needs pixels=True: latents have their own; got {self.size}")
        if self.image and not self.pixels:
            raise ValueError(f"image needs pixels=True: it is a loss on them; got {self.image}")


class ImageDistillation(DistillationJob):
    """A `Job`: images moved along the gradient of an objective.

    Item i depends on the seed and i, not on how many there are (but for VSD).

    Raises:
        ValueError: words the prior does not know, or a prompt the objective lacks.
    """

    def __init__(self, prior: ImagePrior, settings: ImageSettings) -> None:
        check_is_prior(prior)
        self.settings = settings
        self.prior = prior
        self.items = range(settings.images)
        settings.check_sizes(prior.image_size)
        shape = prior.latent_shape
        if settings.pixels:
            shape = (3, prior.image_size, prior.image_size)
        noise = keyed_noise(settings.seed, self.items, _START, shape, device=prior.device)
        self.values = (noise * settings.start + 0.5 * settings.pixels).requires_grad_()
        self.reference: Tensor | None = None
        self.optimizer: torch.optim.Optimizer = torch.optim.Adam(
            [self.values], lr=settings.learning_rate, betas=(0.9, 0.99)
        )
        self.distillation = Distillation(prior, settings)
        self.denoisers = self._denoisers()
        self.denoisers.check(settings.objective)

    def _denoisers(self) -> PromptedDenoisers:
        return self.distillation.denoisers(self.settings.prompt)

    def latents(self) -> Tensor:
        """Of the images, with a graph to what is moved."""
        return self.prior.encode(self.values) if self.settings.pixels else self.values

    def _seen(self, progress: float) -> Tensor:
        """The pixels as they are rendered now: small ones are enlarged again to be encoded."""
        side = self.settings.size_at(progress, self.prior.image_size)
        if side == self.prior.image_size:
            return self.values
        small = F.interpolate(
            self.values, (side, side), mode="bilinear", align_corners=False, antialias=True
        )
        return fitted(small, self.prior)

    @torch.no_grad()
    def images(self) -> Float[Tensor, "b 3 h w"]:
        """The images as they are, in [0, 1]."""
        images = self.values if self.settings.pixels else self.prior.decode(self.values)
        return images.detach().clamp(0, 1)

    def step(self, step: int) -> Mapping[str, Metric]:
        """Ask the prior about every image and move it."""
        settings, progress = self.settings, step / self.settings.steps
        images = self._seen(progress) if settings.pixels else None
        latents = self.values if images is None else self.prior.encode(images)
        levels = [
            settings.levels.draw(
                self.prior.schedule, progress, 1, noise_generator(settings.seed, i, step, _LEVEL)
            )
            for i in self.items
        ]
        level = NoiseLevel(
            torch.cat([one.alpha for one in levels]), torch.cat([one.sigma for one in levels])
        )
        eps = keyed_noise(settings.seed, self.items, step, latents.shape[1:], device=latents.device)
        distilled = self.distillation.ask(
            latents,
            level,
            eps,
            self.denoisers,
            progress,
            images=images,
            reference=self.reference,
        )
        self.optimizer.zero_grad(set_to_none=True)
        (distilled.loss * len(latents)).backward()  # each image its own gradient, not the mean's
        self.optimizer.step()
        generator = noise_generator(settings.seed, step, _PHI)
        learnt = self.distillation.learn(latents, settings.prompt, generator)
        return {**distilled.metrics, **learnt}

    def preview(self, step: int) -> Float[Tensor, "3 height width"]:
        """The images side by side."""
        return contact_sheet(self.images())

    def parts(self) -> Mapping[str, nn.Module | torch.optim.Optimizer]:
        """The optimiser."""
        return {"optimizer": self.optimizer}

    def state(self) -> dict[str, Any]:
        """Images, optimiser and, if there is one, phi."""
        return {"values": self.values.detach(), **super().state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        with torch.no_grad():
            self.values.copy_(state["values"])
        super().load_state(state)

    def finish(self, folder: Path, *, progress: bool = True) -> dict[str, Path]:
        """Write `final.png`, the images side by side."""
        return {"final": save_image(folder / "final.png", self.preview(self.steps))}


class ImageEdit(ImageDistillation):
    """A `Job`: latents of images moved from a source prompt to a target prompt.

    By gradient descent without momentum: where target and source agree nothing moves, while Adam
    would make as much of a small gradient as of a large one.

    images: (b, 3, h, w) in [0, 1]; `settings.images` must be b, and `settings.prompt` the target.
    source: what they show now.
    """

    def __init__(
        self,
        prior: ImagePrior,
        settings: ImageSettings,
        images: Float[Tensor, "b 3 h w"],
        source: str,
    ) -> None:
        if len(images) != settings.images or settings.pixels:
            raise ValueError(
                f"an edit moves the latents of the {len(images)} images; got settings for "
                f"{settings.images} with pixels {settings.pixels}"
            )
        self.source = source
        super().__init__(prior, settings)
        with torch.no_grad():
            self.reference = prior.encode(images.to(prior.device))
        self.values = self.reference.clone().requires_grad_()
        self.optimizer = torch.optim.SGD([self.values], lr=settings.learning_rate)

    def _denoisers(self) -> PromptedDenoisers:
        settings = self.settings
        return PromptedDenoisers.of(
            self.prior,
            settings.prompt,
            settings.scale,
            negative=settings.negative or None,
            source=self.source,
        )

    def config(self) -> dict[str, Any]:
        """All but the images."""
        return {**super().config(), "source": self.source}


def edit_image(
    prior: ImagePrior,
    images: Images,
    source: str,
    target: str,
    *,
    objective: Objective = DDS(),  # noqa: B008  (frozen)
    steps: int = 200,
    learning_rate: float = 0.05,
    scale: float | int | None = None,
    negative: str | None = None,
    levels: Levels = LevelRange(0.05, 0.95),  # noqa: B008  (frozen)
    seed: int = 0,
    progress: bool = False,
) -> Float[Tensor, "b 3 h w"]:
    """Images changed from what one prompt says to what another says.

    ``edit_image(prior, images, "a red chair", "a blue chair")``. Image i depends on the seed and
    i, not on the others.

    images: one or a batch, of the prior's size, as `ImagePrior.encode` takes them.
    source, target: what they show, and what they shall show.
    objective: `DDS` or `PDS`.
    steps: updates of the latents, by gradient descent.
    learning_rate: of it; 0.05 is about that of the published DDS. A larger one changes more.
    scale: guidance of both sides; None takes the prior's own.
    levels: noise levels looked at, DDS's 50 to 950 of 1000.

    Raises:
        ValueError: before anything starts: words the prior does not know, sizes, numbers.
        NonFiniteError: on the way, where the learning rate is too large.
    """
    images = prior.pixels(images)
    settings = ImageSettings(
        prompt=target,
        negative=negative or "",
        images=len(images),
        steps=steps,
        scale=float(prior.guidance_scale if scale is None else scale),
        objective=objective,
        levels=levels,
        learning_rate=learning_rate,
        seed=seed,
    )
    task = ImageEdit(prior, settings, images, source)
    optimise(task, steps=steps, progress=progress)
    return task.images()
