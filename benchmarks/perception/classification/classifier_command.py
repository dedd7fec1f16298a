"""What the commands `renders.py` and `digits.py` share."""

from dataclasses import dataclass
from pathlib import Path

from classifier_cases import Cases
from classifier_evaluation import evaluate_classifier

from scorefield.cli.command import Outcome, PriorCommand, check_at_least, check_folder, under_way
from scorefield.cli.loading import prior_of


@dataclass(frozen=True, kw_only=True)
class ClassifierCommand(PriorCommand):
    """Compares ways to classify on the same errors."""

    out: Path
    """Folder of the evaluation, new or empty."""
    published: bool = False
    """Run the paper's schedule in full too, which costs the most."""
    batch_size: int = 96
    """Rows in one pass of the network."""
    resume: bool = False
    """Go on with the evaluation in --out, or add images or the schedule in full to it."""

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
