"""The names of the distillation objectives and level schedules on the command line."""

from typing import TYPE_CHECKING, Literal

from scorefield.sds.levels import DreamTime, LevelRange, Levels

if TYPE_CHECKING:
    from scorefield.sds.objective import Objective

ObjectiveName = Literal["sds", "sjc", "vsd", "csd", "nfsd", "ism", "sdi", "bridge"]
ScheduleName = Literal["range", "dreamtime"]


def objective_named(name: ObjectiveName, guidance: float) -> "Objective":
    """The objective of that name, under a guidance scale where it has one of its own."""
    from scorefield.sds.objective import SDS
    from scorefield.sds.objectives import CSD, ISM, NFSD, SDI, SJC, VSD, Bridge

    match name:
        case "sds":
            return SDS()
        case "sjc":
            return SJC()
        case "vsd":
            return VSD()
        case "csd":
            return CSD()
        case "nfsd":
            return NFSD(scale=guidance)
        case "ism":
            return ISM()
        case "sdi":
            return SDI(scale=-guidance)
        case "bridge":
            return Bridge(scale=guidance)


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
