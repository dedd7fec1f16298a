"""Scores of text-to-SVG: whether the drawings, as an independent renderer shows them, are right."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scorefield.images import contact_sheet, save_image
from scorefield.priors.prior import ImagePrior
from scorefield.runs.folder import RunFolder
from scorefield.runs.job import run
from scorefield.sds.judges import PromptJudge
from scorefield.sds.prompt_runs import (
    Row,
    answers,
    judge_each,
    lines_for,
    markdown_table,
    normalised,
    write_table,
)
from scorefield.sds.svg.distillation import TextToSvg
from scorefield.sds.svg.economy import economy
from scorefield.sds.svg.resvg import check_resvg, render_with_resvg
from scorefield.sds.svg.settings import TextToSvgSettings

__all__ = ["evaluate_drawings"]

SIZE = 256
"""Side of the judged images, pixels."""

_COUNTED = {
    "paths": ("paths", 0),
    "nodes": ("nodes", 0),
    "bytes": ("bytes", 0),
    "half_ink": ("half-transparent ink", 2),
}
"""What `economy` counts, as a column is called and how many digits it has."""

_QUESTIONS = {"retrieved": "R-Precision", "category": "category", "color": "colour"}


def evaluate_drawings(
    prompts: Sequence[str],
    prior: ImagePrior,
    out: str | os.PathLike[str],
    judge: PromptJudge,
    settings: TextToSvgSettings | None = None,
    *,
    resume: bool = False,
    progress: bool = True,
    preview_every: int = 10,
    checkpoint_every: int = 100,
    size: int = 512,
) -> dict[str, Any]:
    """Draw every prompt, judge it, and write `table.json`, `table.md` and `sheet.png`.

    What is judged is `final.svg` as resvg renders it. Each prompt has its own run folder in `out`.
    With `resume`, judged prompts are not drawn again, an interrupted one goes on at its checkpoint,
    and failed ones are tried again.

    Args:
        prompts: what to draw, all different.
        prior: what the drawings should look like.
        out: a new or empty folder, or with `resume` that of the same evaluation.
        judge: `WorldJudge` or `ClipJudge`.
        settings: of every run; its prompt is replaced. None: the defaults.
        resume: go on with the evaluation in the folder, if there is one.
        progress: whether to show progress on standard error.
        preview_every: of each run, as `text_to_svg`.
        checkpoint_every: of each run, as `text_to_svg`.
        size: of each `final.png`, as `text_to_svg`.

    Returns:
        The content of `table.json`: "rows", one per prompt, its "status" being "done" or "failed"
        (no drawing; it counts as a miss), and "totals". "seconds" are those of the last sitting.

    Raises:
        ValueError: prompts, settings or folder are not accepted, or resvg-py is not installed;
            nothing was made.
    """
    check_resvg()
    prompts = normalised(prompts)
    settings = settings or TextToSvgSettings(prompts[0])
    for prompt in prompts:
        judge.check(prompt)
        # refuses what it would refuse after the prompts before it
        TextToSvg(prior, replace(settings, prompt=prompt))
    common = TextToSvg(prior, settings).config()
    del common["prompt"]
    config = {"prompts": prompts, "settings": common, "judge": judge.name}
    owned = RunFolder.create(out, config, resume, free=())  # as long as it lives
    folder = owned.path

    def make(prompt: str, path: Path) -> Row:
        written = run(
            TextToSvg(prior, replace(settings, prompt=prompt), size),
            path,
            resume=True,
            progress=progress,
            preview_every=preview_every,
            checkpoint_every=checkpoint_every,
        )
        found = economy(written["svg"].read_text(encoding="utf-8"))
        return {**found, **_judged(_seen(written["svg"], SIZE), prompt, judge)}

    def missed(prompt: str, path: Path) -> Row:
        blank = _judged(torch.ones(3, SIZE, SIZE), prompt, judge)
        return {
            **dict.fromkeys(_COUNTED, 0),
            **{name: given and [False] for name, given in blank.items()},
        }

    rows = judge_each(prompts, folder, make, missed, progress=progress)
    pictures = [
        _seen(folder / row["folder"] / "final.svg", 128)
        if row["status"] == "done"
        else torch.full((3, 128, 128), 0.5)
        for row in rows
    ]
    labels = [" ".join(lines_for(row["prompt"], 20)[:1]) for row in rows]
    save_image(folder / "sheet.png", contact_sheet(torch.stack(pictures), 4, labels))
    totals = {question: answers(rows, question) for question in _QUESTIONS}
    return write_table(folder, config, rows, totals, _markdown)


def _seen(svg: Path, size: int) -> Tensor:
    return render_with_resvg(svg.read_text(encoding="utf-8"), size)


def _judged(image: Tensor, prompt: str, judge: PromptJudge) -> dict[str, list[bool] | None]:
    looks = judge.look(image[None], prompt)
    return {"retrieved": looks.retrieved, "category": looks.category, "color": looks.color}


def _markdown(table: Mapping[str, Any]) -> str:
    counted = {
        name: ([f"{row[key]:.{places}f}" for row in table["rows"]], "")
        for key, (name, places) in _COUNTED.items()
    }
    notes = (
        f"final.svg as resvg renders it at {SIZE}x{SIZE}, judged by {table['judge']}; prior "
        f"{table['settings']['prior']}. A prompt without a drawing counts as a miss."
    )
    return markdown_table(table, _QUESTIONS, counted, notes)
