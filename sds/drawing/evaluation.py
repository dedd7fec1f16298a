"""Scores of text-to-SVG: whether the drawings, as an independent renderer shows them, are right."""

import json
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from scorefield.priors.images import contact_sheet, save_image
from scorefield.priors.prior import ImagePrior
from scorefield.priors.runs import RunFolder
from scorefield.sds.drawing.distillation import TextToSvg, TextToSvgSettings
from scorefield.sds.drawing.finish import begin_drawing, complete_drawing
from scorefield.sds.drawing.resvg import check_resvg, render_with_resvg
from scorefield.sds.judges import PromptJudge
from scorefield.sds.prompt_runs import answers, lines_for, normalised, run_name, write_whole
from scorefield.sds.vector import load_svg

__all__ = ["evaluate_drawings"]

SIZE = 256
"""Side of the judged pictures, pixels."""

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
    **options: int,
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
        options: the other numbers of `complete_drawing`: preview_every, checkpoint_every, size.

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
    runs = [replace(settings, prompt=prompt) for prompt in prompts]
    for run in runs:
        judge.check(run.prompt)
        TextToSvg(run, prior)  # refuses what it would refuse after the prompts before it
    common = TextToSvg(runs[0], prior).config()
    del common["prompt"]
    config = {"prompts": prompts, "settings": common, "judge": judge.name}
    folder = RunFolder.create(out, config, resume, free=()).path

    rows = []
    for number, run in enumerate(runs):
        path = folder / run_name(number, run.prompt)
        judged = path / "scores.json"
        if judged.exists():
            rows.append(json.loads(judged.read_text(encoding="utf-8")))
            continue
        if progress:
            print(f"prompt {number + 1} of {len(runs)}: {run.prompt}", file=sys.stderr)
        row: dict[str, Any] = {"prompt": run.prompt, "folder": path.name}
        start = time.perf_counter()
        try:
            task, run_folder = begin_drawing(run, prior, path, resume=True)
            written = complete_drawing(task, run_folder, progress=progress, **options)
            shapes = len(list(load_svg(written["svg"]).shapes())) - 1  # without the background
            row |= {"status": "done", "reason": None, "shapes": shapes}
            row["seconds"] = round(time.perf_counter() - start, 1)
            picture = render_with_resvg(written["svg"].read_text(encoding="utf-8"), SIZE)
            row |= _judged(picture, run.prompt, judge)
            write_whole(judged, json.dumps(row, indent=2))
        except (ArithmeticError, RuntimeError, ValueError) as error:
            # One prompt's misfortune must not cost the others theirs.
            row |= {"status": "failed", "reason": str(error), "shapes": 0}
            row["seconds"] = round(time.perf_counter() - start, 1)
            blank = _judged(torch.ones(3, SIZE, SIZE), run.prompt, judge)
            row |= {name: given and [False] for name, given in blank.items()}
        rows.append(row)
    pictures = [
        render_with_resvg((folder / row["folder"] / "final.svg").read_text(encoding="utf-8"), 128)
        if row["status"] == "done"
        else torch.full((3, 128, 128), 0.5)
        for row in rows
    ]
    labels = [" ".join(lines_for(row["prompt"], 20)[:1]) for row in rows]
    save_image(folder / "sheet.png", contact_sheet(torch.stack(pictures), 4, labels))
    totals = {
        "prompts": len(rows),
        "done": sum(row["status"] == "done" for row in rows),
        **{question: answers(rows, question) for question in _QUESTIONS},
    }
    text = json.dumps({**config, "rows": rows, "totals": totals}, indent=2)
    table: dict[str, Any] = json.loads(text)
    write_whole(folder / "table.json", text)
    write_whole(folder / "table.md", _markdown(table))
    return table


def _judged(picture: torch.Tensor, prompt: str, judge: PromptJudge) -> dict[str, list[bool] | None]:
    looks = judge.look(picture[None], prompt)
    return {"retrieved": looks.retrieved, "category": looks.category, "color": looks.color}


def _markdown(table: dict[str, Any]) -> str:
    """The table for people."""
    totals = table["totals"]
    head = ["prompt", "status", *_QUESTIONS.values(), "shapes", "seconds"]
    lines = [f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    for row in table["rows"]:
        cells = [row["prompt"], row["status"]]
        for question in _QUESTIONS:
            cells.append("-" if row[question] is None else "yes" if row[question][0] else "no")
        lines.append(f"| {' | '.join([*cells, str(row['shapes']), str(row['seconds'])])} |")
    cells = [f"all {totals['prompts']}", f"{totals['done']} done"]
    for question in _QUESTIONS:
        of, share = totals[question]["of"], totals[question]["share"]
        cells.append(f"{totals[question]['yes']}/{of} ({share:.0%})" if of else "-")
    seconds = sum(row["seconds"] for row in table["rows"])
    lines.append(f"| {' | '.join([*cells, '', f'{seconds:.0f}'])} |")
    notes = (
        f"final.svg as resvg renders it at {SIZE}x{SIZE}, judged by {table['judge']}; prior "
        f"{table['settings']['prior']}. A prompt without a drawing counts as a miss."
    )
    failures = [
        f"- {row['prompt']}: {row['status']}: {row['reason']}"
        for row in table["rows"]
        if row["status"] != "done"
    ]
    return "\n".join([*lines, "", notes, *([""] if failures else []), *failures])
