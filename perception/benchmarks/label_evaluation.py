"""How often a prior's classifier is right on images with labels, image by image."""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from tqdm.auto import tqdm

from scorefield.images import as_images, opened_image
from scorefield.perception.benchmarks.labelled_images import (
    LabelledImage,
    content_digest,
    noise_key,
)
from scorefield.perception.classification.classify import classify
from scorefield.perception.classification.stopping import StoppingRule
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.rows import Row, RowStore

_LIKELIEST = 5


def evaluate_labels(
    images: Iterable[LabelledImage],
    names: Sequence[str] | Mapping[str, str],
    prompts: Mapping[str, Sequence[str]],
    prior: FrozenPrior,
    rows: RowStore,
    *,
    policy: StoppingRule | None = None,
    budget: int | None = None,
    batch_size: int = 64,
    seed: int = 0,
    total: int | None = None,
    progress: bool = False,
) -> list[Row]:
    """The row of every image: its label, the likeliest ones, what it cost, or its error.

    names: what the data set's labels are called: by number, or by what it writes.
    prompts: of each name.
    rows: with the key "image". Rows that are there are not computed again, but for those of
        images that could not be read.
    """
    found = []
    for one in tqdm(images, total=total, desc="images", disable=not progress):
        row = rows.get(image=one.name)
        if row is None or "error" in row:
            try:
                truth = name_of(one.label, names)
                image, item = _read(one, prior.image_size)
                judged = classify(
                    prior, image, prompts, policy=policy, budget=budget, seed=seed, items=[item],
                    batch_size=batch_size,
                )  # fmt: skip
                likely = judged.log_likelihoods[0].argsort(descending=True, stable=True)
                row = {
                    "image": one.name,
                    "truth": truth,
                    "likeliest": [judged.labels[i] for i in likely[:_LIKELIEST].tolist()],
                    "probability": round(float(judged.probabilities[0].max()), 6),
                    "evaluations": int(judged.evaluations[0]),
                }
            except (OSError, ValueError) as error:
                row = {"image": one.name, "error": " ".join(str(error).split())}
            rows.add(row)
        found.append(row)
    return found


def name_of(label: str | int, names: Sequence[str] | Mapping[str, str]) -> str:
    """What a label of a data set is called.

    Raises:
        ValueError: it is none of them.
    """
    if isinstance(names, Mapping):
        if str(label) in names:
            return names[str(label)]
    elif isinstance(label, int):
        if 0 <= label < len(names):
            return names[label]
    elif label in names:
        return label
    raise ValueError(f"its label {label!r} is none of the {len(names)} names")


def _read(one: LabelledImage, size: int) -> tuple[Tensor, int]:
    """The middle square of an image, and what keys its noise: its content."""
    raw = one.content()
    item = noise_key(content_digest(raw))
    with opened_image(io.BytesIO(raw), one.name) as opened:
        return as_images(opened, size), item


def label_metrics(rows: Sequence[Row]) -> dict[str, Any]:
    """Accuracy of the images that could be read: of the likeliest label, and of the first five.

    ``mean_per_class`` is the mean of the classes' accuracies, which Pets, Flowers and Aircraft are
    given by.
    """
    read = [row for row in rows if "error" not in row]
    found: dict[str, Any] = {"images": len(read), "unread": len(rows) - len(read)}
    if not read:
        return found
    right = np.array([row["likeliest"][0] == row["truth"] for row in read])
    classes = sorted({row["truth"] for row in read})
    of = {
        name: {
            "images": int(sum(row["truth"] == name for row in read)),
            "accuracy": float(np.mean(right[[row["truth"] == name for row in read]])),
        }
        for name in classes
    }
    return found | {
        "accuracy": float(right.mean()),
        "top5": float(np.mean([row["truth"] in row["likeliest"] for row in read])),
        "mean_per_class": float(np.mean([one["accuracy"] for one in of.values()])),
        "evaluations": float(np.mean([row["evaluations"] for row in read])),
        "classes": of,
    }
