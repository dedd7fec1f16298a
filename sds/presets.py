"""Presets: the published settings of a method for a family of priors, as data.

The modules called `presets` of `scorefield.sds.nerf`, its `texture` and `scorefield.sds.svg` hold
them. The values are those of threestudio's configurations (2024-12) unless `source` says otherwise,
in this library's conventions: DreamFusion's and threestudio's guidance w is a scale of 1 + w. What
a preset does not name is as the settings have it. The command line shows them without torch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from scorefield.sds.settings import DistillationSettings

if TYPE_CHECKING:
    from scorefield.priors.prior import ImagePrior
    from scorefield.sds.objective import Objective

__all__ = [
    "Preset",
    "PriorKind",
    "kind_of",
    "preset_for",
    "presets_of",
    "settings_by",
    "settings_for",
]

AnySettings = TypeVar("AnySettings", bound=DistillationSettings)

ObjectiveName = Literal["sds", "sjc", "vsd", "csd", "nfsd", "ism", "sdi", "bridge"]

PriorKind = Literal["embedded", "sd", "sdxl", "flow", "if"]
"""What the published settings depend on: a small prior of our own making, Stable Diffusion 1 and 2,
SDXL, rectified flows such as SD3 and Flux, and pixel U-Nets such as DeepFloyd IF."""


@dataclass(frozen=True)
class Preset:
    """How a method is set for some kinds of priors.

    name: of the method.
    kinds: of priors that it is for.
    source: where the values are from.
    objective: by its name on the command line.
    values: settings by name; of what is not named the default holds.
    """

    name: str
    kinds: tuple[PriorKind, ...]
    source: str
    objective: ObjectiveName = "sds"
    values: Mapping[str, Any] = field(default_factory=dict)

    def fitted(self, prior: "ImagePrior") -> "Preset":
        """The preset as this very prior of its kind wants it."""
        return self


def kind_of(prior: "ImagePrior") -> PriorKind:
    """The kind of a prior, by what it is made of."""
    from scorefield.priors.codec import PixelCodec
    from scorefield.priors.schedule import FlowSchedule
    from scorefield.priors.text import PipelineConditioner

    text = getattr(prior, "text", None)
    if isinstance(prior.schedule, FlowSchedule):
        return "flow"
    if isinstance(prior.codec, PixelCodec):
        return "if" if isinstance(text, PipelineConditioner) else "embedded"
    if text is None or getattr(text, "vocabulary", None) is not None:
        return "embedded"
    return "sdxl" if isinstance(text, PipelineConditioner) else "sd"


def presets_of(kind: PriorKind, presets: Sequence[Preset]) -> list[Preset]:
    """The presets that fit, the one that is chosen first."""
    return [one for one in presets if kind in one.kinds]


def preset_for(prior: "ImagePrior", presets: Sequence[Preset], name: str | None = None) -> Preset:
    """The preset of that name for a prior, or (None) the one that is chosen for it.

    presets: of what is made, such as `scorefield.sds.nerf.presets.PRESETS`.

    Raises:
        ValueError: there is none of that name for such a prior.
    """
    kind = kind_of(prior)
    fitting = presets_of(kind, presets)
    found = next((one for one in fitting if name in (None, one.name)), None)
    if found is None:
        raise ValueError(
            f"there is no preset {name!r} for {prior.name} (kind {kind}); "
            f"give {' or '.join(one.name for one in fitting)}"
        )
    return found.fitted(prior)


def settings_by(preset: Preset, prior: "ImagePrior", given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a preset for a prior, as keyword arguments; what is given goes before them.

    given: settings by name; "objective" may be a name.
    """
    values = {**preset.values, "preset": preset.name, **given}
    if preset.name != "embedded":
        values.setdefault("scale", float(prior.guidance_scale))
    objective = values.pop("objective", preset.objective)
    if isinstance(objective, str):
        objective = objective_named(objective, values.get("scale", 7.5))
    return {**values, "objective": objective}


def settings_for(
    kind: "type[AnySettings]",
    prompt: "str | AnySettings",
    prior: "ImagePrior",
    presets: Sequence[Preset],
) -> "AnySettings":
    """Settings of a prompt by the preset that is chosen for the prior; all settings as they are.

    Raises:
        ValueError: the prior is none, or the prompt is neither text nor settings of the kind.
    """
    from scorefield.priors.prior import check_is_prior

    check_is_prior(prior)
    if isinstance(prompt, kind):
        return prompt
    if not isinstance(prompt, str):
        raise ValueError(f"the prompt must be text or {kind.__name__}; got {type(prompt).__name__}")
    return kind(prompt, **settings_by(preset_for(prior, presets), prior, {}))


def objective_named(name: str, scale: float) -> "Objective":
    """The objective of that name, under a guidance scale where it has one of its own.

    Raises:
        ValueError: there is none of that name.
    """
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
            return NFSD(scale=scale)
        case "ism":
            return ISM()
        case "sdi":
            return SDI(scale=-scale)
        case "bridge":
            return Bridge(scale=scale)
    raise ValueError(f"there is no objective {name!r}")
