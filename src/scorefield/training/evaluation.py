"""How good a prior of the world's images is, by the judge, and the card that says so."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.files import write_text
from scorefield.priors.prior import ImagePrior
from scorefield.views import VIEWS
from scorefield.world import (
    CATEGORIES,
    COLORS,
    FRONTED,
    WorldScene,
    draw_scene,
    render,
)
from scorefield.world.judge import Judge, Verdict, frechet_distance
from scorefield.world.scenes import cameras_of

TRAINING_SEEDS = (0, 1)
"""World seeds of the images that the prior and the judge were trained on."""

Label = tuple[str, str, str]
"""Category, colour and view."""

_CHUNK = 32  # scenes rendered at once
_FRESH = 2**32  # number of the first scene that the judge is tried on, after all others


def evaluate_prior(
    prior: ImagePrior,
    judge: Judge,
    *,
    n: int = 512,
    seed: int,
    scale: float | None = None,
    steps: int = 25,
    renders: int = 2048,
    batch_size: int = 16,
    progress: bool = False,
) -> dict[str, Any]:
    """Sample captions of all categories, colours and views, and judge what comes out.

    Accuracies are shares of the samples; that of the view counts only the categories that have a
    front. The Frechet distance, in the judge's features, is that between the samples and renders
    with the same labels; its floor is the distance between two independent sets of such renders.
    A prior that is told cameras is told those of the first set, and no view in words.

    Args:
        prior: what is evaluated.
        judge: of category, colour and view.
        n: number of samples; a multiple of 384 has every combination equally often.
        seed: of the samples' noise and of the world's images they are compared with.
        scale: of the guidance; None: the prior's own.
        steps: of the sampler.
        renders: number of fresh images on which the judge itself is tried.
        batch_size: of the sampler.
        progress: whether to show a progress bar.

    Raises:
        ValueError: the seed is one that the prior or the judge was trained on, or a number is out
            of range.
    """
    if seed in TRAINING_SEEDS:
        raise ValueError(
            f"seed {seed} draws images that the prior or the judge was trained on; "
            "evaluate with a seed from 2 on"
        )
    if seed < 0 or n < 2 or renders < 1 or steps < 1:
        raise ValueError(
            "evaluation needs a seed from 2 on, n of at least 2, and renders and steps of at least "
            f"1; got seed {seed}, n {n}, renders {renders}, steps {steps}"
        )
    labels = [balanced_label(i) for i in range(n)]
    scenes, others = (_matching_scenes(seed, labels, which) for which in (0, 1))
    told = prior.cameras is not None
    images = prior.generate(
        [caption(category, color, None if told else view) for category, color, view in labels],
        scale,
        cameras=cameras_of(scenes) if told else None,
        steps=steps,
        seed=seed,
        batch_size=batch_size,
        progress=progress,
    ).cpu()
    first, second = _render(scenes), _render(others)
    fresh = [draw_scene(seed, _FRESH + i) for i in range(renders)]
    truth = [(s.category, s.color, s.view) for s in fresh]
    features = [judge.features(part) for part in (images, first, second)]
    return {
        "prior": prior.name,
        "samples": n,
        "seed": seed,
        "guidance_scale": prior.guidance_scale if scale is None else scale,
        "steps": steps,
        "cameras": told,
        **_accuracies(judge(images), labels),
        "frechet_distance": frechet_distance(features[0], features[1]),
        "frechet_floor": frechet_distance(features[1], features[2]),
        "judge_on_renders": {"images": renders, **_accuracies(judge(_render(fresh)), truth)},
    }


def balanced_label(i: int) -> Label:
    """Label number i: categories in turn, then colours, then views.

    Every 96 labels have every category in every colour, and all views equally often; every 384
    have every combination once.
    """
    category, color = i % len(CATEGORIES), i // len(CATEGORIES) % len(COLORS)
    turn = i // (len(CATEGORIES) * len(COLORS))
    view = VIEWS[(category + color + turn) % len(VIEWS)]
    return list(CATEGORIES)[category], list(COLORS)[color], view


def caption(category: str, color: str, view: str | None) -> str:
    """The caption of a label, such as "an orange duck, back view"; None leaves the view out."""
    thing = f"{'an' if color[0] in 'aeiou' else 'a'} {color} {category}"
    return thing if view is None else f"{thing}, {view}"


def _matching_scenes(seed: int, labels: Sequence[Label], which: int) -> list[WorldScene]:
    """A scene of the world per label; sets with different `which` (0 or 1) share none."""
    scenes = []
    for i, (category, color, view) in enumerate(labels):
        numbers = itertools.count(which * len(labels) + i, 2 * len(labels))
        draws = (draw_scene(seed, k, category=category, color=color) for k in numbers)
        scenes.append(next(scene for scene in draws if scene.view == view))
    return scenes


def _render(scenes: Sequence[WorldScene]) -> Float[Tensor, "n 3 64 64"]:
    starts = range(0, len(scenes), _CHUNK)
    return torch.cat([render(scenes[start : start + _CHUNK]).images for start in starts])


def _accuracies(verdict: Verdict, labels: Sequence[Label]) -> dict[str, Any]:
    categories, colors, views = zip(*labels, strict=True)
    by_category = {
        name: _share(
            said == name
            for said, truth in zip(verdict.categories, categories, strict=True)
            if truth == name
        )
        for name in CATEGORIES
    }
    tried = {name: share for name, share in by_category.items() if share is not None}
    seen = zip(categories, verdict.views, views, strict=True)
    return {
        "category_accuracy": _share(
            a == b for a, b in zip(verdict.categories, categories, strict=True)
        ),
        "color_accuracy": _share(a == b for a, b in zip(verdict.colors, colors, strict=True)),
        "view_accuracy": _share(a == b for name, a, b in seen if name in FRONTED),
        "categories": by_category,
        "worst_category": min(tried, key=lambda name: tried[name]),
    }


def _share(answers: Iterable[bool]) -> float | None:
    """Share of True, None of nothing."""
    answers = list(answers)
    return sum(answers) / len(answers) if answers else None


def write_card(metrics: Mapping[str, Any], command: str, folder: Path) -> Path:
    """Write the model card README.md of a prior into its folder.

    Args:
        metrics: as `evaluate_prior` returns them.
        command: the shell command that trains the prior again.
        folder: made if missing.
    """
    judge = metrics["judge_on_renders"]
    rows = [
        (f"{name}{'' if name in FRONTED else ' (no front)'}", share, judge["categories"][name])
        for name, share in metrics["categories"].items()
    ]
    rows += [
        (f"all categories, {metrics['samples']} samples", *_both(metrics, "category_accuracy")),
        ("colour", *_both(metrics, "color_accuracy")),
        ("view, where there is a front", *_both(metrics, "view_accuracy")),
    ]
    table = "\n".join(f"| {name} | {_percent(a)} | {_percent(b)} |" for name, a, b in rows)
    views = f"{len(VIEWS)} views ({', '.join(VIEWS)})"
    asked, example = '"a COLOUR CATEGORY, VIEW"', '"a red mushroom, front view"'
    if metrics.get("cameras"):
        views = "any view: it is told the camera, not a word for it"
        asked = '"a COLOUR CATEGORY" under cameras of every view'
        example = '"a red mushroom" --azimuth 0 90'
    world = (
        f"A text-to-image diffusion prior of 64x64 images of a procedural world: objects of "
        f"{len(CATEGORIES)} categories ({', '.join(CATEGORIES)}) in {len(COLORS)} colours "
        f"({', '.join(COLORS)}) and {views}. It knows the words of these captions and no others, "
        "and has seen no photograph."
    )
    how = (
        f"Captions {asked}, all combinations in turn, sampled with seed "
        f"{metrics['seed']}, guidance scale {metrics['guidance_scale']:g} and {metrics['steps']} "
        "steps, judged by a classifier trained on renders alone. The last column is the same "
        f"classifier on {judge['images']} fresh renders: how far it can be trusted."
    )
    frechet = (
        f"The worst category is {metrics['worst_category']}. Frechet distance in the classifier's "
        "features between the samples and renders with the same labels: "
        f"{metrics['frechet_distance']:.3f}; between two independent sets of such renders: "
        f"{metrics['frechet_floor']:.3f}."
    )
    seeds = (
        f"The world's seed {TRAINING_SEEDS[0]} draws the prior's training images and seed "
        f"{TRAINING_SEEDS[1]} the judge's; the metrics above are of images with seed "
        f"{metrics['seed']}, which neither has seen."
    )
    text = f"""# {metrics["prior"]}

{fill(world, 100)}

Example: `scorefield sample {example} --out samples.png`

## Figures

{fill(how, 100)}

| judged right | samples | renders |
| --- | --- | --- |
{table}

{fill(frechet, 100)}

## Training

    {command}

{fill(seeds, 100)}
"""
    return write_text(folder / "README.md", text)


def _both(metrics: Mapping[str, Any], name: str) -> tuple[float | None, float | None]:
    return metrics[name], metrics["judge_on_renders"][name]


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
