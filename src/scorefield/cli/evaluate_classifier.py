"""`scorefield evaluate classifier` and `evaluate digits`: accuracy by network evaluations."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scorefield.cli.loading import prior_of
from scorefield.cli.verb import Outcome, PriorVerb, check_at_least, check_folder, under_way
from scorefield.perception.classifier_cases import (
    Cases,
    digits_baselines,
    digits_cases,
    world_cases,
)
from scorefield.perception.classifier_evaluation import evaluate_classifier
from scorefield.priors.training.digits import HELD_OUT


@dataclass(frozen=True, kw_only=True)
class _Evaluation(PriorVerb):
    out: Path
    """Folder of the evaluation, new or empty."""
    published: bool = False
    """Run the paper's schedule in full too, which costs the most."""
    batch_size: int = 96
    """Rows in one pass of the network."""
    resume: bool = False
    """Go on with the evaluation in --out, or add pictures or the schedule in full to it."""

    def evaluated(self, cases: Cases, n: int, budget: int, baselines: dict[str, float]) -> Outcome:
        """Evaluate, and report beside classifiers of other kinds."""
        check_at_least(1, n=n, batch_size=self.batch_size)
        check_at_least(len(cases.prompts), budget=budget)
        check_folder(self.out, self.resume)
        prior = prior_of(self)
        prior.condition(cases.prompts)  # refuses a prior of another world
        with under_way():
            results = evaluate_classifier(
                prior,
                cases,
                self.out,
                n=n,
                seed=self.seed,
                budget=budget,
                published=self.published,
                batch_size=self.batch_size,
                progress=not self.quiet,
            )
        lines = [(self.out / "table.md").read_text(encoding="utf-8").rstrip()]
        lines += [f"{name}: {accuracy:.3f}" for name, accuracy in baselines.items()]
        lines += [f"wrote {self.out / name}" for name in ("table.md", "results.json", "curve.png")]
        return Outcome({"out": str(self.out), **results, "baselines": baselines}, lines)


@dataclass(frozen=True, kw_only=True)
class EvaluateClassifier(_Evaluation):
    """Tell fresh renders of the procedural world apart by category and colour, 96 labels.

    The race is compared with the fixed stages of Li et al. 2023 on the same errors. OUT gets
    table.md, results.json, curve.png and the errors.
    """

    seed: int = 2
    """Seed of the renders and the noise; not those of training (0, 1) or tuning (100)."""
    n: Annotated[int, tyro.conf.arg(aliases=("-n",))] = 100
    """Pictures; each costs about 800 network evaluations, or 5,000 with --published."""
    budget: int = 1536
    """Evaluations per image of a race among all categories."""

    def run(self) -> Outcome:
        """Evaluate."""
        return self.evaluated(world_cases(self.seed), self.n, self.budget, {})


@dataclass(frozen=True, kw_only=True)
class EvaluateDigits(_Evaluation):
    """Tell handwritten digits apart that the prior has not seen, scikit-learn's held-out part.

    The race is compared with the fixed stages of Li et al. 2023 on the same errors, and with
    classifiers of scikit-learn trained on the same pictures. OUT gets table.md, results.json,
    curve.png and the errors.
    """

    prior: str = "digits"
    """An embedded prior, or a folder in diffusers' format."""
    n: Annotated[int, tyro.conf.arg(aliases=("-n",))] = HELD_OUT
    """Pictures; each costs about 350 network evaluations, or 2,800 with --published."""
    budget: int = 640
    """Evaluations per image of a race among the digits."""
    batch_size: int = 256
    """Rows in one pass of the network."""

    def run(self) -> Outcome:
        """Evaluate."""
        return self.evaluated(digits_cases(), self.n, self.budget, digits_baselines())
