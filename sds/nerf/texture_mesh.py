"""A mesh of the user's, painted to a prompt: from a file to files in one call."""

import hashlib
import os
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
import trimesh

from scorefield.images import contact_sheet, save_gif, save_image
from scorefield.priors.prior import ImagePrior
from scorefield.runs.folder import FREE_KEYS, RunFolder
from scorefield.runs.loop import optimise
from scorefield.sds.nerf.asset import Surface, bake, unwrap
from scorefield.sds.nerf.asset_settings import AssetSettings
from scorefield.sds.nerf.cameras import Cameras, orbit
from scorefield.sds.nerf.mesh_files import export_mesh
from scorefield.sds.nerf.rasterise import rasterise, texture_coordinates
from scorefield.sds.nerf.surface_views import asset_views
from scorefield.sds.nerf.texture_distillation import TextureDistillation
from scorefield.sds.nerf.texture_settings import TextureSettings
from scorefield.sds.nerf.user_mesh import UserMesh, load_mesh
from scorefield.sds.presets import preset_for, settings_by

__all__ = ["begin_texture", "complete_texture", "texture_mesh"]

TRIED = 512
"""Texels a side at which overlaps of texture coordinates are looked for."""


def texture_mesh(
    mesh: str | os.PathLike[str],
    prompt: str | TextureSettings,
    prior: ImagePrior,
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
        mesh: a file, see `load_mesh`.
        prompt: what to paint, by the preset that is chosen for the prior; or all settings.
        prior: what it should look like.
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
    if isinstance(prompt, str):
        usual = settings_by(preset_for(prior, "scene"), prior, {})
        names = {one.name for one in fields(TextureSettings)}
        prompt = TextureSettings(prompt, **{k: v for k, v in usual.items() if k in names})
    given = load_mesh(mesh, asset.up)
    task, folder = begin_texture(given, prompt, prior, out, asset.texture, resume=resume)
    complete_texture(
        task,
        folder,
        given,
        asset,
        progress=progress,
        preview_every=preview_every,
        checkpoint_every=checkpoint_every,
    )
    return folder.path


def begin_texture(
    given: UserMesh,
    settings: TextureSettings,
    prior: ImagePrior,
    out: str | os.PathLike[str],
    texture: int = 1024,
    *,
    resume: bool = False,
) -> tuple[TextureDistillation, RunFolder]:
    """The task and its run folder: the part of `texture_mesh` that refuses.

    Raises:
        ValueError: settings, words or folder are not accepted; nothing was written.
    """
    mesh = given.mesh if is_unwrapped(given.mesh) else unwrap(given.mesh, texture)
    places = torch.tensor(np.array(mesh.vertices), dtype=torch.float32, device=prior.device)
    data = (mesh.vertices.round(6) + 0.0).tobytes() + np.asarray(mesh.faces, np.int64).tobytes()
    digest = hashlib.sha256(data).hexdigest()
    task = TextureDistillation(settings, prior, Surface(mesh, places[:, None]), digest=digest)
    folder = RunFolder.create(out, task.config(), resume, free=FREE_KEYS - {"steps"})
    folder.load_checkpoint()  # a damaged one is refused now
    return task, folder


def is_unwrapped(mesh: trimesh.Trimesh) -> bool:
    """Whether every triangle has a place of its own in the texture."""
    try:
        uv = texture_coordinates(mesh)
    except ValueError:
        return False
    if not (torch.isfinite(uv).all() and uv.min() >= 0 and uv.max() <= 1):
        return False
    found = rasterise(TRIED * uv[torch.as_tensor(np.array(mesh.faces))], TRIED)
    texels = (found.row * TRIED + found.column).unique()
    # Centres on an edge belong to two triangles.
    return len(texels) > 0 and len(found.row) < 1.02 * len(texels)


def complete_texture(
    task: TextureDistillation,
    folder: RunFolder,
    given: UserMesh,
    asset: AssetSettings,
    *,
    progress: bool = True,
    preview_every: int = 100,
    checkpoint_every: int = 100,
) -> dict[str, Path]:
    """Run a begun task to its end from wherever its folder is, and write its files.

    Returns:
        The written files: "views", "turntable", "glb", "obj", "ply", "mtl" and "png".
    """
    optimise(
        task,
        steps=task.settings.steps,
        folder=folder,
        preview_every=preview_every,
        checkpoint_every=checkpoint_every,
        progress=progress,
        resume=True,
    )
    painted = bake(task.surface, task.field, asset.texture)
    size = asset.picture_size
    around = Cameras.at([0.0, 90.0, 180.0, 270.0, 0.0], [15.0, 15.0, 15.0, 15.0, 75.0])
    sheet = contact_sheet(asset_views(painted, around, size), columns=5, labels=around.views)
    written = {"views": save_image(folder.path / "views.png", sheet)}
    turn = asset_views(painted, orbit(asset.frames), size)
    written["turntable"] = save_gif(folder.path / "turntable.gif", turn)
    painted.apply_transform(given.back)
    paths = export_mesh(painted, folder.path, title=task.settings.prompt, up=asset.up)
    return written | {path.suffix[1:]: path for path in paths}
