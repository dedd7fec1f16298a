"""Paint for a mesh that stays as it is: its colours optimised until all views please a prior.

The colours are a field in space, read on the surface, so that a seam of the texture is none in the
paint (as texture fields, Oechsle et al. 2019); at the end they are baked into a texture.
"""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import trimesh
from jaxtyping import Float
from torch import Tensor, nn

from scorefield.images import contact_sheet, save_gif, save_image
from scorefield.priors.noise import noise_generator
from scorefield.priors.prior import ImagePrior
from scorefield.runs.job import run
from scorefield.sds.distillation import Distillation, DistillationJob
from scorefield.sds.nerf.assets.asset import Surface, bake, unwrap
from scorefield.sds.nerf.assets.mesh import albedo_at
from scorefield.sds.nerf.assets.mesh_files import export_mesh
from scorefield.sds.nerf.assets.settings import AssetSettings
from scorefield.sds.nerf.assets.surface_views import asset_views, surface_values
from scorefield.sds.nerf.cameras import Cameras, orbit, view_prompt
from scorefield.sds.nerf.fields import VoxelGrid
from scorefield.sds.nerf.lights import Lights, draw_greys, draw_soft_lights
from scorefield.sds.nerf.optimizer import descend, field_optimizer
from scorefield.sds.nerf.texture.presets import PRESETS
from scorefield.sds.nerf.texture.settings import TextureSettings
from scorefield.sds.nerf.texture.user_mesh import UserMesh, is_unwrapped, load_mesh
from scorefield.sds.presets import settings_for

__all__ = ["TextureDistillation", "texture_mesh"]

FINER = 2
"""Pixels of the rasteriser per pixel of a view, along one axis: smooth edges."""

_AROUND = Cameras.at([0.0, 90.0, 180.0, 270.0, 0.0], [15.0, 15.0, 15.0, 15.0, 75.0])
"""Front, sides, back and overhead, for looking at."""


class TextureDistillation(DistillationJob):
    """A `Job`: one update looks at a few views of the painted surface, which ends as a texture.

    Texture coordinates of the mesh are kept if every triangle has a place of its own in them; else
    it is unwrapped.

    Args:
        settings: what to paint, and how.
        prior: what it should look like.
        given: what is painted.
        asset: its `texture`, `up`, `frames` and `picture_size`; None: the defaults.
    """

    def __init__(
        self,
        prior: ImagePrior,
        settings: TextureSettings,
        given: UserMesh,
        asset: AssetSettings | None = None,
    ) -> None:
        settings.check_sizes(prior.image_size)
        self.settings = settings
        self.prior = prior
        self.given = given
        self.asset = asset or AssetSettings()
        self.distillation = Distillation(prior, settings)
        self.distillation.check([settings.prompt])
        mesh = given.mesh if is_unwrapped(given.mesh) else unwrap(given.mesh, self.asset.texture)
        places = torch.tensor(np.array(mesh.vertices), dtype=torch.float32, device=prior.device)
        self.surface = Surface(mesh, places[:, None])
        self.field = VoxelGrid(resolution=settings.detail).to(prior.device)
        parameters = list(self.field.parameters())
        self.optimizer = field_optimizer([{"params": parameters}], settings.learning_rate)
        normals = torch.tensor(mesh.vertex_normals, dtype=torch.float32)
        points = torch.tensor(mesh.vertices, dtype=torch.float32)
        self._vertices = torch.cat([places.cpu(), normals, points], dim=1)

    def step(self, step: int) -> Mapping[str, float]:
        """Render views, ask the prior, update the colours."""
        settings, progress = self.settings, step / self.settings.steps
        generator = noise_generator(settings.seed, step)
        cameras = settings.cameras.draw(settings.views, generator)
        lights = draw_soft_lights(cameras, generator)
        greys = draw_greys(len(cameras), generator)[:, None, None, None]
        size = settings.size_at(progress, self.prior.image_size)
        images = self.render(cameras, size, greys, lights)
        prompts = [view_prompt(settings.prompt, view) for view in cameras.views]
        distilled, latents = self.distillation.look(
            images, self.distillation.denoisers(prompts), progress, generator
        )
        descend(self.optimizer, distilled.loss, settings.learning_rate, progress)
        return {**distilled.metrics, **self.distillation.learn(latents, prompts, generator)}

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
        asset, size = self.asset, self.asset.picture_size
        painted = bake(self.surface, self.field, asset.texture)
        sheet = contact_sheet(asset_views(painted, _AROUND, size), 5, labels=_AROUND.views)
        turn = asset_views(painted, orbit(asset.frames), size)
        written = {
            "views": save_image(folder / "views.png", sheet),
            "turntable": save_gif(folder / "turntable.gif", turn),
        }
        painted.apply_transform(self.given.back)
        paths = export_mesh(painted, folder, title=self.settings.prompt, up=asset.up)
        return written | {path.suffix[1:]: path for path in paths}


def _digest(mesh: trimesh.Trimesh) -> str:
    """Tells the mesh from others: a run of another one is another run."""
    data = (mesh.vertices.round(6) + 0.0).tobytes() + np.asarray(mesh.faces, np.int64).tobytes()
    return hashlib.sha256(data).hexdigest()


def texture_mesh(
    prior: ImagePrior,
    mesh: str | os.PathLike[str],
    prompt: str | TextureSettings,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    progress: bool = True,
    preview_every: int = 100,
    checkpoint_every: int = 100,
    asset: AssetSettings | None = None,
) -> Path:
    """Paint a mesh to a prompt and write it with its texture; returns the folder.

    Size, place and triangles stay as they are. Texture coordinates are kept if every triangle has
    a place of its own in them; else the mesh is unwrapped. The folder is a run folder: killed at
    any moment, the same call with `resume` goes on.

    Args:
        prior: what it should look like.
        mesh: a file, see `load_mesh`.
        prompt: what to paint, by the preset that is chosen for the prior; or all settings.
        out: a new or empty folder, or with `resume` the folder of the same run.
        resume: go on with the run in the folder, if there is one.
        progress: whether to show progress on standard error.
        preview_every: a preview after every so many steps; 0 for none.
        checkpoint_every: a checkpoint after every so many steps; 0 for the last only.
        asset: its `texture`, `up` (of the mesh that is read, too), `frames` and `picture_size`.

    Raises:
        ValueError: before anything starts: mesh, settings, words or folder are not accepted.
        NonFiniteError: on the way; the last checkpoint is kept.
    """
    asset = asset or AssetSettings()
    settings = settings_for(TextureSettings, prompt, prior, PRESETS)
    run(
        TextureDistillation(prior, settings, load_mesh(mesh, asset.up), asset),
        out,
        resume=resume,
        progress=progress,
        preview_every=preview_every,
        checkpoint_every=checkpoint_every,
    )
    return Path(out)
