"""Presets of scenes: `TextTo3DSettings` by method and kind of prior.

Compared with the configurations of threestudio at 28d9d80 (2024-12-16). The weights of the
penalties are for 1,024 latents: threestudio's stand against a loss summed over the 16,384 of Stable
Diffusion or the 12,288 of DeepFloyd IF, hence the divisions by 16 and 12. Its loss of SDI alone is
a mean over them, hence the factor 1,024 there.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from scorefield.sds.levels import LevelRange
from scorefield.sds.nerf.camera_distribution import CameraDistribution
from scorefield.sds.presets import Preset

if TYPE_CHECKING:
    from scorefield.priors.prior import ImagePrior

__all__ = ["PRESETS"]

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
    "scale": 101.0,
    "levels": LevelRange(0.02, 0.98),
    "clip": 0.0,
    "views": 1,
    "size": 64,
    "later_sizes": (),
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

# Of the prior `objects`: what is thin, legs above all, is lost by less guidance and more smoothing.
_TOLD: Mapping[str, Any] = {"scale": 20.0, "on_white": 0.7, "smoothness": 500.0}


@dataclass(frozen=True)
class ViewPreset(Preset):
    """A preset of what cameras see.

    told: further values, for priors that are told cameras.
    """

    told: Mapping[str, Any] = field(default_factory=dict)

    def fitted(self, prior: "ImagePrior") -> Preset:
        """Cameras stay where a prior that is told them was trained."""
        if prior.cameras is None:
            return self
        cameras = self.values.get("cameras", CameraDistribution()).within(prior.cameras)
        values = {**self.values, **self.told, "cameras": cameras}
        known = getattr(getattr(prior, "text", None), "vocabulary", None)
        if known is not None and not {"white", "background"} <= known:
            values.pop("on_white", None)  # the prompt could not say so
        return replace(self, values=values)


PRESETS: tuple[ViewPreset, ...] = (
    ViewPreset(
        "embedded",
        ("embedded",),
        "measured on the prior `shapes`, docs/results.md; with cameras on `objects`",
        told=_TOLD,
    ),
    ViewPreset(
        "dreamfusion",
        ("sd", "sdxl"),
        "threestudio configs/dreamfusion-sd.yaml; its orientation weight is the one it ends at",
        values=_SCENE,
    ),
    ViewPreset(
        "dreamfusion",
        ("if",),
        "threestudio configs/dreamfusion-if.yaml; Poole et al. 2022",
        values={
            **_SCENE,
            "scale": 21.0,
            "opacity": 1 / 12,
            "orientation": 1000 / 12,
            "cameras": replace(_CAMERAS, elevation=(-10.0, 90.0)),
        },
    ),
    ViewPreset(
        "dreamfusion",
        ("flow",),
        "as for Stable Diffusion, with the prior's own guidance: no configuration is published",
        values={name: value for name, value in _SCENE.items() if name != "scale"},
    ),
    ViewPreset(
        "prolificdreamer",
        ("sd", "sdxl"),
        "threestudio configs/prolificdreamer.yaml, its first stage (Wang et al. 2023)",
        "vsd",
        {
            **_SCENE,
            **_UNLIT,
            "steps": 25_000,
            "scale": 7.5,
            "levels": LevelRange(0.02, 0.98, 0.5),
            "later_sizes": (512,),
            "later_from": (0.2,),
            "cameras": replace(_CAMERAS, distance=(1.0, 1.5), look_at_jitter=0.0, up_jitter=0.0),
            "opacity": 10 / 16,
            "spread": 1 / 16,
        },
    ),
    ViewPreset(
        "sdi",
        ("sd", "sdxl"),
        "threestudio configs/sdi.yaml (Lukoianov et al. 2024), which renders 512 pixels throughout",
        "sdi",
        {
            **_SCENE,
            # a tenth unlit, then 0.3 lit, of which 0.75 are white
            "albedo_steps": 0.1,
            "shaded": 0.075,
            "textureless": 0.225,
            "opacity": 0.0,  # theirs falls from 0.15 to 0 within the first 3,000 steps
            "orientation": 0.1 * 1024,
            "entropy": 0.1 * 1024 * math.log(2),  # theirs is in nats
            "scale": 7.5,
            "levels": LevelRange(0.25, 0.98, 0.25, width=0.0),
            "later_sizes": (256, 512),
        },
    ),
    ViewPreset(
        "csd",
        ("sd", "sdxl"),
        "Yu et al. 2023, the coarse stage; the rest as dreamfusion",
        "csd",
        {**_SCENE, **_UNLIT, "steps": 5_000, "scale": 7.5},
    ),
)
"""Of each kind of prior the first one is chosen for it."""
