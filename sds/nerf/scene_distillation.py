"""Text to 3D: a radiance field optimised until all its views please a frozen prior."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.guidance.perp_neg import PerpNeg
from scorefield.priors.noise import noise_generator
from scorefield.priors.prior import ImagePrior
from scorefield.sds.levels import LevelRange, Levels
from scorefield.sds.nerf.cameras import CameraDistribution, Cameras, view_prompt
from scorefield.sds.nerf.penalties import (
    entropy_penalty,
    opacity_penalty,
    orientation_penalty,
    spread_penalty,
)
from scorefield.sds.nerf.radiance_field import (
    Lights,
    Rendering,
    Scene,
    Shading,
    draw_lights,
)
from scorefield.sds.nerf.turntable import view_sheet
from scorefield.sds.nerf.view_negatives import view_negatives
from scorefield.sds.objective import (
    SDS,
    Denoisers,
    Objective,
    described,
    distill,
    image_loss,
)
from scorefield.sds.objectives import begin_phi


@dataclass(frozen=True)
class TextTo3DSettings:
    """How a scene is distilled. The defaults are those of the embedded prior.

    prompt: what to make.
    negative: prompt that guidance leads away from; "" leads away from no prompt.
    steps: updates; the annealing of levels and learning rate spans them.
    views: cameras per update, spread evenly around the object.
    size: side of the rendered views, pixels; 0 takes the prior's.
    samples: along a ray through the whole sphere.
    guidance: classifier-free guidance scale (DreamFusion's omega = 100 is 101 here).
    objective: what makes a gradient of the prior.
    image: weight of HiFA's image loss, which compares the views with the decoded x0; 0 saves the
        decoding.
    perp_neg: strength of the views as negative prompts of each other (Perp-Neg), against faces on
        the back; 0 leaves it out, 1 has threestudio's weights.
    levels: noise levels looked at.
    cameras: distribution of the cameras.
    clip: largest root mean square of a view's latent gradient; 0 does not clip.
    learning_rate: Adam's, at the start; falls to a tenth of it along a cosine.
    albedo_steps: share of the run that sees the colour without shading, before shading starts.
    shaded, textureless: shares of the later updates with shading, and shading of a white surface.
    opacity, orientation, entropy, spread, smoothness: weights of the regularisers, against a
        distillation loss that is summed over the latents of a view. Entropy, which asks for a
        surface instead of fog, grows over the run from 0.
    seed: of everything random.
    """

    prompt: str
    negative: str = ""
    steps: int = 300
    views: int = 4
    size: int = 0
    samples: int = 48
    guidance: float = 7.5
    objective: Objective = SDS()  # noqa: RUF009  (frozen)
    image: float = 0.0
    perp_neg: float = 0.0
    levels: Levels = field(default_factory=lambda: LevelRange(0.02, 0.98, 0.3))
    cameras: CameraDistribution = field(default_factory=CameraDistribution)
    clip: float = 1.0
    learning_rate: float = 0.015
    albedo_steps: float = 0.2
    shaded: float = 0.5
    textureless: float = 0.0
    opacity: float = 5.0
    orientation: float = 20.0
    entropy: float = 40.0
    spread: float = 50.0
    smoothness: float = 2000.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.prompt.strip():
            raise ValueError("the prompt is empty; say what to make, such as 'a red mushroom'")
        for name in ("steps", "views", "samples"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1; got {getattr(self, name)}")
        for name in ("albedo_steps", "shaded", "textureless"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be between 0 and 1; got {getattr(self, name)}")
        if self.shaded + self.textureless > 1:
            raise ValueError(
                f"shaded + textureless must be at most 1; got {self.shaded} + {self.textureless}"
            )
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive; got {self.learning_rate}")
        for name in ("image", "perp_neg"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must be at least 0; got {getattr(self, name)}")
        if self.perp_neg and self.negative:
            raise ValueError(
                "perp_neg takes the place of a negative prompt; give one of them, got "
                f"{self.perp_neg} and {self.negative!r}"
            )


class TextTo3D:
    """A `Task` of the optimisation loop: one update looks at a few views of the scene."""

    def __init__(
        self,
        settings: TextTo3DSettings,
        prior: ImagePrior,
        scene: Scene | None = None,
    ) -> None:
        if not settings.size:
            settings = replace(settings, size=prior.image_size)
        self.settings = settings
        self.prior = prior
        self.device = prior.device
        self.scene = (scene or Scene()).to(self.device)
        self.phi = begin_phi(settings.objective, prior, settings.seed)
        self.optimizer = torch.optim.Adam(
            self.scene.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99), eps=1e-15
        )
        # An unknown word, or a prompt that the objective lacks, is an error now, not in a step.
        self._denoisers([settings.prompt]).check(settings.objective)

    def step(self, step: int) -> Mapping[str, float]:
        """Render views, ask the prior, update the scene."""
        settings, progress = self.settings, step / self.settings.steps
        generator = noise_generator(settings.seed, step)
        if step % 8 == 0:
            self.scene.update_occupancy(generator if step else None)
        cameras = settings.cameras.draw(settings.views, generator)
        rendering = self._render(cameras, progress, generator)
        latents = self.prior.encode(rendering.images)
        level = settings.levels.draw(self.prior.schedule, progress, settings.views, generator)
        eps = torch.randn(latents.shape, generator=generator).to(latents)
        distilled = distill(
            self.denoisers(cameras),
            latents,
            level,
            eps,
            objective=settings.objective,
            progress=progress,
            clip=settings.clip or None,
        )
        loss, penalty = distilled.loss, self._penalty(rendering, progress)
        if settings.image:
            with torch.no_grad():
                seen = self.prior.decode(distilled.x0)
            loss = loss + settings.image * image_loss(rendering.images, seen, level)
        self.optimizer.zero_grad(set_to_none=True)
        (loss + penalty).backward()
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * (0.55 + 0.45 * math.cos(math.pi * progress))
        self.optimizer.step()
        figures = {
            **distilled.figures,
            "opacity": rendering.opacity.mean().item(),
            "penalty": penalty.item(),
        }
        if self.phi is not None:
            prompts = self._prompts(cameras)
            figures["phi_loss"] = self.phi.learn(latents, prompts, generator)
        return figures

    def denoisers(self, cameras: Cameras) -> Denoisers:
        """The prior, each view under its own prompt."""
        settings = self.settings
        denoisers = self._denoisers(self._prompts(cameras))
        if not settings.perp_neg:
            return denoisers
        views, weights = view_negatives(cameras)
        guided = PerpNeg(
            denoisers.need("cond"),
            denoisers.need("uncond"),
            [self.prior.condition(view_prompt(settings.prompt, view)) for view in views],
            settings.perp_neg * weights,
            settings.guidance,
        )
        return replace(denoisers, guided=guided)

    def _prompts(self, cameras: Cameras) -> list[str]:
        return [view_prompt(self.settings.prompt, view) for view in cameras.views]

    def _denoisers(self, prompts: list[str]) -> Denoisers:
        return Denoisers.of(
            self.prior,
            prompts,
            self.settings.guidance,
            negative=self.settings.negative or None,
            phi=None if self.phi is None else self.phi.condition(prompts),
        )

    def _render(self, cameras: Cameras, progress: float, generator: torch.Generator) -> Rendering:
        settings = self.settings
        shading, lights = self._shading(cameras, progress, generator)
        # Greys of random brightness: the object cannot hide in the background, nor leave
        # part of its own shape or colour to it.
        tone = 0.3 + 0.7 * torch.rand(settings.views, 1, generator=generator)
        return self.scene.render(
            cameras.to(self.device),
            settings.size,
            settings.size,
            samples=settings.samples,
            shading=shading,
            lights=lights,
            background=tone.expand(-1, 3).to(self.device),
            generator=generator,
        )

    def _shading(
        self, cameras: Cameras, progress: float, generator: torch.Generator
    ) -> tuple[Shading, Lights | None]:
        settings = self.settings
        choice = torch.rand((), generator=generator).item()
        lights = draw_lights(cameras, generator)
        # The world's pictures are never darker than this in the shade.
        ambient = 0.4 + 0.25 * torch.rand(len(cameras), generator=generator)
        lights = replace(lights, ambient=ambient, diffuse=1 - ambient)
        if progress < settings.albedo_steps or choice > settings.shaded + settings.textureless:
            return Shading.ALBEDO, None
        lit = Shading.LAMBERTIAN if choice <= settings.shaded else Shading.TEXTURELESS
        return lit, lights

    def _penalty(self, rendering: Rendering, progress: float) -> Tensor:
        settings = self.settings
        penalty = settings.opacity * opacity_penalty(rendering)
        penalty = penalty + settings.entropy * progress * entropy_penalty(rendering)
        penalty = penalty + settings.spread * spread_penalty(rendering)
        if rendering.orientation is not None:
            penalty = penalty + settings.orientation * orientation_penalty(rendering)
        smoothness = getattr(self.scene.field, "total_variation", None)
        if smoothness is not None:
            penalty = penalty + settings.smoothness * smoothness()
        return penalty

    def preview(self, step: int) -> Float[Tensor, "3 height width"]:
        """Named views, in colour and as bare geometry."""
        return view_sheet(self.scene, size=96, samples=64)

    def state(self) -> dict[str, Any]:
        """Scene, optimiser and, if there is one, phi."""
        state = {"scene": self.scene.state_dict(), "optimizer": self.optimizer.state_dict()}
        return state if self.phi is None else {**state, "phi": self.phi.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        self.scene.load_state_dict(state["scene"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.phi is not None:
            self.phi.load_state(state["phi"])

    def config(self) -> dict[str, Any]:
        """All that the result depends on, as JSON values."""
        objective = described(self.settings.objective)
        return {**asdict(self.settings), "objective": objective, "prior": self.prior.name}
