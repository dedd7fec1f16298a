"""How well a prior finds the parts of objects of the procedural world, beside simpler ways.

EmerDiff is compared with bilinear and other enlargements of the same low-resolution clusters, as by
its authors, and with clusters of colours. What is chosen, presets included, is chosen on images
of other seeds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm.auto import tqdm

from scorefield.intervals import percentiles, resampled
from scorefield.perception.segmentation.clustering import (
    FeatureClusters,
    KMeansClusters,
    NormalisedCut,
    bilinear_masks,
    guided_masks,
    nearest_masks,
    resized_argmax,
)
from scorefield.perception.segmentation.emerdiff import EmerDiff, normalised
from scorefield.perception.segmentation.metrics import (
    boundary_f,
    class_counts,
    image_miou,
    mean_iou,
    set_miou,
)
from scorefield.perception.segmentation.presets import emerdiff_preset
from scorefield.perception.segmentation.segment import cell_labels, check_method, segment
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.rows import Row, RowStore
from scorefield.world import CATEGORIES, draw_scene, render

EXACT, BILINEAR = "EmerDiff", "bilinear"
_GUIDE_RADIUS = 4


@dataclass(frozen=True)
class SegmentationSettings:
    """What the evaluation spends.

    n: images of each category that are judged.
    k: regions that each image is divided into, by every method.
    coarse: steps of the coarse walk.
    exact: whether the walks of all steps are judged as well, at three times the time.
    seed: the judged images'; presets were chosen on those of 31 and 30, 0 and 1 are the
        trainings'.
    resamples: of the bootstrap over images that the intervals are from.
    """

    n: int = 3
    k: int = 5
    coarse: int = 5
    exact: bool = True
    seed: int = 40
    resamples: int = 2000

    def __post_init__(self) -> None:
        if min(self.n, self.k, self.coarse, self.resamples) < 1:
            raise ValueError(f"n, k, coarse and resamples must be at least 1; got {self}")
        if self.seed in (0, 1, TUNING_SEED):
            raise ValueError(
                f"seed {self.seed} drew the trainings' or the tuning images; give another"
            )


TUNING_SEED = 31
"""Of the images on which the presets were chosen."""


@dataclass(frozen=True)
class PartsImage:
    """An image and the parts it shows: class 0 is the background, the others its category's."""

    category: str
    image: Float[Tensor, "3 h w"]
    truth: Int[Tensor, "h w"]


def parts_images(seed: int, n: int, size: int = 64) -> list[PartsImage]:
    """n images of each category in turn, by category, with classes that agree between them."""
    found = []
    for place, category in enumerate(sorted(CATEGORIES)):
        scenes = [draw_scene(seed, place * n + i, category=category) for i in range(n)]
        pictures = render(scenes, size)
        found += [
            PartsImage(category, image, part.long() + 1)
            for image, part in zip(pictures.images, pictures.part, strict=True)
        ]
    return found


def evaluate_segmentation(
    prior: FrozenPrior,
    settings: SegmentationSettings | None = None,
    *,
    method: EmerDiff | None = None,
    results: Path | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Segment, match, average: JSON values.

    ``judged`` has for each method the mean over images of ``miou`` (one to one within an image)
    and ``many_to_one``, ``set_miou`` (matched within images, summed over the set by class) and
    ``boundary_f``, all in percent with the bootstrap's 95% interval, and the evaluations of the
    network per image. ``gain`` is what EmerDiff, its first mode, has more than bilinear
    enlargement of the same clusters, images resampled in pairs. ``shared`` has, by method, the
    mean over categories of the mIoU with clusters common to all images of a category, as many as
    it has classes, and matched once (EmerDiff in its coarse mode).

    method: EmerDiff as it is judged; None is the prior's preset.
    results: a file of a JSON line per category, to which is added what is missing in it.

    Raises:
        ValueError: a prior or a method that cannot be evaluated, or results of other settings.
    """
    settings = SegmentationSettings() if settings is None else settings
    method = emerdiff_preset(prior) if method is None else method
    check_method(prior, method)
    pictures = parts_images(settings.seed, settings.n, prior.image_size)
    head = {"prior": prior.name, "settings": asdict(settings), "method": describe(method)}
    store = RowStore(results, head, ["category"])

    def judged(name: str) -> Row:
        own = [picture for picture in pictures if picture.category == name]
        return _category(prior, own, method, settings)

    names = tqdm(sorted(CATEGORIES), desc="categories", disable=not progress)
    rows = [store.once(partial(judged, name), category=name) for name in names]
    return {**head, "images": len(pictures), **summary(rows, settings)}


def describe(method: EmerDiff) -> dict[str, Any]:
    """A method as JSON values, levels by their log-SNR."""
    values: dict[str, Any] = dict(vars(method))
    for name in ("query_level", "level"):
        values[name] = round(float(values[name].log_snr), 4)
    values["clusters"] = repr(method.clusters)
    return values


def modes(method: EmerDiff, coarse: int, exact: bool = True) -> dict[str, EmerDiff]:
    """The exact method, if wanted, and its fast modes."""
    whole = {EXACT: method, f"{EXACT}, one-sided": replace(method, one_sided=True)}
    fast = {
        f"{EXACT}, coarse": replace(method, steps=coarse),
        f"{EXACT}, coarse and one-sided": replace(method, steps=coarse, one_sided=True),
    }
    return {**whole, **fast} if exact else fast


def _category(
    prior: FrozenPrior,
    pictures: Sequence[PartsImage],
    method: EmerDiff,
    settings: SegmentationSettings,
) -> dict[str, Any]:
    """Every image's figures by method, and those of the clusters that the images share."""
    classes = max(int(picture.truth.max()) for picture in pictures) + 1
    judged = [
        {
            name: {
                "miou": 100 * image_miou(labels, picture.truth),
                "many_to_one": 100 * image_miou(labels, picture.truth, many_to_one=True),
                "boundary_f": 100 * boundary_f(labels, picture.truth),
                "counts": class_counts(labels, picture.truth, classes).tolist(),
                "evaluations": evaluations,
            }
            for name, labels, evaluations in _segmentations(prior, picture, method, settings)
        }
        for picture in pictures
    ]
    truth = [picture.truth for picture in pictures]
    images = torch.stack([picture.image for picture in pictures])
    own = cell_labels(prior, images, classes, method)
    coarse = replace(method, steps=settings.coarse)
    together = {
        "bilinear": [_enlarged(bilinear_masks, low, p, classes) for low, p in _each(own, pictures)],
        f"{EXACT}, coarse": [
            segment(prior, p.image, classes, coarse, low_res=low)[0].labels
            for low, p in _each(own, pictures)
        ],
        "colours": list(method_of_colours(images, classes, settings.seed)),
    }
    shared = {name: 100 * set_miou(found, truth, shared=True) for name, found in together.items()}
    return {"category": pictures[0].category, "images": judged, "shared": shared}


def _each(low: Tensor, pictures: Sequence[PartsImage]) -> Iterator[tuple[Tensor, PartsImage]]:
    return zip(low, pictures, strict=True)


def method_of_colours(
    images: Float[Tensor, "n 3 h w"], k: int, seed: int = 0
) -> Int[Tensor, "n h w"]:
    """k-means of the colours of pixels, of all images together."""
    return KMeansClusters(restarts=3)(images, k, seed)


def _enlarged(upsample: Any, low: Tensor, picture: PartsImage, k: int) -> Tensor:
    size = (picture.image.shape[1], picture.image.shape[2])
    return resized_argmax(upsample(low, picture.image, k), size)


def _guided(labels: Tensor, image: Tensor, k: int) -> Tensor:
    return guided_masks(labels, image, k, radius=_GUIDE_RADIUS)


def _segmentations(
    prior: FrozenPrior,
    picture: PartsImage,
    method: EmerDiff,
    settings: SegmentationSettings,
) -> Iterator[tuple[str, Tensor, int]]:
    """(name, labels, evaluations) of every method; all but the last two sharpen the same cells."""
    k, image, seed = settings.k, picture.image, settings.seed
    size = (image.shape[1], image.shape[2])
    low = None
    for name, mode in modes(method, settings.coarse, settings.exact).items():
        found = segment(prior, image, k, replace(mode, normalised=False), low_res=low, seed=seed)[0]
        if low is None:
            low = found.low_res
            reading = found.evaluations - _walked(mode, low)
        spent = reading + _walked(mode, low)
        scores = normalised(found.scores) if method.normalised else found.scores
        yield name, resized_argmax(scores, size), spent
        if not mode.one_sided and method.normalised:
            yield f"{name}, not normalised", found.labels, spent
    assert low is not None
    ways = {BILINEAR: bilinear_masks, "nearest": nearest_masks, "guided filter": _guided}
    for name, upsample in ways.items():
        yield name, _enlarged(upsample, low, picture, k), reading
    cut = FeatureClusters(
        method.queries, method.query_level, NormalisedCut(),
        ensemble=method.ensemble, size=method.size,
    )  # fmt: skip
    found = segment(prior, image, k, cut, seed=seed)[0]
    yield "normalised cut, bilinear", found.labels, found.evaluations
    yield "colours", method_of_colours(image[None], k, seed)[0], 0


def _walked(mode: EmerDiff, low: Tensor) -> int:
    return mode.steps * (1 + (1 if mode.one_sided else 2) * len(low.unique()))


def summary(rows: Sequence[dict[str, Any]], settings: SegmentationSettings) -> dict[str, Any]:
    """Means and bootstrap intervals of what `evaluate_segmentation` has noted by category."""
    every = [picture for row in rows for picture in row["images"]]
    draws = resampled(len(every), settings.resamples, settings.seed)

    @cache
    def samples(method: str, figure: str) -> np.ndarray:
        """The figure of the whole set, then of every resample."""
        if figure != "set_miou":
            values = np.array([picture[method][figure] for picture in every])
            return np.concatenate([[values.mean()], values[draws].mean(1)])
        counts = _counts_of_set(rows, method)
        sets = [counts.sum(0), *(counts[draw].sum(0) for draw in draws)]
        return np.array([100 * mean_iou(total) for total in sets])

    metrics = ("miou", "set_miou", "many_to_one", "boundary_f")
    judged = {
        method: {
            **{figure: _interval(samples(method, figure)) for figure in metrics},
            "evaluations": round(float(np.mean([p[method]["evaluations"] for p in every])), 1),
        }
        for method in every[0]
    }
    best = next(iter(every[0]))  # EmerDiff in the finest mode that was judged
    gain = {f: _interval(samples(best, f) - samples(BILINEAR, f)) for f in metrics}
    shared = {
        name: round(float(np.mean([row["shared"][name] for row in rows])), 2)
        for name in rows[0]["shared"]
    }
    return {"judged": judged, "gain": gain, "shared": shared}


def _counts_of_set(rows: Sequence[dict[str, Any]], method: str) -> np.ndarray:
    """Counts (images, 2, classes); the background is one class, parts are their category's."""
    own = [np.array([p[method]["counts"] for p in row["images"]]) for row in rows]
    total = 1 + sum(counts.shape[2] - 1 for counts in own)
    found, first = [], 1
    for counts in own:
        wide = np.zeros((len(counts), 2, total))
        parts = counts.shape[2] - 1
        wide[:, :, 0] = counts[:, :, 0]
        wide[:, :, first : first + parts] = counts[:, :, 1:]
        found.append(wide)
        first += parts
    return np.concatenate(found)


def _interval(samples: np.ndarray) -> list[float]:
    """[the value, the bootstrap's 2.5% and 97.5%]."""
    return [round(float(value), 2) for value in (samples[0], *percentiles(samples[1:]))]
