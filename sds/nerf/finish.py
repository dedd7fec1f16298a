"""A finished run: mesh files, a turntable and a sheet of views; and text to 3D in one call."""

import os
from pathlib import Path

from tqdm import tqdm

from scorefield.images import save_gif, save_image
from scorefield.priors.prior import ImagePrior
from scorefield.runs.folder import FREE_KEYS, RunFolder
from scorefield.runs.loop import optimise
from scorefield.sds.nerf.asset import make_asset
from scorefield.sds.nerf.asset_settings import AssetSettings
from scorefield.sds.nerf.cameras import orbit
from scorefield.sds.nerf.mesh import EmptySceneError
from scorefield.sds.nerf.mesh_files import export_mesh
from scorefield.sds.nerf.radiance_field import Scene
from scorefield.sds.nerf.scene_distillation import TextTo3D
from scorefield.sds.nerf.settings import TextTo3DSettings
from scorefield.sds.nerf.surface_views import asset_views
from scorefield.sds.nerf.turntable import save_turntable, view_sheet
from scorefield.sds.presets import preset_for, settings_by

__all__ = ["begin", "complete", "finish", "make_task", "text_to_3d"]


def finish(
    scene: Scene,
    folder: str | os.PathLike[str],
    settings: AssetSettings | None = None,
    *,
    title: str = "object",
    progress: bool = False,
) -> dict[str, Path]:
    """Write `views.png`, `turntable.gif` and the textured mesh (.glb, .obj, .ply) of a scene.

    The views are of the field, the turntable is of the mesh.

    Args:
        scene: what to write.
        folder: where; made if missing.
        settings: of the mesh and the pictures; None: the defaults.
        title: what the object is called in its files.
        progress: whether to show a progress bar on standard error.

    Returns:
        The written files by what they are: "views", "turntable", "glb", "obj", "ply", and the
        "mtl" and "png" that belong to the .obj.

    Raises:
        EmptySceneError: there is no surface; the pictures are written all the same, both of the
            field.
    """
    settings = settings or AssetSettings()
    folder = Path(folder)
    size = settings.picture_size
    with tqdm(total=3, desc="views", disable=not progress, dynamic_ncols=True) as bar:
        written = {"views": save_image(folder / "views.png", view_sheet(scene, size))}
        bar.update()
        bar.set_description("mesh")
        turn = folder / "turntable.gif"
        try:
            mesh = make_asset(scene, settings)
        except EmptySceneError as error:
            save_turntable(scene, turn, settings.frames, size)
            raise EmptySceneError(f"no mesh: {error}; the pictures are in {folder}") from error
        paths = export_mesh(mesh, folder, title=title, up=settings.up)
        bar.update()
        bar.set_description("turntable")
        written["turntable"] = save_gif(turn, asset_views(mesh, orbit(settings.frames), size))
        written |= {path.suffix[1:]: path for path in paths}
        bar.update()
    return written


def text_to_3d(
    prompt: str | TextTo3DSettings,
    prior: ImagePrior,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    progress: bool = True,
    preview_every: int = 100,
    checkpoint_every: int = 100,
    asset: AssetSettings | None = None,
) -> Path:
    """Distil a prompt into a scene and write its mesh, turntable and views; returns the folder.

    ``text_to_3d("a red mushroom", load_prior("shapes"), "runs/mushroom")`` is all it takes. The
    folder is a run folder: killed at any moment, the same call with `resume` goes on.

    Args:
        prompt: what to make, by the preset that is chosen for the prior; or all settings.
        prior: what it should look like.
        out: a new or empty folder, or with `resume` the folder of the same run.
        resume: go on with the run in the folder, if there is one.
        progress: whether to show progress on standard error.
        preview_every: a preview after every so many steps; 0 for none.
        checkpoint_every: a checkpoint after every so many steps; 0 for the last only.
        asset: of the mesh and the pictures; None: the defaults.

    Raises:
        ValueError: before anything starts: settings, words or folder are not accepted.
        EmptySceneError: at the end, the pictures written: the scene came out empty.
        NonFiniteError: on the way; the last checkpoint is kept.
    """
    if isinstance(prompt, str):
        prompt = TextTo3DSettings(prompt, **settings_by(preset_for(prior, "scene"), prior, {}))
    settings = prompt
    task, folder = begin(settings, prior, out, resume=resume)
    complete(
        task,
        folder,
        progress=progress,
        preview_every=preview_every,
        checkpoint_every=checkpoint_every,
        asset=asset,
    )
    return folder.path


def make_task(settings: TextTo3DSettings, prior: ImagePrior) -> TextTo3D:
    """The task of these settings.

    Raises:
        ValueError: settings or words are not accepted.
    """
    task = TextTo3D(settings, prior)
    if settings.negative:
        prior.condition(settings.negative)
    return task


def begin(
    settings: TextTo3DSettings,
    prior: ImagePrior,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
) -> tuple[TextTo3D, RunFolder]:
    """The task and its run folder: the part of `text_to_3d` that refuses.

    Raises:
        ValueError: settings, words or folder are not accepted; nothing was written.
    """
    task = make_task(settings, prior)
    # The annealing spans the steps, so a run that began with other steps is another run.
    folder = RunFolder.create(out, task.config(), resume, free=FREE_KEYS - {"steps"})
    folder.load_checkpoint()  # a damaged one is refused now
    return task, folder


def complete(
    task: TextTo3D,
    folder: RunFolder,
    *,
    progress: bool = True,
    preview_every: int = 100,
    checkpoint_every: int = 100,
    asset: AssetSettings | None = None,
) -> dict[str, Path]:
    """Run a begun task to its end from wherever its folder is; returns what `finish` wrote.

    A run whose steps are all done is only finished again.
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
    title = task.settings.prompt
    return finish(task.scene, folder.path, asset, title=title, progress=progress)
