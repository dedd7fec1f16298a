"""Paint for a mesh of the user's: its colours optimised until all views please a prior."""

import os
from pathlib import Path

import numpy as np
import torch

from scorefield.priors.prior import ImagePrior
from scorefield.runs.job import run
from scorefield.sds.nerf.assets.asset import Surface, unwrap
from scorefield.sds.nerf.assets.settings import AssetSettings
from scorefield.sds.nerf.fields import VoxelGrid
from scorefield.sds.nerf.texture.painting import Painting
from scorefield.sds.nerf.texture.presets import PRESETS
from scorefield.sds.nerf.texture.settings import TextureSettings
from scorefield.sds.nerf.texture.user_mesh import UserMesh, is_unwrapped, load_mesh
from scorefield.sds.presets import settings_for

__all__ = ["TextureDistillation", "texture_mesh"]


class TextureDistillation(Painting):
    """A `Job`: a mesh of the user's, painted from nothing, which ends as a texture.

    Texture coordinates of the mesh are kept if every triangle has a place of its own in them; else
    it is unwrapped.

    Args:
        prior: what it should look like.
        settings: what to paint, and how.
        given: what is painted.
        asset: its `texture`, `up`, `frames` and `render_size`; None: the defaults.
    """

    def __init__(
        self,
        prior: ImagePrior,
        settings: TextureSettings,
        given: UserMesh,
        asset: AssetSettings | None = None,
    ) -> None:
        asset = asset or AssetSettings()
        mesh = given.mesh if is_unwrapped(given.mesh) else unwrap(given.mesh, asset.texture)
        places = torch.tensor(np.array(mesh.vertices), dtype=torch.float32)[:, None]
        field = VoxelGrid(resolution=settings.detail)
        super().__init__(prior, settings, Surface(mesh, places), field, asset, given.back)


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
        asset: its `texture`, `up` (of the mesh that is read, too), `frames` and `render_size`.

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
