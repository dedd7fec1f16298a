"""Presets: the published settings of a method for a family of priors, as data.

The values are those of threestudio's configurations (2024-12) unless `source` says otherwise, in
this library's conventions: DreamFusion's and threestudio's guidance w is a scale of 1 + w, and the
weights of the penalties are for 1,024 latents (threestudio's stand against a loss summed over the
16,384 of Stable Diffusion, hence the division by 16). What a preset does not name is as
`TextTo3DSettings` or `TextToSvgSettings` has it. The command line shows them without loading torch.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from scorefield.sds.levels import LevelRange
from scorefield.sds.nerf.camera_distribution import CameraDistribution

if TYPE_CHECKING:
    from scorefield.priors.prior import ImagePrior
    from scorefield.sds.objective import Objective

__all__ = ["PRESETS", "Preset", "PriorKind", "kind_of", "preset_for"]

ObjectiveName = Literal["sds", "sjc", "vsd", "csd", "nfsd", "ism", "sdi", "bridge"]

PriorKind = Literal["embedded", "sd", "sdxl", "flow", "if"]
"""What the published settings depend on: a small prior of our own making, Stable Diffusion 1 and 2,
SDXL, rectified flows such as SD3 and Flux, and pixel U-Nets such as DeepFloyd IF."""


@dataclass(frozen=True)
class Preset:
    """How a method is set for some kinds of priors.

    name: of the method.
    generator: what it makes.
    kinds: of priors that it is for.
    source: where the values are from.
    objective: by its name on the command line.
    values: settings by name; of what is not named the default holds.
    """

    name: str
    generator: Literal["scene", "drawing"]
    kinds: tuple[PriorKind, ...]
    source: str
    objective: ObjectiveName = "sds"
    values: Mapping[str, Any] = field(default_factory=dict)


_CAMERAS = CameraDistribution(
    elevation=(-10.0, 45.0),
    overhead_share=0.0,
    sphere_share=0.5,
    distance=(1.5, 2.0),
    fov=(40.0, 70.0),
    look_at_jitter=0.2,
    up_jitter=0.02,
)

_SCENE: Mapping[str, Any] = {
    "steps": 10_000,
    "guidance": 101.0,
    "levels": LevelRange(0.02, 0.98),
    "clip": 0.0,
    "views": 1,
    "size": 64,
    "samples": 128,
    "field": "hash-large",
    "background": "sky",
    "cameras": _CAMERAS,
    "learning_rate": 0.01,
    "albedo_steps": 0.2,
    "shaded": 0.375,
    "textureless": 0.375,
    "opacity": 1 / 16,
    "orientation": 1000 / 16,
    "entropy": 0.0,
    "spread": 0.0,
    "smoothness": 0.0,
}

_UNLIT: Mapping[str, Any] = {
    "albedo_steps": 1.0, "shaded": 0.0, "textureless": 0.0, "orientation": 0.0,
}  # fmt: skip

PRESETS: tuple[Preset, ...] = (
    Preset("embedded", "scene", ("embedded",), "measured on the prior `shapes`, docs/results.md"),
    Preset(
        "dreamfusion",
        "scene",
        ("sd", "sdxl"),
        "threestudio configs/dreamfusion-sd.yaml; its orientation weight is the one it ends at",
        values=_SCENE,
    ),
    Preset(
        "dreamfusion",
        "scene",
        ("if",),
        "threestudio configs/dreamfusion-if.yaml; Poole et al. 2022",
        values={
            **_SCENE,
            "guidance": 21.0,
            "cameras": CameraDistribution(
                elevation=(-10.0, 90.0),
                overhead_share=0.0,
                sphere_share=0.5,
                distance=(1.5, 2.0),
                fov=(40.0, 70.0),
                look_at_jitter=0.2,
                up_jitter=0.02,
            ),
        },
    ),
    Preset(
        "dreamfusion",
        "scene",
        ("flow",),
        "as for Stable Diffusion, with the prior's own guidance: no configuration is published",
        values={name: value for name, value in _SCENE.items() if name != "guidance"},
    ),
    Preset(
        "prolificdreamer",
        "scene",
        ("sd", "sdxl"),
        "threestudio configs/prolificdreamer.yaml, its first stage (Wang et al. 2023)",
        "vsd",
        {
            **_SCENE,
            **_UNLIT,
            "steps": 25_000,
            "guidance": 7.5,
            "levels": LevelRange(0.02, 0.98, 0.5),
            "later_sizes": (512,),
            "later_from": (0.2,),
            "cameras": CameraDistribution(
                elevation=(-10.0, 45.0),
                overhead_share=0.0,
                sphere_share=0.5,
                distance=(1.0, 1.5),
                fov=(40.0, 70.0),
                look_at_jitter=0.0,
                up_jitter=0.0,
            ),
            "opacity": 10 / 16,
            "spread": 1 / 16,
        },
    ),
    Preset(
        "sdi",
        "scene",
        ("sd", "sdxl"),
        "Lukoianov et al. 2024: guidance, inversion and levels; the sizes are ours",
        "sdi",
        {
            **_SCENE,
            **_UNLIT,
            "guidance": 7.5,
            "levels": LevelRange(0.25, 0.98, 0.25, width=0.0),
            "later_sizes": (256, 512),
        },
    ),
    Preset(
        "csd",
        "scene",
        ("sd", "sdxl"),
        "Yu et al. 2023, the coarse stage; the rest as dreamfusion",
        "csd",
        {**_SCENE, **_UNLIT, "steps": 5_000, "guidance": 7.5},
    ),
    Preset("embedded", "drawing", ("embedded",), "measured on `shapes`, docs/text-to-svg.md"),
    Preset(
        "vectorfusion",
        "drawing",
        ("sd", "sdxl"),
        "Jain et al. 2023; guidance, steps and levels of PyTorch-SVGRender's configuration",
        values={"guidance": 101.0, "steps": 1000, "levels": LevelRange(0.05, 0.95), "views": 1},
    ),
    Preset(
        "vectorfusion",
        "drawing",
        ("flow", "if"),
        "as for Stable Diffusion, with the prior's own guidance: no configuration is published",
        values={"steps": 1000, "levels": LevelRange(0.05, 0.95), "views": 1},
    ),
)
"""All presets; of each generator the first one of a kind is chosen for it."""


def kind_of(prior: "ImagePrior") -> PriorKind:
    """The kind of a prior, by what it is made of."""
    from scorefield.priors.codec import PixelCodec
    from scorefield.priors.schedule import FlowSchedule
    from scorefield.priors.text import PipelineTextEncoder

    text = getattr(prior, "text", None)
    if isinstance(prior.schedule, FlowSchedule):
        return "flow"
    if isinstance(prior.codec, PixelCodec):
        return "if" if isinstance(text, PipelineTextEncoder) else "embedded"
    if text is None or getattr(text, "vocabulary", None) is not None:
        return "embedded"
    return "sdxl" if isinstance(text, PipelineTextEncoder) else "sd"


def presets_of(kind: PriorKind, generator: str) -> list[Preset]:
    """The presets that fit, the one that is chosen first."""
    return [one for one in PRESETS if kind in one.kinds and one.generator == generator]


def preset_for(prior: "ImagePrior", generator: str, name: str | None = None) -> Preset:
    """The preset of that name for a prior, or (None) the one that is chosen for it.

    generator: "scene" or "drawing".

    Raises:
        ValueError: there is none of that name for such a prior.
    """
    kind = kind_of(prior)
    fitting = presets_of(kind, generator)
    found = next((one for one in fitting if name in (None, one.name)), None)
    if found is None:
        raise ValueError(
            f"there is no preset {name!r} that makes a {generator} with {prior.name} (kind "
            f"{kind}); give {' or '.join(one.name for one in fitting)}"
        )
    return found


def settings_by(preset: Preset, prior: "ImagePrior", given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of a preset for a prior, as keyword arguments; what is given goes before them.

    given: settings by name; "objective" may be a name.
    """
    values = {**preset.values, "preset": preset.name, **given}
    if preset.name != "embedded":
        values.setdefault("guidance", float(prior.guidance_scale))
    objective = values.pop("objective", preset.objective)
    if isinstance(objective, str):
        objective = objective_named(objective, values.get("guidance", 7.5))
    return {**values, "objective": objective}


def objective_named(name: str, guidance: float) -> "Objective":
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
            return NFSD(scale=guidance)
        case "ism":
            return ISM()
        case "sdi":
            return SDI(scale=-guidance)
        case "bridge":
            return Bridge(scale=guidance)
    raise ValueError(f"there is no objective {name!r}")
