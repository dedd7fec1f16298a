"""Paint for a surface that stays as it is: its colours optimised until all views please a prior.

The colours are a field in space, read on the surface, so that a seam of the texture is none in the
paint (as texture fields, Oechsle et al. 2019); at the end they are baked into a texture.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scorefield.images import contact_sheet
from scorefield.priors.noise import noise_generator
from scorefield.priors.prior import ImagePrior
from scorefield.sds.distillation import Distillation
from scorefield.sds.nerf.asset import Surface
from scorefield.sds.nerf.cameras import Cameras, view_prompt
from scorefield.sds.nerf.fields import Field, VoxelGrid
from scorefield.sds.nerf.mesh import albedo_at
from scorefield.sds.nerf.radiance_field import Lights, draw_lights
from scorefield.sds.nerf.surface_views import surface_values
from scorefield.sds.nerf.texture_settings import TextureSettings

__all__ = ["TextureDistillation"]

FINER = 2
"""Pixels of the rasteriser per pixel of a view, along one axis: smooth edges."""


class TextureDistillation:
    """A `Task` of the optimisation loop: one update looks at a few views of the painted surface.

    Args:
        settings: what to paint, and how.
        prior: what it should look like.
        surface: what is painted, within the unit sphere.
        field: whose colours are optimised; None: a grey `VoxelGrid`.
        digest: tells the surface from others; part of the run's config.
    """

    def __init__(
        self,
        settings: TextureSettings,
        prior: ImagePrior,
        surface: Surface,
        field: Field | None = None,
        digest: str = "",
    ) -> None:
        settings.check_sizes(prior.image_size)
        self.settings = settings
        self.prior = prior
        self.surface = surface
        self.digest = digest
        self.field = (field or VoxelGrid(resolution=settings.detail)).to(prior.device)
        self.distillation = Distillation(settings, prior)
        self.distillation.check([settings.prompt])
        self.optimizer = torch.optim.Adam(
            self.field.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99), eps=1e-15
        )
        normals = torch.tensor(surface.mesh.vertex_normals, dtype=torch.float32)
        points = torch.tensor(surface.mesh.vertices, dtype=torch.float32)
        self._vertices = torch.cat([surface.places.flatten(1).cpu(), normals, points], dim=1)

    def step(self, step: int) -> Mapping[str, float]:
        """Render views, ask the prior, update the colours."""
        settings, progress = self.settings, step / self.settings.steps
        generator = noise_generator(settings.seed, step)
        cameras = settings.cameras.draw(settings.views, generator)
        lights = draw_lights(cameras, generator)
        # As in the training of a scene: never darker in the shade than the world's pictures, and
        # in front of greys of random brightness.
        ambient = 0.4 + 0.25 * torch.rand(len(cameras), generator=generator)
        lights = replace(lights, ambient=ambient, diffuse=1 - ambient)
        tone = 0.3 + 0.7 * torch.rand(len(cameras), 1, 1, 1, generator=generator)
        size = settings.size_at(progress, self.prior.image_size)
        images = self.render(cameras, size, tone, lights)
        prompts = [view_prompt(settings.prompt, view) for view in cameras.views]
        distilled, latents = self.distillation.look(
            images, self.distillation.denoisers(prompts), progress, generator
        )
        self.optimizer.zero_grad(set_to_none=True)
        distilled.loss.backward()
        for group in self.optimizer.param_groups:
            group["lr"] = settings.learning_rate * (0.55 + 0.45 * math.cos(math.pi * progress))
        self.optimizer.step()
        return {**distilled.figures, **self.distillation.learn(latents, prompts, generator)}

    def render(
        self,
        cameras: Cameras,
        size: int,
        background: Float[Tensor, "..."],
        lights: Lights | None = None,
    ) -> Float[Tensor, "batch 3 size size"]:
        """What the cameras see of the surface; differentiable in the colours.

        Args:
            cameras: B of them.
            size: side of the pictures.
            background: what broadcasts with the pictures.
            lights: one per camera; None: the colours unlit.
        """
        values, seen = surface_values(self.surface.mesh, self._vertices, cameras, FINER * size)
        index = seen.nonzero()  # (n, 3)
        places, normals, points = values[seen].split([values.shape[-1] - 6, 3, 3], dim=1)
        shape = (-1, *self.surface.places.shape[1:])
        colours = albedo_at(self.field, places.view(shape).to(self.prior.device))
        if lights is not None:
            camera = index[:, 0]
            towards = F.normalize(lights.position[camera] - points, dim=1)
            cosine = (F.normalize(normals, dim=1) * towards).sum(dim=1).clamp_min(0)
            light = lights.ambient[camera] + lights.diffuse[camera] * cosine
            colours = colours * light[:, None].to(colours)
        behind = background.to(colours).expand(len(cameras), 3, FINER * size, FINER * size)
        flat = behind.permute(0, 2, 3, 1).reshape(-1, 3)
        where = seen.flatten().nonzero()[:, 0].to(flat.device)
        pictures = flat.index_put((where,), colours).view(*seen.shape, 3).permute(0, 3, 1, 2)
        return F.avg_pool2d(pictures, FINER)

    @torch.no_grad()
    def preview(self, step: int) -> Float[Tensor, "3 height width"]:
        """Front, sides, back and overhead, unlit."""
        cameras = Cameras.at([0.0, 90.0, 180.0, 270.0, 0.0], [15.0, 15.0, 15.0, 15.0, 75.0])
        pictures = self.render(cameras, 96, torch.full((3, 1, 1), 0.8))
        return contact_sheet(pictures, columns=5, labels=cameras.views)

    def state(self) -> dict[str, Any]:
        """Colours, optimiser and, if there is one, phi."""
        state = {"field": self.field.state_dict(), "optimizer": self.optimizer.state_dict()}
        return {**state, **self.distillation.state()}

    def load_state(self, state: dict[str, Any]) -> None:
        """Inverse of `state`."""
        self.field.load_state_dict(state["field"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.distillation.load_state(state)

    def config(self) -> dict[str, Any]:
        """All that the result depends on, as JSON values."""
        return {**self.distillation.config(), "surface": self.digest}
