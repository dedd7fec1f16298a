"""The names of the distillation objectives and level schedules on the command line."""

from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from scorefield.cli.command import NAMES, PriorCommand
from scorefield.sds.levels import DreamTime, LevelRange, Levels

if TYPE_CHECKING:
    from scorefield.priors.prior import ImagePrior

ScheduleName = Literal["range", "dreamtime"]


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


def by_preset(
    command: PriorCommand, settings: type[Any], names: list[str], prior: "ImagePrior | None"
) -> dict[str, Any]:
    """The settings of a command that distils: its preset's, and before them what was typed.

    settings: the class of the settings.
    names: of those that are options.
    prior: the preset is of its kind; None, as long as no prior is loaded, checks what was typed.

    Raises:
        ValueError: no such preset for the prior, or a level schedule outside the levels.
    """
    from scorefield.sds.presets import objective_named, preset_for

    preset = None
    if prior is not None:
        generator = "scene" if "cameras" in names else "drawing"
        preset = preset_for(prior, generator, getattr(command, "preset", None))
    values = {} if preset is None else dict(preset.values)
    if prior is not None and preset is not None and preset.name != "embedded":
        values.setdefault("guidance", float(prior.guidance_scale))
    given: dict[str, Any] = {}
    for name in (*names, "levels"):
        default, said = getattr(settings, name), getattr(command, name)
        given[name] = _chosen(
            command, NAMES.get(name, name), said, default, values.get(name, default)
        )
    given["levels"] = levels_named(command.level_schedule, given["levels"])  # type: ignore[attr-defined]
    objective = command.objective or ("sds" if preset is None else preset.objective)  # type: ignore[attr-defined]
    given["objective"] = objective_named(objective, given["guidance"])
    return {**given, "preset": "" if preset is None else preset.name}


def _chosen(command: PriorCommand, option: str, said: Any, default: Any, usual: Any) -> Any:
    """What was said of a setting if anything was, else the usual; of groups, field by field."""
    if is_dataclass(said) and not isinstance(said, type):
        return replace(
            usual,
            **{
                one.name: _chosen(
                    command,
                    f"{option}.{one.name}",
                    getattr(said, one.name),
                    getattr(default, one.name),
                    getattr(usual, one.name),
                )
                for one in fields(said)
            },
        )
    return said if said != default or _typed(command, option) else usual


def _typed(command: PriorCommand, option: str) -> bool:
    return option.replace("_", "-") in command.typed
