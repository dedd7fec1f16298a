"""The figures of `evaluate_segmentation` as a table, and segmentations side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from segmentation_evaluation import (
    PartsImage,
    SegmentationSettings,
    method_of_colours,
)
from torch import Tensor
from torch.nn import functional

from scorefield.images import contact_sheet
from scorefield.perception.segmentation.clustering import bilinear_masks, resized_argmax
from scorefield.perception.segmentation.drawing import draw_overlay
from scorefield.perception.segmentation.emerdiff import EmerDiff
from scorefield.perception.segmentation.metrics import same_names
from scorefield.perception.segmentation.presets import emerdiff_preset
from scorefield.perception.segmentation.segment import segment
from scorefield.priors.frozen_prior import FrozenPrior

_HEADS = {
    "miou": "mIoU per image",
    "set_miou": "mIoU over the set",
    "many_to_one": "mIoU many to one",
    "boundary_f": "boundary F",
}


def segmentation_table(metrics: Mapping[str, Any]) -> str:
    """The judged methods, a row each with 95% intervals, in Markdown."""
    settings = metrics["settings"]
    lines = [
        f"{metrics['images']} images of seed {settings['seed']}, {settings['k']} regions each; "
        "95% intervals of a bootstrap over images",
        "",
        f"| | {' | '.join(_HEADS.values())} | evaluations |",
        "| --- |" + " --- |" * (len(_HEADS) + 1),
    ]
    for method, row in metrics["judged"].items():
        cells = " | ".join(_cell(row[name]) for name in _HEADS)
        lines.append(f"| {method} | {cells} | {row['evaluations']:g} |")
    gains = " | ".join(_cell(metrics["gain"][name], "+") for name in _HEADS)
    lines += [
        f"| EmerDiff over bilinear, in pairs | {gains} | |",
        "",
        "Clusters shared by the images of a category and matched once, mean over categories: "
        + ", ".join(f"{name} {value:.1f}" for name, value in metrics["shared"].items()),
    ]
    return "\n".join(lines)


def _cell(values: Sequence[float], sign: str = "") -> str:
    value, low, high = values
    return f"{value:{sign}.1f} ({low:{sign}.1f} to {high:{sign}.1f})"


def segmentation_sheet(
    prior: FrozenPrior,
    pictures: Sequence[PartsImage],
    settings: SegmentationSettings | None = None,
    *,
    method: EmerDiff | None = None,
    side: int = 192,
) -> Float[Tensor, "3 height width"]:
    """A row per image: it, its parts, bilinear enlargement, EmerDiff, and colours.

    Labels take the colour of the part they are matched to, one to one; what is matched to none has
    colours of its own.

    side: of each image on the sheet, pixels, at least.
    """
    settings = SegmentationSettings() if settings is None else settings
    method = emerdiff_preset(prior) if method is None else method
    shown, names = [], []
    for picture in pictures:
        image, k = picture.image, settings.k
        found = segment(prior, image, k, method, seed=settings.seed)[0]
        size = (image.shape[1], image.shape[2])
        ways: dict[str, Int[Tensor, "h w"]] = {
            "its parts": picture.truth,
            "bilinear": resized_argmax(bilinear_masks(found.low_res, image, k), size),
            "EmerDiff": found.labels,
            "colours": method_of_colours(image[None], k, settings.seed)[0],
        }
        drawn = [
            draw_overlay(image, same_names(labels, picture.truth), side=side)
            for labels in ways.values()
        ]
        large = functional.interpolate(image[None], size=drawn[0].shape[1:], mode="nearest-exact")
        shown += [large[0], *drawn]
        names += [picture.category, *ways]
    return contact_sheet(torch.stack(shown), 1 + len(ways), names)
