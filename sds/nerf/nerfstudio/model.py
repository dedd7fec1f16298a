"""The model of the method `scorefield`: a scene that nerfstudio saves and shows.

The prior that it is distilled from is no part of the model: checkpoints do not hold it, and what
only looks at a scene does not load it.
"""

import dataclasses
from dataclasses import dataclass, fields, replace
from typing import Any, get_args

import torch
from nerfstudio.cameras.rays import RayBundle
from nerfstudio.field_components.encodings import NeRFEncoding
from nerfstudio.fields.generfacto_field import GenerfactoField
from nerfstudio.fields.vanilla_nerf_field import NeRFField
from nerfstudio.models.base_model import Model, ModelConfig
from torch import Tensor, nn

from scorefield.priors.noise import noise_generator
from scorefield.priors.prior import ImagePrior
from scorefield.sds.nerf.marching import Rays
from scorefield.sds.nerf.nerfstudio.adapters import FieldOfNerfstudio
from scorefield.sds.nerf.nerfstudio.settings import FieldChoice, MethodSettings
from scorefield.sds.nerf.presets import PRESETS
from scorefield.sds.nerf.radiance_field import RadianceField
from scorefield.sds.nerf.scene_distillation import TextTo3D, begin_scene
from scorefield.sds.nerf.settings import FieldName, TextTo3DSettings
from scorefield.sds.presets import preset_for, settings_by

__all__ = ["ScorefieldModel", "ScorefieldModelConfig", "begin_field", "settings_of"]

_FIELD = -1
"""Key of what a field begins as, besides the numbers of the steps, which have 0 and above."""

_BLOB = 10.0
"""Density, before softplus, of the ball that nerfstudio's fields begin as; see `BlobField`."""


def settings_of(
    method: MethodSettings, prompt: str, prior: ImagePrior, **given: Any
) -> TextTo3DSettings:
    """The settings of a scene: what was said, and else the preset's for the prior.

    Raises:
        ValueError: the prompt is empty, there is no such preset, or a number is out of its range.
    """
    preset = preset_for(prior, PRESETS, method.preset)
    known = {one.name for one in fields(TextTo3DSettings)}
    said = {name: value for name, value in vars(method).items() if name in known}
    said = {name: value for name, value in said.items() if value is not None}
    if method.field not in get_args(FieldName):
        del said["field"]
    levels = preset.values.get("levels", TextTo3DSettings.levels)
    limits = {"low": method.low, "high": method.high}
    levels = replace(levels, **{k: v for k, v in limits.items() if v is not None})
    return TextTo3DSettings(
        prompt, **settings_by(preset, prior, {**said, "levels": levels, **given})
    )


def begin_field(choice: FieldChoice, seed: int = 0) -> RadianceField:
    """A new scene of that field."""
    if choice != "generfacto" and choice != "nerf":
        return begin_scene(TextTo3DSettings("a scene", field=choice, seed=seed))
    state = torch.get_rng_state()
    torch.set_rng_state(noise_generator(seed, _FIELD).get_state())
    if choice == "generfacto":
        box = torch.tensor([[-1.0, -1.0, -1.0], [1.0, 1.0, 1.0]])
        field = GenerfactoField(box)
    else:
        encoding = NeRFEncoding(3, num_frequencies=6, min_freq_exp=0.0, max_freq_exp=5.0)
        field = NeRFField(
            encoding, base_mlp_num_layers=4, base_mlp_layer_width=64, head_mlp_layer_width=64
        )
    torch.set_rng_state(state)
    return RadianceField(FieldOfNerfstudio(field, blob_density=_BLOB))


@dataclass
class ScorefieldModelConfig(ModelConfig):
    """A scene, and how it is distilled."""

    _target: type = dataclasses.field(default_factory=lambda: ScorefieldModel)
    enable_collider: bool = False
    eval_num_rays_per_chunk: int = 2**14
    prior: str = "shapes"
    """An embedded prior, a folder in diffusers' format, or a hub id."""
    settings: MethodSettings = MethodSettings()  # noqa: RUF009  (frozen)
    """How it is distilled."""


class ScorefieldModel(Model):
    """A scene of this library, whose rays nerfstudio's viewer asks for.

    Attributes:
        scene: what is trained, and saved.
        job: what trains it; None until `begin`.
    """

    config: ScorefieldModelConfig

    def populate_modules(self) -> None:
        """The scene; no prior is loaded yet."""
        super().populate_modules()
        self.scene = begin_field(self.config.settings.field)
        self.job: TextTo3D | None = None
        self._saved: dict[str, Any] = {}

    def begin(self, prior: ImagePrior, settings: TextTo3DSettings) -> None:
        """Takes on a teacher.

        Raises:
            ValueError: words the prior does not know, or no views, or another prompt is needed.
        """
        self.job = TextTo3D(prior, settings, self.scene)
        if self._saved:
            self.job.distillation.load_state(self._saved)

    def get_extra_state(self) -> dict[str, Any]:
        """What VSD trains besides the scene, for the checkpoint."""
        return self._saved if self.job is None else self.job.distillation.state()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Inverse of `get_extra_state`."""
        self._saved = state

    def get_param_groups(self) -> dict[str, list[nn.Parameter]]:
        """The field, and the learned sky behind it."""
        return {
            "fields": list(self.scene.field.parameters()),
            "background": list(self.scene.background.parameters()),
        }

    def get_outputs(self, ray_bundle: RayBundle) -> dict[str, Tensor]:
        """Colours on white, opacity and depth along rays."""
        origins, directions = ray_bundle.origins, ray_bundle.directions
        middle = torch.full_like(origins[:, 0], 0.5)
        rays = Rays(origins, directions, torch.zeros_like(middle).long(), middle)
        parts = self.scene.march_rays(rays)
        opacity = torch.cat([part.opacity for part in parts])[:, None]
        return {
            "rgb": torch.cat([part.colour for part in parts]) + 1 - opacity,
            "accumulation": opacity,
            "depth": torch.cat([part.depth for part in parts])[:, None],
        }

    def get_image_metrics_and_images(
        self, outputs: dict[str, Tensor], batch: dict[str, Any]
    ) -> tuple[dict[str, float], dict[str, Tensor]]:
        """A view for tensorboard; there is no truth to compare it with."""
        return {}, {
            "img": outputs["rgb"],
            "accumulation": outputs["accumulation"].expand(-1, -1, 3),
        }
