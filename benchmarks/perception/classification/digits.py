"""Accuracy of the diffusion classifier by network evaluations, on handwritten digits.

    python benchmarks/perception/classification/digits.py --out runs/digits-classifier -n 100

Killed, the same command with --resume goes on; --help lists all options.
"""

import sys
from dataclasses import dataclass
from typing import Annotated

import tyro
from classifier_cases import digits_baselines, digits_cases
from classifier_command import ClassifierCommand

from scorefield.cli.command import Outcome
from scorefield.cli.main import run_command
from scorefield.training.digits import HELD_OUT

PROGRAM = "python benchmarks/perception/classification/digits.py"


@dataclass(frozen=True, kw_only=True)
class Digits(ClassifierCommand):
    """Tell handwritten digits apart that the prior has not seen, scikit-learn's held-out part.

    The race is compared with the fixed stages of Li et al. 2023 on the same errors, and with
    classifiers of scikit-learn trained on the same images. OUT gets table.md, results.json,
    curve.png and the errors.
    """

    prior: str = "digits"
    """An embedded prior, or a folder in diffusers' format."""
    n: Annotated[int, tyro.conf.arg(aliases=("-n",))] = HELD_OUT
    """Images; each costs about 350 network evaluations, or 2,800 with --published."""
    budget: int = 640
    """Evaluations per image of a race among the digits."""
    batch_size: int = 256
    """Rows in one pass of the network."""

    def run(self) -> Outcome:
        """Evaluate."""
        return self.evaluated(digits_cases(), self.n, self.budget, digits_baselines())


if __name__ == "__main__":
    sys.exit(run_command(lambda: Digits, sys.argv[1:], PROGRAM))
