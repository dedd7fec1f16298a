"""Accuracy of the diffusion classifier by network evaluations, on renders of the world.

    python benchmarks/perception/classification/renders.py --out runs/classifier -n 60 --seed 2

Killed, the same command with --resume goes on; --help lists all options.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import tyro
from classifier_cases import world_cases
from classifier_command import ClassifierCommand

from scorefield.cli.command import Outcome
from scorefield.cli.main import run_command

PROGRAM = "python benchmarks/perception/classification/renders.py"


@dataclass(frozen=True, kw_only=True)
class Renders(ClassifierCommand):
    """Tell fresh renders of the procedural world apart by category and colour, 96 labels.

    The race is compared with the fixed stages of Li et al. 2023 on the same errors. OUT gets
    table.md, results.json, curve.png and the errors.
    """

    seed: int = 2
    """Seed of the renders and the noise; not those of training (0, 1) or tuning (100)."""
    n: Annotated[int, tyro.conf.arg(aliases=("-n",))] = 100
    """Images; each costs about 800 network evaluations, or 5,000 with --published."""
    budget: int = 1536
    """Evaluations per image of a race among all categories."""

    def run(self) -> Outcome:
        """Evaluate."""
        return self.evaluated(world_cases(self.seed), self.n, self.budget, {})


if __name__ == "__main__":
    sys.exit(run_command(lambda: Renders, sys.argv[1:], PROGRAM))
