"""Where are these points on another object? Correspondence and an edit carried over.

Draws `correspondence.png`: landmarks of one robot found on another of other colours, proportions
and view, by the features of the embedded prior; and `propagated.png`: a mark painted on one duck
lands on others.

    python examples/correspondence.py
"""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from scorefield.images import contact_sheet, save_image
from scorefield.perception.correspondence.dift import features, match
from scorefield.perception.correspondence.drawing import draw_matches
from scorefield.perception.correspondence.matching import SoftArgmax, match_features
from scorefield.perception.correspondence.propagation import propagate_labels, resize_labels
from scorefield.priors import load_prior
from scorefield.world import Images, draw_scene, render

CATEGORIES = ("robot", "duck", "chair", "house", "cup", "boat")
COLOURS = (("red", "blue"), ("yellow", "purple"), ("green", "orange"))


def landmarks_of_both(pictures: Images) -> tuple[Tensor, Tensor, Tensor]:
    """Both images, and the landmarks (2, points, 2) that they both show."""
    shown = [
        {name: point for name, point, seen in zip(names, points, visible, strict=False) if seen}
        for names, points, visible in zip(
            pictures.landmark_names, pictures.landmarks, pictures.visible, strict=True
        )
    ]
    common = [name for name in shown[0] if name in shown[1]]
    points = torch.stack([torch.stack([one[name] for name in common]) for one in shown])
    return pictures.images[0], pictures.images[1], points


def main(folder: str = ".", pairs: int = 6) -> None:
    """Draw both."""
    prior = load_prior("shapes")
    sheets, right, points = [], 0, 0
    for i in range(pairs):
        category, colours = CATEGORIES[i % len(CATEGORIES)], COLOURS[i % len(COLOURS)]
        scenes = [
            replace(draw_scene(5, 2 * i + k, category=category, color=colour), azimuth=40 - 50 * k)
            for k, colour in enumerate(colours)
        ]
        a, b, known = landmarks_of_both(render(scenes))
        found = match(prior, a, b, known[0])[0]
        right += int(((found.target - known[1]).norm(dim=1) < 5).sum())
        points += len(found)
        sheets.append(draw_matches(a, b, found, height=192))
    save_image(Path(folder) / "correspondence.png", contact_sheet(torch.stack(sheets), 2))
    print(f"{right} of {points} landmarks within 5 of 64 pixels")

    # what is known of one image, here its parts, is carried to others by similarity
    scenes = [draw_scene(5, i, category="duck", color=c) for i, c in enumerate(("red", "blue"))]
    pictures = render(scenes)
    maps = torch.nn.functional.avg_pool2d(features(prior, pictures.images), 2)
    places = match_features(
        maps[0], maps[1], source_size=(64, 64), target_size=(64, 64), locate=SoftArgmax()
    )
    print(f"median cycle error {float(places.cycle_error.median()):.1f} pixels")
    labels = torch.nn.functional.one_hot(pictures.part[0] + 1).permute(2, 0, 1).float()
    grid = torch.nn.functional.interpolate(labels[None], maps.shape[-2:], mode="area")[0]
    shares = propagate_labels(grid, maps, nearest=5, reach=15, temperature=0.1)
    found_parts = resize_labels(shares, (64, 64)).argmax(1)
    palette = torch.rand(labels.shape[0], 3, generator=torch.Generator().manual_seed(1))
    shown = [pictures.images[0], palette[pictures.part[0] + 1].permute(2, 0, 1),
             pictures.images[1], palette[found_parts[1]].permute(2, 0, 1)]  # fmt: skip
    large = torch.stack(shown).repeat_interleave(3, -1).repeat_interleave(3, -2)
    save_image(Path(folder) / "propagated.png", contact_sheet(large, 4))


if __name__ == "__main__":
    main()
