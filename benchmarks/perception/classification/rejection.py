"""Whether `classify --reject` takes labels back where it should, and only there.

    OMP_NUM_THREADS=1 python benchmarks/perception/classification/rejection.py --out runs/rejection

Fresh renders of twelve categories, which fit; the same renders with their own category left out of
the labels, and scikit-image's photographs, which fit nothing. The reference are pictures that the
prior makes. OUT gets fits.json, table.md and abstention.png.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from scorefield.cli.command import Outcome, PriorCommand, check_folder, under_way
from scorefield.cli.loading import prior_of
from scorefield.cli.main import run_command
from scorefield.domains import Count, Whole
from scorefield.images import load_image
from scorefield.intervals import wilson
from scorefield.perception.classification.classify import classify
from scorefield.perception.classification.rejection import LabelFit, label_fit
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.world import draw_scene, render
from scorefield.world.objects import CATEGORIES

PROGRAM = "python benchmarks/perception/classification/rejection.py"
LABELS = sorted(CATEGORIES)[:12]
PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "coffee.png",
    "coins.png", "grass.png", "gravel.png", "horse.png", "hubble_deep_field.jpg", "ihc.png",
    "moon.png", "motorcycle_left.png", "page.png", "retina.jpg", "text.png",
)  # fmt: skip
"""Those in scikit-image's wheel that show none of the labels."""
LEVELS = (0.05, 0.1, 0.2)
FITS, OTHERS, PHOTOS = "renders", "renders of other categories", "photographs"


@dataclass(frozen=True, kw_only=True)
class Rejection(PriorCommand):
    """Measure how many pictures that fit, and that do not, are called none of these."""

    out: Path
    """Folder of the figures, new or empty."""
    seed: Whole = 2
    """Seed of the renders and the noise; not those of training (0, 1)."""
    n: Count = 40
    """Renders that fit, and renders that do not."""
    own: Count = 60
    """Pictures of the prior's own to compare with."""

    def run(self) -> Outcome:
        """Measure and write."""
        check_folder(self.out)
        prior = prior_of(self)
        with under_way():
            found = self._p_values(prior)
            self.out.mkdir(parents=True, exist_ok=True)
            metrics = {name: [round(float(p), 4) for p in values] for name, values in found.items()}
            (self.out / "fits.json").write_text(json.dumps(metrics, indent=2) + "\n")
            table = table_of(found)
            (self.out / "table.md").write_text(table + "\n")
            plot(found, self.out / "abstention.png")
        return Outcome({"out": str(self.out), **metrics}, [table])

    def _p_values(self, prior: FrozenPrior) -> dict[str, Tensor]:
        prompts = [f"a {LABELS[i % len(LABELS)]}" for i in range(self.own)]
        pictures = prior.generate(prompts, seed=self.seed, progress=not self.quiet)
        reference = label_fit(prior, pictures, prompts, seed=self.seed)
        names = [LABELS[i % len(LABELS)] for i in range(self.n)]
        scenes = [draw_scene(self.seed, i, category=name) for i, name in enumerate(names)]
        renders = render(scenes, prior.image_size).images
        others = torch.cat(
            [
                self._fits(prior, renders[i : i + 1], [one for one in LABELS if one != name], i)
                .p_values(reference)
                for i, name in enumerate(names)
            ]
        )  # fmt: skip
        return {
            FITS: self._fits(prior, renders, LABELS).p_values(reference),
            OTHERS: others,
            PHOTOS: self._fits(prior, photographs(prior.image_size), LABELS).p_values(reference),
        }

    def _fits(
        self, prior: FrozenPrior, images: Tensor, labels: Sequence[str], first: int = 0
    ) -> LabelFit:
        """How well pictures fit the best of labels."""
        items = [first + i for i in range(len(images))]
        prompts = {name: f"a {name}" for name in labels}
        best = classify(prior, images, prompts, seed=self.seed, items=items).best
        return label_fit(
            prior, images, [prompts[name] for name in best], seed=self.seed, items=items
        )


def photographs(size: int) -> Tensor:
    """The middle squares of scikit-image's pictures."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return torch.stack([load_image(folder / name, size) for name in PHOTOGRAPHS])


def table_of(found: dict[str, Tensor]) -> str:
    """The share of each kind that is called none of these, in Markdown."""
    heads = " | ".join(f"`--reject {level:g}`" for level in LEVELS)
    lines = [
        f"| called none of these | pictures | {heads} |",
        "|---|---|" + "---|" * len(LEVELS),
    ]
    for name, values in found.items():
        cells = []
        for level in LEVELS:
            rejected = int((values < level).sum())
            low, high = wilson(rejected, len(values))
            share = 100 * rejected / len(values)
            cells.append(f"{share:.0f}% ({100 * low:.0f} to {100 * high:.0f})")
        lines.append(f"| {name} | {len(values)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(found: dict[str, Tensor], path: Path) -> None:
    """The abstention curve: of each kind, the share called none of these, by --reject."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 3.6), layout="constrained")
    axes = figure.subplots()
    levels = torch.linspace(0, 1, 201)
    for (name, values), color in zip(found.items(), ("#2a6fbb", "#e0a030", "#a8321e"), strict=True):
        share = (values[None] < levels[:, None]).double().mean(1)
        axes.plot(levels, 100 * share, color=color, label=f"{name} ({len(values)})")
    axes.plot([0, 1], [0, 100], color="#999999", linestyle=":", label="promised for what fits")
    axes.set(xlabel="--reject", ylabel='called "none of these", %', xlim=(0, 1), ylim=(0, 102))
    axes.legend(fontsize=8, frameon=False, loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    sys.exit(run_command(lambda: Rejection, sys.argv[1:], PROGRAM))
