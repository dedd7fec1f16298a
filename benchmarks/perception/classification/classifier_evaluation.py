"""Accuracy of the diffusion classifier by network evaluations: a race against fixed stages.

Policies are compared on the same errors, each evaluated once and kept (`StoredErrors`), so that a
difference between them is their own.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from classifier_cases import Cases
from classifier_report import draw_curve, markdown_table, table_of
from error_store import StoredErrors
from tqdm.auto import tqdm

from scorefield.perception.classification.classify import Classification, run_races
from scorefield.perception.classification.error_measure import ErrorMeasure
from scorefield.perception.classification.paired_errors import PairedErrors
from scorefield.perception.classification.stopping import Race, StoppingRule
from scorefield.priors.prior import ImagePrior

PAPER = ErrorMeasure(spacing="fraction", log_snr=(-12, 12))
"""Li et al. 2023: errors of eps, all timesteps alike."""

CONFIDENCES = (0.5, 0.9, 0.99)
"""Of the races that are compared."""


@dataclass(frozen=True)
class Arm:
    """One way to classify: its name in tables, the curve it belongs to, measure and policy."""

    name: str
    curve: str
    measure: ErrorMeasure
    policy: StoppingRule


def arms(cases: Cases, published: bool) -> list[Arm]:
    """What is compared: the paper's stages, with its levels and with ours, and the race.

    published: the paper's schedule in full too, which costs the most.
    """
    stages = cases.shrunk | ({"as published": cases.published} if published else {})
    first = next(iter(cases.shrunk))
    ours = ErrorMeasure()
    return [
        *(Arm(f"stages {n}", "stages (paper)", PAPER, s) for n, s in stages.items()),
        Arm(f"stages {first}, our levels", "stages, our levels", ours, cases.shrunk[first]),
        *(
            Arm(f"race {c}", "race (ours)", ours, Race(c, inflation=cases.inflation))
            for c in CONFIDENCES
        ),
    ]


def evaluate_classifier(
    prior: ImagePrior,
    cases: Cases,
    folder: Path,
    *,
    n: int,
    seed: int,
    budget: int,
    published: bool = False,
    batch_size: int = 96,
    progress: bool = False,
) -> dict[str, Any]:
    """Classify the first n cases by every arm; write results.json, table.md and curve.png.

    Errors are kept in the folder's `errors`. An evaluation that was interrupted, or that is to have
    more images or other arms, evaluates what is not there yet, and comes to the same figures.

    Args:
        prior: one that knows the prompts.
        cases: what to classify.
        folder: made if it is missing.
        n: images.
        seed: of the noise.
        budget: of a race, evaluations per image.
        published: run the paper's schedule in full too.
        batch_size: rows in one pass of the network.
        progress: show a bar.

    Raises:
        ValueError: no image, more than there are, or a folder of another evaluation.
    """
    if n < 1 or (cases.limit is not None and n > cases.limit):
        most = "" if cases.limit is None else f" and at most {cases.limit}"
        raise ValueError(f"n must be at least 1{most}, the images there are; got {n}")
    settings = {"prior": prior.name, "cases": cases.name, "seed": seed, "labels": cases.prompts}
    _check_settings(folder, settings)
    compared = arms(cases, published)
    denoiser = prior.condition(cases.prompts)
    groups = [[i] for i in range(len(cases.prompts))]
    found: dict[str, list[Classification]] = {arm.name: [] for arm in compared}
    truth: list[int] = []
    with tqdm(total=n, disable=not progress, desc="evaluate classifier") as bar:
        # whole groups of images, the last one too: a file holds the errors of one
        for first in range(0, n, cases.at_once):
            stop = min(first + cases.at_once, cases.limit or first + cases.at_once)
            images, labels = cases.draw(range(first, stop))
            x = prior.encode(images.to(prior.device))
            stores: dict[ErrorMeasure, StoredErrors] = {}
            for arm in compared:
                if arm.measure not in stores:
                    source = PairedErrors(
                        denoiser,
                        x,
                        arm.measure,
                        seed=seed,
                        items=range(first, stop),
                        batch_size=batch_size,
                    )
                    path = folder / "errors" / f"{_name(arm.measure)}-{first:05d}.npz"
                    stores[arm.measure] = StoredErrors(source, path, len(x), len(groups))
                limit = budget if isinstance(arm.policy, Race) else 10**9
                store = stores[arm.measure]
                found[arm.name].append(
                    run_races(store, len(x), cases.prompts, groups, policy=arm.policy, budget=limit)
                )
                store.save()
            truth += labels
            bar.update(min(n, stop) - first)
    reference = [arm for arm in compared if arm.measure == PAPER]
    table = table_of(
        [(arm.name, arm.curve, found[arm.name]) for arm in compared],
        truth[:n],
        reference=reference[-1].name,
    )
    results = {**settings, "images": n, "budget": budget, "table": table}
    (folder / "results.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    (folder / "table.md").write_text(markdown_table(table), encoding="utf-8")
    draw_curve(table, f"{n} images ({cases.name}), {len(groups)} labels", folder / "curve.png")
    return results


def _name(measure: ErrorMeasure) -> str:
    """Of a measure, in names of files."""
    low, high = measure.log_snr
    return f"{measure.quantity}-{measure.loss}-{measure.spacing}-{low:g}-{high:g}"


def _check_settings(folder: Path, settings: dict[str, Any]) -> None:
    """Keep what the errors depend on beside them; refuse errors of something else."""
    path = folder / "settings.json"
    text = json.dumps(settings, indent=2) + "\n"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    elif path.read_text(encoding="utf-8") != text:
        raise ValueError(f"{path} is of other settings; choose another folder")
