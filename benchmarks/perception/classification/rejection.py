"""Whether `classify --reject` takes labels back where it should, and only there.

    OMP_NUM_THREADS=1 python benchmarks/perception/classification/rejection.py --out runs/rejection

Fresh renders of twelve categories, which fit; the same renders with their own category left out of
the labels, and scikit-image's photographs, which fit nothing. They are compared with images that
the prior makes, as `classify` does by itself, and with as many other renders, as with --reference.
OUT gets fits.json with the gains and errors, table.md and abstention.png.
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
JUDGED = FITS, MISSING, PHOTOS = "renders", "renders without their label", "photographs"
OWN, OTHER_RENDERS = "the prior's own", "other renders"


@dataclass(frozen=True, kw_only=True)
class Rejection(PriorCommand):
    """Measure how many images that fit, and that do not, are called none of these."""

    out: Path
    """Folder of the figures, new or empty."""
    seed: Whole = 2
    """Seed of the renders and the noise; not those of training (0, 1)."""
    n: Count = 40
    """Renders that fit, and renders that do not."""
    own: Count = 60
    """Images of the prior's own to compare with."""

    def run(self) -> Outcome:
        """Measure and write."""
        check_folder(self.out)
        prior = prior_of(self)
        with under_way():
            fits = self._measured(prior)
            found = {
                reference: {name: fits[name].p_values(fits[reference]) for name in JUDGED}
                for reference in (OWN, OTHER_RENDERS)
            }
            self.out.mkdir(parents=True, exist_ok=True)
            metrics = {
                name: {"gains": _rounded(fit.gains), "errors": _rounded(fit.errors)}
                for name, fit in fits.items()
            }
            (self.out / "fits.json").write_text(json.dumps(metrics, indent=2) + "\n")
            table = table_of(found)
            (self.out / "table.md").write_text(table + "\n")
            plot(found, self.out / "abstention.png")
        return Outcome({"out": str(self.out), **metrics}, [table])

    def _measured(self, prior: FrozenPrior) -> dict[str, LabelFit]:
        """How well each kind of image fits its best label."""
        prompts = [f"a {LABELS[i % len(LABELS)]}" for i in range(self.own)]
        pictures = prior.generate(prompts, 1, seed=self.seed, progress=not self.quiet)
        renders = self._renders(prior, self.seed, self.n)
        others = [
            self._fits(prior, renders[i : i + 1], LABELS[:k] + LABELS[k + 1 :], i)
            for i in range(self.n)
            for k in [i % len(LABELS)]
        ]
        return {
            OWN: label_fit(prior, pictures, prompts, seed=self.seed),
            OTHER_RENDERS: self._fits(
                prior, self._renders(prior, self.seed + 1, self.own), LABELS, self.n
            ),
            FITS: self._fits(prior, renders, LABELS),
            MISSING: LabelFit(
                torch.cat([one.gains for one in others]), torch.cat([one.errors for one in others])
            ),
            PHOTOS: self._fits(prior, photographs(prior.image_size), LABELS),
        }

    def _renders(self, prior: FrozenPrior, seed: int, n: int) -> Tensor:
        """Renders of the categories in turn."""
        scenes = [draw_scene(seed, i, category=LABELS[i % len(LABELS)]) for i in range(n)]
        return render(scenes, prior.image_size).images

    def _fits(
        self, prior: FrozenPrior, images: Tensor, labels: Sequence[str], first: int = 0
    ) -> LabelFit:
        """How well images fit the best of labels."""
        items = [first + i for i in range(len(images))]
        prompts = {name: f"a {name}" for name in labels}
        best = classify(prior, images, prompts, seed=self.seed, items=items).best
        return label_fit(
            prior, images, [prompts[name] for name in best], seed=self.seed, items=items
        )


def photographs(size: int) -> Tensor:
    """The middle squares of scikit-image's images."""
    import skimage

    folder = Path(skimage.__file__).parent / "data"
    return torch.stack([load_image(folder / name, size) for name in PHOTOGRAPHS])


def table_of(found: dict[str, dict[str, Tensor]]) -> str:
    """The share of each kind that is called none of these, by the reference, in Markdown."""
    heads = " | ".join(f"`--reject {level:g}`" for level in LEVELS)
    lines = [
        f"| called none of these | images | compared with | {heads} |",
        "|---|---|---|" + "---|" * len(LEVELS),
    ]
    for name in JUDGED:
        for reference, kinds in found.items():
            cells = []
            for level in LEVELS:
                rejected, n = int((kinds[name] < level).sum()), len(kinds[name])
                low, high = wilson(rejected, n)
                cells.append(f"{100 * rejected / n:.0f}% ({100 * low:.0f} to {100 * high:.0f})")
            lines.append(f"| {name} | {n} | {reference} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(found: dict[str, dict[str, Tensor]], path: Path) -> None:
    """The abstention curves: of each kind, the share called none of these, by --reject."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 3.4), layout="constrained")
    panels = figure.subplots(1, len(found), sharey=True)
    levels = torch.linspace(0, 1, 201)
    for axes, (reference, kinds) in zip(panels, found.items(), strict=True):
        for (name, values), color in zip(
            kinds.items(), ("#2a6fbb", "#e0a030", "#a8321e"), strict=True
        ):
            share = (values[None] < levels[:, None]).double().mean(1)
            axes.plot(levels, 100 * share, color=color, label=f"{name} ({len(values)})")
        axes.plot([0, 1], [0, 100], color="#999999", linestyle=":", label="promised for what fits")
        axes.set(title=f"compared with {reference}", xlabel="--reject", xlim=(0, 1), ylim=(0, 102))
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel('called "none of these", %')
    panels[-1].legend(fontsize=8, frameon=False, loc="lower right")
    figure.savefig(path, dpi=130)


def _rounded(values: Tensor) -> list[float]:
    return [round(float(v), 3) for v in values]


if __name__ == "__main__":
    sys.exit(run_command(lambda: Rejection, sys.argv[1:], PROGRAM))
