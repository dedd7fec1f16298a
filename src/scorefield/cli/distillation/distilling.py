"""What commands share that distil one prompt into a run folder."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from scorefield.cli.command import PriorCommand
from scorefield.domains import Whole
from scorefield.sds.levels import DreamTime, LevelRange, Levels
from scorefield.sds.presets import ObjectiveName, Preset

if TYPE_CHECKING:
    from scorefield.priors.prior import ImagePrior

ScheduleName = Literal["range", "dreamtime"]


@dataclass(frozen=True, kw_only=True)
class DistillingCommand(PriorCommand):
    """A command that distils a prompt; the options of its settings are added to it."""

    bfloat16_on_cpu: ClassVar[bool] = True  # what is rounded is far below the noise of a step

    out: Path
    """Folder of the run, new or empty; it holds all that a run killed half-way needs to go on."""
    preset: str | None = None
    """Published settings to begin with, such as prolificdreamer; None takes those for the prior,
    which `scorefield info` shows. Options that are given go before them."""
    objective: ObjectiveName | None = None
    """Objective that turns the prior into a gradient; docs/objectives.md says which is for what.
    None takes the preset's, sds of most."""
    levels: LevelRange = LevelRange(0.02, 0.98, 0.3)  # noqa: RUF009  (frozen)
    """Range of the noise levels that the prior looks at."""
    level_schedule: ScheduleName = "range"
    """How levels are chosen. range: drawn from --levels. dreamtime: one level, which falls from the
    high to the low one of --levels at DreamTime's pace."""
    resume: bool = False
    """Go on with the run in --out; without one there, begin."""
    preview_every: Whole = 100
    """An image of the views after every so many steps; 0 for none."""
    checkpoint_every: Whole = 100
    """A checkpoint after every so many steps; 0 for the last only."""

    def given(
        self,
        settings: type[Any],
        options: list[tuple[str, Any, Any]],
        presets: Sequence[Preset],
        prior: "ImagePrior | None",
    ) -> dict[str, Any]:
        """The settings but for the prompt: what was said, and before it the preset's.

        Args:
            settings: the class of the settings.
            options: those of them that are options.
            presets: of what is made.
            prior: the preset is of its kind; None, as long as no prior is loaded, checks what was
                said.

        Raises:
            ValueError: no such preset for the prior, or a level schedule outside the levels.
        """
        from scorefield.sds.presets import objective_named, preset_for, settings_by

        self.check_scale()
        if self.preset is not None and self.preset not in {one.name for one in presets}:
            names = ", ".join(dict.fromkeys(one.name for one in presets))
            raise ValueError(f"there is no preset {self.preset!r}; give one of {names}")
        preset = None if prior is None else preset_for(prior, presets, self.preset)
        usual = {} if preset is None else preset.values
        given: dict[str, Any] = {"seed": self.seed}
        for name in (*(name for name, _, _ in options), "levels"):
            said, default = getattr(self, name), getattr(settings, name)
            if is_dataclass(said):
                given[name] = self._group(name, said, default, usual.get(name, default))
            elif self._was_said(name, said, default):
                given[name] = said
        given["levels"] = levels_named(self.level_schedule, given["levels"])
        if self.objective is not None:
            given["objective"] = self.objective
        if preset is not None and prior is not None:
            return settings_by(preset, prior, given)
        scale = given.get("scale", settings.scale)
        return {**given, "objective": objective_named(self.objective or "sds", scale)}

    def _was_said(self, option: str, said: Any, default: Any) -> bool:
        return bool(said != default) or option.replace("_", "-") in self.typed

    def _group(self, option: str, said: Any, default: Any, usual: Any) -> Any:
        """The usual group of settings, with what was said of its fields."""
        changed = {
            one.name: getattr(said, one.name)
            for one in fields(said)
            if self._was_said(
                f"{option}.{one.name}", getattr(said, one.name), getattr(default, one.name)
            )
        }
        return replace(usual, **changed)

    def pace(self) -> dict[str, Any]:
        """How the run is kept and shown, as `scorefield.runs.run` takes it."""
        return {
            "progress": not self.quiet,
            "preview_every": self.preview_every,
            "checkpoint_every": self.checkpoint_every,
        }


def levels_named(name: ScheduleName, levels: LevelRange) -> Levels:
    """The schedule of that name between the limits of a range."""
    if name == "range":
        return levels
    given = DreamTime()
    if not levels.low <= given.lower <= given.upper <= levels.high:
        raise ValueError(
            f"dreamtime dwells between {given.lower} and {given.upper}; --levels.low must lie "
            f"below and --levels.high above, got {levels.low} and {levels.high}"
        )
    return DreamTime(low=levels.low, high=levels.high)
