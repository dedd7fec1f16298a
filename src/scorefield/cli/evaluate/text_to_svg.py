"""`scorefield evaluate text-to-svg`: a list of prompts, drawn and judged."""

from dataclasses import dataclass, make_dataclass

from scorefield.cli.command import Outcome
from scorefield.cli.distillation.text_to_svg import SETTINGS, DrawingCommand
from scorefield.cli.evaluate.judging import JudgingCommand, judge_of_prompts, read_prompts


@dataclass(frozen=True, kw_only=True)
class _EvaluateTextToSvg(JudgingCommand, DrawingCommand):
    def run(self) -> Outcome:
        """Draw and judge every prompt."""
        prompts = read_prompts(self.prompts)
        self.settings(prompts[0])

        from scorefield.cli.loading import prior_of
        from scorefield.sds.svg.evaluation import evaluate_drawings

        prior = prior_of(self)
        settings = self.settings(prompts[0], prior)
        table = evaluate_drawings(
            prompts,
            prior,
            self.out,
            judge_of_prompts(self, prompts),
            settings,
            resume=self.resume,
            **self.pace(),
            size=self.render_size,
        )
        totals = table["totals"]
        missing = totals["prompts"] - totals["done"]
        problem = f"{missing} of {totals['prompts']} prompts came to nothing" if missing else None
        names = ("table.md", "table.json", "sheet.png")
        lines = [(self.out / "table.md").read_text(encoding="utf-8").rstrip()]
        lines += [f"wrote {self.out / name}" for name in names]
        return Outcome({"out": str(self.out), **table}, lines, problem)


EvaluateTextToSvg = make_dataclass(
    "EvaluateTextToSvg", SETTINGS, bases=(_EvaluateTextToSvg,), frozen=True, kw_only=True
)
EvaluateTextToSvg.__doc__ = (
    """Draw every prompt of a list and score the SVGs as resvg renders them."""
)
