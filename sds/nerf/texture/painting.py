"""Paint on a surface that stays as it is: its colours optimised until all views please a prior.

The colours are a field in space, read on the surface, so that a seam of the texture is none in the
paint (as texture fields, Oechsle et al. 2019); at the end they are baked into a texture.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import trimesh
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from scorefield.cameras import Cameras, orbit
from scorefield.images import contact_sheet, save_gif, save_image
from scorefield.priors.noise import noise_generator
from scorefield.priors.prior import ImagePrior, check_is_prior
from scorefield.runs.metrics import Metric
from scorefield.sds.distillation import Distillation, DistillationJob
from scorefield.sds.nerf.asked_views import asked_views, check_views
from scorefield.sds.nerf.assets.asset import Surface, baked_asset
from scorefield.sds.nerf.assets.mesh import albedo_at
from scorefield.sds.nerf.assets.mesh_files import export_mesh
from scorefield.sds.nerf.assets.settings import AssetSettings
from scorefield.sds.nerf.assets.surface_views import (
    asset_views,
    is_closed,
    on_background,
    surface_values,
)
from scorefield.sds.nerf.fields import Field
from scorefield.sds.nerf.lights import Lights, draw_greys, draw_soft_lights
from scorefield.sds.nerf.marching import brightness
from scorefield.sds.nerf.optimizer import descend, field_optimizer
from scorefield.sds.nerf.texture.settings import TextureSettings

__all__ = ["Painting"]

FINER = 2
"""Pixels of the rasteriser per pixel of a view, along one axis: smooth edges."""

_AROUND = Cameras.at([0.0, 90.0, 180.0, 270.0, 0.0], [15.0, 15.0, 15.0, 15.0, 75.0])
"""Front, sides, back and overhead, for looking at."""


class Painting(DistillationJob):
    """A `Job`: one update looks at a few views of the painted surface, which ends as a texture.

    Args:
        prior: what it should look like.
        settings: what to paint, and how.
        surface: what is painted.
        field: whose colours are learnt, wherever it has parameters.
        asset: its `texture`, `normal_map` (of a surface that was simplified), `up`, `frames` and
            `render_size`; None: the defaults.
        back: the 4 x 4 matrix from the surface to where its files show it; None: there.

    Raises:
        ValueError: words the prior does not know, a prior without views, a prompt the objective
            lacks, or a size too small for the prior.
    """

    def __init__(
        self,
        prior: ImagePrior,
        settings: TextureSettings,
        surface: Surface,
        field: Field,
        asset: AssetSettings | None = None,
        back: NDArray[np.float64] | None = None,
    ) -> None:
        check_is_prior(prior)
        settings.check_sizes(prior.image_size)
        self.settings = settings
        self.prior = prior
        self.asset = asset or AssetSettings()
        self.back = np.eye(4) if back is None else back
        self.distillation = Distillation(prior, settings)
        self.distillation.check([settings.prompt])
        check_views(prior, settings.prompt, settings.cameras)
        mesh = surface.mesh
        self._closed = is_closed(mesh)
        self.surface = replace(surface, places=surface.places.to(prior.device))
        self.field = field.to(prior.device)
        learnt = [one for one in self.field.parameters() if one.requires_grad]
        self.optimizer = field_optimizer([{"params": learnt}], settings.learning_rate)
        normals = torch.tensor(np.array(mesh.vertex_normals), dtype=torch.float32)
        points = torch.tensor(np.array(mesh.vertices), dtype=torch.float32)
        self._vertices = torch.cat([surface.places.flatten(1).cpu(), normals, points], dim=1)

    def step(self, step: int) -> Mapping[str, Metric]:
        """Render views, ask the prior, update the colours."""
        settings, progress = self.settings, step / self.settings.steps
        generator = noise_generator(settings.seed, step)
        cameras = settings.cameras.draw(settings.views, generator)
        lights = draw_soft_lights(cameras, generator)
        greys = draw_greys(len(cameras), generator)[:, None, None, None]
        size = settings.size_at(progress, self.prior.image_size)
        images = self.render(cameras, size, greys, lights)
        asked = asked_views(self.prior, settings.prompt, cameras)
        denoisers = self.distillation.denoisers(asked.prompts, asked.cameras)
        distilled, latents = self.distillation.look(images, denoisers, progress, generator)
        descend(self.optimizer, distilled.loss, settings.learning_rate, progress)
        learnt = self.distillation.learn(latents, asked.prompts, generator, asked.cameras)
        return {**distilled.metrics, **learnt}

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
            size: side of the images.
            background: what broadcasts with the images.
            lights: one per camera; None: the colours unlit.
        """
        values, seen = surface_values(
            self.surface.mesh, self._vertices, cameras, FINER * size, closed=self._closed
        )
        index = seen.nonzero()  # (n, 3)
        places, normals, points = values[seen].split([values.shape[-1] - 6, 3, 3], dim=1)
        shape = (-1, *self.surface.places.shape[1:])
        colours = albedo_at(self.field, places.view(shape).to(self.prior.device))
        if lights is not None:
            light = brightness(lights, index[:, 0], points, F.normalize(normals, dim=1))
            colours = colours * light.to(colours)
        return F.avg_pool2d(on_background(colours, seen, background), FINER)

    @torch.no_grad()
    def preview(self, step: int) -> Float[Tensor, "3 height width"]:
        """Front, sides, back and overhead, unlit."""
        pictures = self.render(_AROUND, 96, torch.full((3, 1, 1), 0.8))
        return contact_sheet(pictures, columns=5, labels=_AROUND.views)

    def parts(self) -> Mapping[str, nn.Module | torch.optim.Optimizer]:
        """The colours and their optimiser."""
        return {"field": self.field, "optimizer": self.optimizer}

    def config(self) -> dict[str, Any]:
        """All that the result depends on, as JSON values."""
        return {**super().config(), "surface": _digest(self.surface.mesh)}

    def finish(self, folder: Path, *, progress: bool = True) -> dict[str, Path]:
        """Write the mesh with its texture, of its own size and place, a turntable and views.

        Returns:
            The written files: "views", "turntable", "glb", "obj", "ply", "mtl" and "png".
        """
        asset, size = self.asset, self.asset.render_size
        painted = baked_asset(self.surface, self.field, asset)
        if not self._closed:  # it was painted from both sides
            visual: Any = painted.visual
            visual.material.doubleSided = True
        sheet = contact_sheet(asset_views(painted, _AROUND, size), 5, labels=_AROUND.views)
        turn = asset_views(painted, orbit(asset.frames), size)
        written = {
            "views": save_image(folder / "views.png", sheet),
            "turntable": save_gif(folder / "turntable.gif", turn),
        }
        painted.apply_transform(self.back)
        paths = export_mesh(
            painted, folder, title=self.settings.prompt, up=asset.up, usdz=asset.usdz
        )
        return written | {path.suffix[1:]: path for path in paths}


def _digest(mesh: trimesh.Trimesh) -> str:
    """Tells the mesh from others: a run of another one is another run."""
    data = (mesh.vertices.round(6) + 0.0).tobytes() + np.asarray(mesh.faces, np.int64).tobytes()
    return hashlib.sha256(data).hexdigest()
