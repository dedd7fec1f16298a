"""Which pixels belong together? Masks sharper than the features they come from.

Draws `segment.png`: objects of the procedural world, the clusters of the embedded prior's features
cell by cell, and what EmerDiff makes of the same clusters by modulating the prior.

    python examples/segment.py
"""

from dataclasses import replace
from pathlib import Path

import torch

from scorefield.images import contact_sheet, save_image
from scorefield.perception import draw_overlay, emerdiff_preset, segment
from scorefield.perception.segmentation.clustering import nearest_masks
from scorefield.perception.segmentation.metrics import boundary_f
from scorefield.priors import load_prior
from scorefield.world import draw_scene, render


def main(
    folder: str = ".",
    categories: tuple[str, ...] = ("duck", "house", "lamp", "boat"),
    steps: int = 5,
    k: int = 5,
) -> None:
    """Segment one image of each category and draw all."""
    prior = load_prior("shapes")
    method = replace(emerdiff_preset(prior), steps=steps)
    shown, names = [], []
    for i, category in enumerate(categories):
        pictures = render([draw_scene(30, i, category=category)])
        image, truth = pictures.images[0], pictures.part[0].long() + 1
        found = segment(prior, image, k, method)[0]
        cells = nearest_masks(found.low_res, image, k).argmax(0)
        large = image.repeat_interleave(4, 1).repeat_interleave(4, 2)
        overlays = [draw_overlay(image, labels, side=256) for labels in (cells, found.labels)]
        shown += [large, *overlays]
        names += [category, "clusters of features", "EmerDiff"]
        print(
            f"{category}: boundary F {boundary_f(cells, truth):.2f} of the cells, "
            f"{boundary_f(found.labels, truth):.2f} of EmerDiff"
        )
    save_image(Path(folder) / "segment.png", contact_sheet(torch.stack(shown), 6, names))


if __name__ == "__main__":
    main()
