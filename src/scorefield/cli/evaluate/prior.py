"""`scorefield evaluate prior`: metrics of a prior of the procedural world."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scorefield.cli.command import (
    Outcome,
    PriorCommand,
    check_at_least,
    check_folder,
    under_way,
)
from scorefield.domains import Count, Domain, NotNegative, Whole
from scorefield.files import write_json
from scorefield.locks import owned


@dataclass(frozen=True, kw_only=True)
class EvaluatePrior(PriorCommand):
    """Sample every category, colour and view of the procedural world, and judge the samples."""

    out: Path
    """Folder for metrics.json and the model card README.md, new or empty."""
    seed: Whole = 2
    """Seed of the samples and of the renders to compare with; not those of the trainings."""
    n: Annotated[int, Domain(2.0), tyro.conf.arg(aliases=("-n",))] = 512
    """Samples; a multiple of 384 has every combination equally often."""
    scale: NotNegative | None = None
    """Classifier-free guidance scale; None takes the prior's own."""
    steps: Count = 25
    """Number of sampling steps."""
    renders: Count = 2048
    """Fresh images on which the judge itself is tried."""
    judge: Path | None = None
    """Weights of the judge; None takes the embedded one."""
    command: str = "scorefield train-prior shapes --out runs/shapes"
    """The command that trains this prior again, for the card."""

    def run(self) -> Outcome:
        """Evaluate and write the card."""
        check_folder(self.out)

        from scorefield.cli.loading import load_judge, prior_of
        from scorefield.training.evaluation import (
            TRAINING_SEEDS,
            evaluate_prior,
            write_card,
        )

        check_at_least(max(TRAINING_SEEDS) + 1, seed=self.seed)
        judge, prior = load_judge(self.judge), prior_of(self)
        view = ", front view" if prior.cameras is None else ""
        prior.condition(f"a red mushroom{view}")  # refuses a prior of another world
        with owned(self.out), under_way():
            metrics = evaluate_prior(
                prior,
                judge,
                n=self.n,
                seed=self.seed,
                scale=self.scale,
                steps=self.steps,
                renders=self.renders,
                progress=not self.quiet,
            )
            card = write_card(metrics, self.command, self.out)
            write_json(self.out / "metrics.json", metrics)
        lines = [
            *(  # None: nothing that was sampled has a front
                f"{name}: {share:.3f}"
                for name, share in metrics.items()
                if name.endswith("accuracy") and share is not None
            ),
            f"worst category: {metrics['worst_category']}",
            f"Frechet distance: {metrics['frechet_distance']:.3f} "
            f"(between renders: {metrics['frechet_floor']:.3f})",
            f"wrote {self.out / 'metrics.json'}",
            f"wrote {card}",
        ]
        return Outcome({"out": str(self.out), **metrics}, lines)
