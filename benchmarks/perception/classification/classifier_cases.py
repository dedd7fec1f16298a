"""Labelled images to judge classifiers by: renders of the world, and handwritten digits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from sklearn.base import ClassifierMixin
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.svm import SVC
from torch import Tensor

from scorefield.perception.classification.stopping import Stages
from scorefield.training.digits import HELD_OUT, VALIDATION, Part, digits_part
from scorefield.world import CATEGORIES, COLORS, draw_scene, render

TUNING_SEED = 100
"""World seed of the images on which the levels and the race's settings were chosen."""

TRAINING_SEEDS = (0, 1)
"""World seeds of the images that the embedded priors were trained on."""


@dataclass(frozen=True)
class Cases:
    """Images, the labels to choose from, and the paper's schedule for as many labels.

    name: of the set.
    prompts: one per label.
    draw: from indices to images (n, 3, h, w) in [0, 1] and the indices of their labels.
    published: of Li et al. 2023, for the data set of about as many classes.
    shrunk: the same with fewer draws, by name.
    inflation: of a race, as `noise_inflation` finds it on other images.
    limit: how many images there are; None is any number.
    at_once: images that are classified together.
    """

    name: str
    prompts: tuple[str, ...]
    draw: Callable[[Sequence[int]], tuple[Float[Tensor, "n 3 h w"], list[int]]]
    published: Stages
    shrunk: dict[str, Stages]
    inflation: float = 4.0
    limit: int | None = None
    at_once: int = 1


def world_cases(seed: int) -> Cases:
    """Fresh renders, to be told apart by category and colour: 96 labels.

    Colours come in turn, categories at random. The schedule is the one of Flowers, Food and
    Aircraft, 100 to 102 classes.

    Raises:
        ValueError: a seed that the priors were trained on or the classifier tuned on.
    """
    if seed in (*TRAINING_SEEDS, TUNING_SEED) or seed < 0:
        raise ValueError(
            f"seed {seed} draws images of trainings or of the tuning; give another from 2 on"
        )
    colors = list(COLORS)
    prompts = [f"a {color} {category}" for category in CATEGORIES for color in colors]

    def draw(indices: Sequence[int]) -> tuple[Tensor, list[int]]:
        scenes = [draw_scene(seed, i, color=colors[i % len(colors)]) for i in indices]
        truth = [prompts.index(f"a {scene.color} {scene.category}") for scene in scenes]
        return render(scenes).images, truth

    keep = (20, 10, 5, 1)
    return Cases(
        "world",
        tuple(prompts),
        draw,
        published=Stages(keep, (20, 50, 100, 500)),
        shrunk={"1/20": Stages(keep, (1, 2, 5, 25)), "1/10": Stages(keep, (2, 5, 10, 50))},
    )


def digits_cases(part: Part = "held-out") -> Cases:
    """Scikit-learn's handwritten digits, a part of them; the schedule is the one of CIFAR10."""

    def draw(indices: Sequence[int]) -> tuple[Tensor, list[int]]:
        chosen = list(indices)
        images = found.images[chosen].repeat_interleave(3, dim=1)
        return images, found.labels[chosen].tolist()

    found = digits_part(part)
    return Cases(
        f"digits, {part}",
        tuple(str(digit) for digit in range(10)),
        draw,
        published=Stages((5, 1), (50, 500)),
        shrunk={"1/50": Stages((5, 1), (1, 10)), "1/10": Stages((5, 1), (5, 50))},
        inflation=1.0,
        limit={"held-out": HELD_OUT, "validation": VALIDATION}.get(part, len(found.labels)),
        at_once=25,
    )


def digits_baselines(part: Part = "held-out") -> dict[str, float]:
    """Accuracy of scikit-learn's classifiers on a part, trained on the training part.

    Their settings are the best of a few on the validation part; of equals, the first.
    """
    candidates: dict[str, list[ClassifierMixin]] = {
        "logistic regression": [LogisticRegression(C=c, max_iter=2000) for c in (0.1, 1.0, 10.0)],
        "nearest neighbours": [KNeighborsClassifier(k) for k in (1, 3, 5)],
        "support vectors (RBF)": [
            SVC(C=c, gamma=gamma) for c in (1.0, 10.0) for gamma in ("scale", 0.02, 0.05, 0.1)
        ],
    }
    training, validation, judged = (
        (d.images.flatten(1).numpy(), d.labels.numpy())
        for d in (digits_part("training"), digits_part("validation"), digits_part(part))
    )
    scores = {}
    for name, models in candidates.items():
        fitted = [model.fit(*training) for model in models]
        best = fitted[int(np.argmax([model.score(*validation) for model in fitted]))]
        scores[name] = float(best.score(*judged))
    return scores
