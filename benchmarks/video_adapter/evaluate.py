"""The experiment of Video Adapter: a small model of one style, alone and with a broad prior.

    python benchmarks/video_adapter/evaluate.py --out runs/video-adapter

Killed, the same command with --resume goes on; --quick tries everything in about a minute, and
--help lists all options.
"""

import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro
from video_evaluation import QUICK, evaluate_video_adapter
from video_experiment import VideoAdapterSettings

from scorefield.cli.command import Outcome, PriorCommand, check_folder
from scorefield.cli.loading import DTYPES, device_of
from scorefield.cli.main import run_command

PROGRAM = "python benchmarks/video_adapter/evaluate.py"
_DEFAULTS = VideoAdapterSettings()


@dataclass(frozen=True, kw_only=True)
class EvaluateVideoAdapter(PriorCommand):
    """Combine a small model of one style with a broad prior, and judge what neither has seen.

    Every variant of Video Adapter is tuned and judged beside the small model, the prior, a
    fine-tuned prior and an upper bound, at equal network evaluations. OUT gets table.md,
    results.json, film strips and a plot.
    """

    out: Path
    """Folder of the experiment, new or empty."""
    prior: str = "motion-broad"
    """The broad prior of clips, embedded or a folder."""
    adapter: str = "motion-narrow"
    """The small model of one style, embedded or a folder."""
    n: Annotated[int, tyro.conf.arg(aliases=("-n",))] = _DEFAULTS.n
    """Clips per arm and seed; 36 have every caption once."""
    seeds: int = _DEFAULTS.seeds
    """Seeds of the sampling noise, --seed and those after it."""
    steps: int = _DEFAULTS.steps
    """Of Algorithm 1; its network evaluations, three per step, are the budget of every arm."""
    quick: bool = False
    """See whether everything runs, in about a minute: few clips, steps and trainings."""
    resume: bool = False
    """Go on with the experiment in --out; without one there, begin."""

    def run(self) -> Outcome:
        """Tune, sample, judge."""
        check_folder(self.out, self.resume)
        settings = (
            replace(QUICK, seed=self.seed)
            if self.quick
            else VideoAdapterSettings(self.n, self.seeds, self.steps, seed=self.seed)
        )
        results = evaluate_video_adapter(
            self.adapter,
            self.prior,
            self.out,
            settings,
            device=device_of(self),
            # the published figures are in float32
            dtype=DTYPES["float32" if self.dtype == "auto" else self.dtype],
            resume=self.resume,
            progress=not self.quiet,
        )
        names = ("table.md", "results.json", "grids.png", "strips")
        lines = [(self.out / "table.md").read_text(encoding="utf-8").rstrip()]
        lines += [f"wrote {self.out / name}" for name in names]
        return Outcome({"out": str(self.out), **results}, lines)


if __name__ == "__main__":
    sys.exit(run_command(lambda: EvaluateVideoAdapter, sys.argv[1:], PROGRAM))
