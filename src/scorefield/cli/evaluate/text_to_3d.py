"""`scorefield evaluate text-to-3d`: a list of prompts, made in 3D and judged."""

from dataclasses import dataclass, make_dataclass

from scorefield.cli.command import Outcome
from scorefield.cli.distillation.text_to_3d import ASSET, SETTINGS, SceneCommand
from scorefield.cli.evaluate.judging import JudgingCommand, judge_of_prompts, read_prompts
from scorefield.domains import Count


@dataclass(frozen=True, kw_only=True)
class _EvaluateTextTo3D(JudgingCommand, SceneCommand):
    azimuths: Count = 8
    """Judged views around each object."""
    elevation: float = 15.0
    """Elevation of the judged views, degrees."""

    def run(self) -> Outcome:
        """Make and judge every prompt."""
        prompts = read_prompts(self.prompts)
        self.settings(prompts[0])
        asset = self.asset()

        from scorefield.cli.loading import prior_of
        from scorefield.sds.nerf.evaluation import evaluate_prompts

        prior = prior_of(self)
        settings = self.settings(prompts[0], prior)
        judge = judge_of_prompts(self, prompts)
        table = evaluate_prompts(
            prompts,
            prior,
            self.out,
            judge,
            settings,
            azimuths=self.azimuths,
            elevation=self.elevation,
            resume=self.resume,
            **self.pace(),
            asset=asset,
        )
        totals = table["totals"]
        missing = totals["empty"] + totals["failed"]
        problem = f"{missing} of {totals['prompts']} prompts came to nothing" if missing else None
        names = ("table.md", "table.json", "sheet.png")
        lines = [(self.out / "table.md").read_text(encoding="utf-8").rstrip()]
        lines += [f"wrote {self.out / name}" for name in names]
        return Outcome({"out": str(self.out), **table}, lines, problem)


EvaluateTextTo3D = make_dataclass(
    "EvaluateTextTo3D", SETTINGS + ASSET, bases=(_EvaluateTextTo3D,), frozen=True, kw_only=True
)
EvaluateTextTo3D.__doc__ = (
    """Make every prompt of a list in 3D and score it: R-Precision, geometry, Janus faces."""
)
