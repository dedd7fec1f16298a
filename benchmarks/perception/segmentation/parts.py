"""How well a prior finds the parts of objects.

    python benchmarks/perception/segmentation/parts.py --out runs/segmentation

Killed, the same command with --resume goes on; --help lists all options.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from segmentation_evaluation import (
    SegmentationSettings,
    evaluate_segmentation,
    parts_images,
)
from segmentation_report import segmentation_sheet, segmentation_table

from scorefield.cli.command import Outcome, PriorCommand, check_folder, under_way
from scorefield.cli.loading import prior_of
from scorefield.cli.main import run_command
from scorefield.images import save_image
from scorefield.perception.segmentation.presets import emerdiff_preset
from scorefield.perception.segmentation.segment import check_method

PROGRAM = "python benchmarks/perception/segmentation/parts.py"
_DEFAULTS = SegmentationSettings()


@dataclass(frozen=True, kw_only=True)
class Parts(PriorCommand):
    """Find the parts of objects of the procedural world, beside enlarged clusters and colours.

    OUT gets metrics.json, table.md, sheet.png, and categories.jsonl, with which --resume goes on.
    """

    out: Path
    """Folder of the figures, new or empty."""
    seed: int = _DEFAULTS.seed
    """Seed of the judged images; the presets were chosen on those of 31."""
    n: Annotated[int, tyro.conf.arg(aliases=("-n",))] = _DEFAULTS.n
    """Judged images of each category."""
    k: Annotated[int, tyro.conf.arg(aliases=("-k",))] = _DEFAULTS.k
    """Regions that each image is divided into."""
    coarse: int = _DEFAULTS.coarse
    """Steps of EmerDiff's coarse mode."""
    fast: bool = False
    """Judge the coarse modes alone, in a third of the time."""
    resume: bool = False
    """Go on with what was begun in OUT."""

    def run(self) -> Outcome:
        """Evaluate and write the figures."""
        settings = SegmentationSettings(
            n=self.n, k=self.k, coarse=self.coarse, exact=not self.fast, seed=self.seed
        )
        check_folder(self.out, self.resume)
        prior = prior_of(self)
        check_method(prior, emerdiff_preset(prior))
        results = self.out / "categories.jsonl"
        with under_way():
            metrics = evaluate_segmentation(
                prior, settings, results=results, progress=not self.quiet
            )
            text = json.dumps(metrics, indent=2) + "\n"
            (self.out / "metrics.json").write_text(text, encoding="utf-8")
            table = segmentation_table(metrics)
            (self.out / "table.md").write_text(table + "\n", encoding="utf-8")
            shown = parts_images(self.seed, self.n, prior.image_size)[:: self.n]
            save_image(self.out / "sheet.png", segmentation_sheet(prior, shown, settings))
        written = [f"wrote {self.out / name}" for name in ("metrics.json", "table.md", "sheet.png")]
        return Outcome({"out": str(self.out), **metrics}, [table, *written])


if __name__ == "__main__":
    sys.exit(run_command(lambda: Parts, sys.argv[1:], PROGRAM))
