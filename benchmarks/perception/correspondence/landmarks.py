"""How well a prior finds known landmarks, and homographies between photographs.

    python benchmarks/perception/correspondence/landmarks.py --out runs/correspondence

Killed, the same command with --resume goes on; --help lists all options.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from correspondence_evaluation import (
    CorrespondenceSettings,
    evaluate_correspondence,
)
from correspondence_report import correspondence_table, plot_sweep

from scorefield.cli.command import Outcome, PriorCommand, check_at_least, check_folder, under_way
from scorefield.cli.loading import prior_of
from scorefield.cli.main import run_command

PROGRAM = "python benchmarks/perception/correspondence/landmarks.py"
_DEFAULTS = CorrespondenceSettings()


@dataclass(frozen=True, kw_only=True)
class Landmarks(PriorCommand):
    """Find landmarks of the procedural world across two instances, beside descriptors.

    Layers and levels are chosen on tuning pairs, the figures are of others. Then homographies
    between views of two real photographs. OUT gets metrics.json, table.md and sweep.png, and
    parts.jsonl, from which --resume goes on.
    """

    out: Path
    """Folder of the figures, new or empty."""
    seed: int = _DEFAULTS.seed
    """Seed of the judged pairs; the next one draws the tuning pairs."""
    n: Annotated[int, tyro.conf.arg(aliases=("-n",))] = _DEFAULTS.n
    """Judged pairs."""
    tuning: int = _DEFAULTS.tuning
    """Pairs on which everything is chosen."""
    photographs: int = _DEFAULTS.photographs
    """Pairs of photographs for each of three kinds of change; 0 for none."""
    ensemble: int = _DEFAULTS.ensemble
    """Draws of noise in the sweep."""
    resume: bool = False
    """Go on with the evaluation in --out, with the same settings."""

    def run(self) -> Outcome:
        """Evaluate and write the figures."""
        check_at_least(1, n=self.n, tuning=self.tuning, ensemble=self.ensemble)
        check_at_least(0, photographs=self.photographs)
        check_at_least(2, seed=self.seed)
        check_folder(self.out, self.resume)
        prior = prior_of(self)
        settings = CorrespondenceSettings(
            n=self.n,
            tuning=self.tuning,
            photographs=self.photographs,
            ensemble=self.ensemble,
            seed=self.seed,
        )
        with under_way():
            metrics = evaluate_correspondence(
                prior, settings, folder=self.out, progress=not self.quiet
            )
            text = json.dumps(metrics, indent=2) + "\n"
            (self.out / "metrics.json").write_text(text, encoding="utf-8")
            table = correspondence_table(metrics)
            (self.out / "table.md").write_text(table + "\n", encoding="utf-8")
            plot_sweep(metrics, self.out / "sweep.png")
        written = [f"wrote {self.out / name}" for name in ("metrics.json", "table.md", "sweep.png")]
        return Outcome({"out": str(self.out), **metrics}, [table, *written])


if __name__ == "__main__":
    sys.exit(run_command(lambda: Landmarks, sys.argv[1:], PROGRAM))
