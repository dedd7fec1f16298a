"""A finished drawing: SVG, PNG and the animation of its making; and text to SVG in one call."""

import os
from pathlib import Path

import torch

from scorefield.images import load_image, save_gif, save_image
from scorefield.priors.prior import ImagePrior
from scorefield.runs.folder import FREE_KEYS, RunFolder
from scorefield.runs.loop import optimise
from scorefield.sds.presets import preset_for, settings_by
from scorefield.sds.svg.cleaning import cleaned
from scorefield.sds.svg.distillation import TextToSvg
from scorefield.sds.svg.drawing import WHITE
from scorefield.sds.svg.settings import TextToSvgSettings
from scorefield.sds.svg.styles import PixelArt

__all__ = ["begin_drawing", "complete_drawing", "finish_drawing", "text_to_svg"]

_DIGITS = 4
"""Of the numbers in final.svg: a tenth of a unit where the view box is 600 wide."""

_HOLD = 12
"""Frames that the animation's end is shown for."""


def text_to_svg(
    prompt: str | TextToSvgSettings,
    prior: ImagePrior,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    progress: bool = True,
    preview_every: int = 10,
    checkpoint_every: int = 100,
    size: int = 512,
) -> Path:
    """Distil a prompt into a drawing and write it as SVG; returns the folder.

    ``text_to_svg("a yellow duck", load_prior("shapes"), "runs/duck")`` is all it takes. The folder
    is a run folder: killed at any moment, the same call with `resume` goes on.

    Args:
        prompt: what to draw, or all settings.
        prior: what it should look like.
        out: a new or empty folder, or with `resume` the folder of the same run.
        resume: go on with the run in the folder, if there is one.
        progress: whether to show progress on standard error.
        preview_every: a preview, and a frame of the animation, after every so many steps; 0 for
            neither.
        checkpoint_every: a checkpoint after every so many steps; 0 for the last only.
        size: longer side of `final.png`, pixels.

    Raises:
        ValueError: before anything starts: settings, words or folder are not accepted.
        NonFiniteError: on the way; the last checkpoint is kept.
    """
    if isinstance(prompt, str):
        prompt = TextToSvgSettings(prompt, **settings_by(preset_for(prior, "drawing"), prior, {}))
    settings = prompt
    task, folder = begin_drawing(settings, prior, out, resume=resume)
    complete_drawing(
        task,
        folder,
        progress=progress,
        preview_every=preview_every,
        checkpoint_every=checkpoint_every,
        size=size,
    )
    return folder.path


def begin_drawing(
    settings: TextToSvgSettings,
    prior: ImagePrior,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
) -> tuple[TextToSvg, RunFolder]:
    """The task and its run folder: the part of `text_to_svg` that refuses.

    Raises:
        ValueError: settings, words or folder are not accepted; nothing was written.
    """
    task = TextToSvg(settings, prior)
    # The schedules span the steps, so a run that began with other steps is another run.
    folder = RunFolder.create(out, task.config(), resume, free=FREE_KEYS - {"steps"})
    folder.load_checkpoint()  # a damaged one is refused now
    return task, folder


def complete_drawing(
    task: TextToSvg,
    folder: RunFolder,
    *,
    progress: bool = True,
    preview_every: int = 10,
    checkpoint_every: int = 100,
    size: int = 512,
) -> dict[str, Path]:
    """Run a begun task to its end from wherever its folder is; returns what was written.

    A run whose steps are all done is only finished again.
    """
    optimise(
        task,
        steps=task.settings.updates,
        folder=folder,
        preview_every=preview_every,
        checkpoint_every=checkpoint_every,
        progress=progress,
        resume=True,
    )
    return finish_drawing(task, folder.path, size=size)


@torch.no_grad()
def finish_drawing(
    task: TextToSvg, folder: str | os.PathLike[str], *, size: int = 512
) -> dict[str, Path]:
    """Write `final.svg`, `final.png` and, from the previews, `making.gif`.

    `final.svg` is cleaned of what cannot be seen, rounded and grouped (see `cleaned`), and
    `final.png` is the picture of it. The sample that was traced is `traced.png`.

    Args:
        task: whose drawing to write.
        folder: where; made if missing.
        size: longer side of `final.png`, pixels.

    Returns:
        The written files by what they are: "svg", "png" and, where there are any, "making" and
        "traced".
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 pixel; got {size}")
    folder = Path(folder)
    document = task.drawing.document
    # Of a grid every square counts, the white ones too.
    if not isinstance(task.settings.style, PixelArt):
        document = cleaned(document)
    box = document.view_box
    height, width = (
        max(1, round(size * side / max(box.width, box.height))) for side in (box.height, box.width)
    )
    written = {
        "svg": document.save(folder / "final.svg", digits=_DIGITS),
        "png": save_image(folder / "final.png", document.render(height, width, WHITE).cpu()),
    }
    previews = sorted((folder / "previews").glob("*.png"))
    if previews:
        frames = torch.stack([load_image(path) for path in previews])
        still = frames[-1:].expand(_HOLD, -1, -1, -1)
        written["making"] = save_gif(folder / "making.gif", torch.cat([frames, still]))
    if task.target is not None:
        written["traced"] = save_image(folder / "traced.png", task.target)
    return written
