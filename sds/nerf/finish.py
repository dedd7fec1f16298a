"""A finished run: mesh files, a turntable and a sheet of views; and text to 3D in one call."""

import os
from pathlib import Path

from tqdm import tqdm

from scorefield.images import save_image
from scorefield.priors.prior import ImagePrior
from scorefield.runs.folder import FREE_KEYS, RunFolder
from scorefield.runs.loop import optimise
from scorefield.sds.nerf.mesh import EmptySceneError, export_mesh, extract_mesh
from scorefield.sds.nerf.radiance_field import Scene
from scorefield.sds.nerf.scene_distillation import TextTo3D
from scorefield.sds.nerf.settings import TextTo3DSettings
from scorefield.sds.nerf.turntable import save_turntable, view_sheet

__all__ = ["begin", "complete", "finish", "make_task", "text_to_3d"]


def finish(
    scene: Scene,
    folder: str | os.PathLike[str],
    *,
    resolution: int = 128,
    frames: int = 36,
    size: int = 128,
    progress: bool = False,
) -> dict[str, Path]:
    """Write `views.png`, `turntable.gif` and the coloured mesh (.glb, .obj, .ply) of a scene.

    Args:
        scene: what to write.
        folder: where; made if missing.
        resolution: points per axis of the grid the mesh is extracted from.
        frames: of the turntable.
        size: side of the pictures, pixels.
        progress: whether to show a progress bar on standard error.

    Returns:
        The written files by what they are: "views", "turntable", "glb", "obj", "ply".

    Raises:
        EmptySceneError: there is no surface; the pictures are written all the same.
    """
    if resolution < 8 or frames < 1 or size < 1:
        raise ValueError(
            "a mesh needs a resolution of at least 8 points, pictures at least 1 frame and 1 "
            f"pixel; got resolution {resolution}, frames {frames}, size {size}"
        )
    folder = Path(folder)
    with tqdm(total=3, desc="views", disable=not progress, dynamic_ncols=True) as bar:
        written = {"views": save_image(folder / "views.png", view_sheet(scene, size))}
        bar.update()
        bar.set_description("turntable")
        written["turntable"] = save_turntable(scene, folder / "turntable.gif", frames, size)
        bar.update()
        bar.set_description("mesh")
        try:
            mesh = extract_mesh(scene, resolution)
        except EmptySceneError as error:
            raise EmptySceneError(f"no mesh: {error}; the pictures are in {folder}") from error
        written |= {path.suffix[1:]: path for path in export_mesh(mesh, folder)}
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
    **pictures: int,
) -> Path:
    """Distil a prompt into a scene and write its mesh, turntable and views; returns the folder.

    ``text_to_3d("a red mushroom", load_prior("shapes"), "runs/mushroom")`` is all it takes. The
    folder is a run folder: killed at any moment, the same call with `resume` goes on.

    Args:
        prompt: what to make, or all settings.
        prior: what it should look like.
        out: a new or empty folder, or with `resume` the folder of the same run.
        resume: go on with the run in the folder, if there is one.
        progress: whether to show progress on standard error.
        preview_every: a preview after every so many steps; 0 for none.
        checkpoint_every: a checkpoint after every so many steps; 0 for the last only.
        pictures: the numbers of `finish`: resolution, frames, size.

    Raises:
        ValueError: before anything starts: settings, words or folder are not accepted.
        EmptySceneError: at the end, the pictures written: the scene came out empty.
        NonFiniteError: on the way; the last checkpoint is kept.
    """
    settings = TextTo3DSettings(prompt) if isinstance(prompt, str) else prompt
    task, folder = begin(settings, prior, out, resume=resume)
    complete(
        task,
        folder,
        progress=progress,
        preview_every=preview_every,
        checkpoint_every=checkpoint_every,
        **pictures,
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
    if task.settings.size < 1 or task.settings.size % prior.codec.factor:
        raise ValueError(
            f"size must be a positive multiple of {prior.codec.factor} pixels, the prior's latent "
            f"cell, or 0 for its own {prior.image_size}; got {settings.size}"
        )
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
    resolution: int = 128,
    frames: int = 36,
    size: int = 128,
) -> dict[str, Path]:
    """Run a begun task to its end from wherever its folder is; returns what `finish` wrote.

    A run whose steps are all done is only finished again. `resolution`, `frames` and `size` are
    those of `finish`.
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
    return finish(
        task.scene,
        folder.path,
        resolution=resolution,
        frames=frames,
        size=size,
        progress=progress,
    )
