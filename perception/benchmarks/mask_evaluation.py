"""How well a prior's regions agree with those of a data set, image by image."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from scorefield.images import load_image
from scorefield.perception.benchmarks.masked_images import Classes, MaskedImage
from scorefield.perception.segmentation.metrics import (
    IGNORED,
    class_counts,
    image_miou,
    mean_iou,
)
from scorefield.perception.segmentation.segment import Method, segment
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.rows import Row, RowStore


def evaluate_masks(
    images: Sequence[MaskedImage],
    classes: Classes,
    prior: FrozenPrior,
    k: int,
    rows: RowStore,
    *,
    method: Method | None = None,
    memory: float | int = 4.0,
    seed: int = 0,
    progress: bool = False,
) -> list[Row]:
    """The row of every image: its mean IoU in two ways, and pixels by class, or its error.

    Regions have no names: they are matched to classes one to one within the image (Hungarian
    method), as DiffSeg and DiffCut do, at the image's own size.

    rows: with the key "image". Rows that are there are not computed again, but for those of
        images that could not be read.
    """
    found = []
    for one in tqdm(images, desc="images", disable=not progress):
        row = rows.get(image=one.name)
        if row is None or "error" in row:
            try:
                truth, image = one.truth(classes), load_image(one.image)
                if truth.shape != image.shape[1:]:
                    raise ValueError(
                        f"{one.mask} has {tuple(truth.shape)} pixels, the image "
                        f"{tuple(image.shape[1:])}"
                    )
                labels = segment(prior, image, k, method, memory=memory, seed=seed)[0].labels
                row = {"image": one.name, **judged(labels, truth, classes.count)}
            except (OSError, ValueError) as error:
                row = {"image": one.name, "error": " ".join(str(error).split())}
            rows.add(row)
        found.append(row)
    return found


def judged(labels: Any, truth: Any, classes: int) -> Row:
    """What is kept of an image: its metrics, and pixels by class that has any."""
    if not bool((truth != IGNORED).any()):
        return {"miou": None, "miou_many_to_one": None, "inside": {}, "union": {}}
    inside, union = class_counts(labels, truth, classes)
    there = np.flatnonzero(union).tolist()
    return {
        "miou": image_miou(labels, truth),
        "miou_many_to_one": image_miou(labels, truth, many_to_one=True),
        "inside": {str(c): int(inside[c]) for c in there},
        "union": {str(c): int(union[c]) for c in there},
    }


def mask_metrics(rows: Sequence[Row], classes: int) -> dict[str, Any]:
    """Mean IoU over the set, and per image, of the images that could be read.

    ``set_miou`` sums intersections and unions over all images before it divides, and is the mean
    over the classes that occur; ``image_miou`` is the mean of the images' own, and
    ``image_miou_many_to_one`` the same where a class may be several regions.
    """
    counts = np.zeros((2, classes))
    for row in rows:
        for which, name in enumerate(("inside", "union")):
            for c, pixels in row.get(name, {}).items():
                counts[which, int(c)] += pixels
    judged = [row for row in rows if row.get("miou") is not None]
    there = np.flatnonzero(counts[1]).tolist()
    return {
        "images": len(judged),
        "set_miou": mean_iou(counts) if there else None,
        "image_miou": float(np.mean([row["miou"] for row in judged])) if judged else None,
        "image_miou_many_to_one": float(np.mean([row["miou_many_to_one"] for row in judged]))
        if judged
        else None,
        "iou": {str(c): float(counts[0, c] / counts[1, c]) for c in there},
        "unread": sum("error" in row for row in rows),
    }
