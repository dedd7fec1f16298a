"""What commands share that distil one prompt into a run folder."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scorefield.cli.command import PriorCommand
from scorefield.cli.distillation.objectives import ScheduleName, by_preset
from scorefield.domains import Whole
from scorefield.sds.levels import LevelRange
from scorefield.sds.presets import ObjectiveName

if TYPE_CHECKING:
    from scorefield.priors.prior import ImagePrior


@dataclass(frozen=True, kw_only=True)
class DistillingCommand(PriorCommand):
    """A command that distils a prompt; the options of its settings are added to it."""

    out: Path
    """Folder of the run, new or empty; it holds all that a run killed half-way needs to go on."""
    preset: str | None = None
    """Published settings to begin with, such as prolificdreamer; None takes those for the prior,
    which `scorefield info` shows. Options that are given go before them."""
    objective: ObjectiveName | None = None
    """What makes a gradient of the prior: docs/objectives.md says which is for what; None takes
    the preset's, sds of most."""
    levels: LevelRange = LevelRange(0.02, 0.98, 0.3)  # noqa: RUF009  (frozen)
    """Noise levels looked at."""
    level_schedule: ScheduleName = "range"
    """range: levels drawn from --levels. dreamtime: one level, which falls from the high to the low
    one of --levels at DreamTime's pace."""
    resume: bool = False
    """Go on with the run in --out; without one there, begin."""
    preview_every: Whole = 100
    """A picture of the views after every so many steps; 0 for none."""
    checkpoint_every: Whole = 100
    """A checkpoint after every so many steps; 0 for the last only."""

    def given(
        self, settings: type[Any], options: list[tuple[str, Any, Any]], prior: "ImagePrior | None"
    ) -> dict[str, Any]:
        """The settings as given but for the prompt; with a prior, the rest is its preset's."""
        self.check_scale()
        given = by_preset(self, settings, [name for name, _, _ in options], prior)
        return {"seed": self.seed, **given}

    def pace(self) -> dict[str, Any]:
        """How the run is kept and shown, as `scorefield.runs.run` takes it."""
        return {
            "progress": not self.quiet,
            "preview_every": self.preview_every,
            "checkpoint_every": self.checkpoint_every,
        }
