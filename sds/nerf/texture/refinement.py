"""The texture of a finished scene, refined: the shape stays, the colours are distilled further.

As the second stages of Magic3D and Fantasia3D (Lin et al. 2023; Chen et al. 2023): a surface is
rendered instead of a soft field, at twice the size, and only low noise levels are looked at.
"""

import copy
from dataclasses import fields
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.prior import ImagePrior
from scorefield.runs.job import run
from scorefield.sds.levels import LevelRange
from scorefield.sds.nerf.assets.asset import scene_surface
from scorefield.sds.nerf.assets.settings import AssetSettings
from scorefield.sds.nerf.fields import Field, VoxelGrid
from scorefield.sds.nerf.radiance_field import RadianceField
from scorefield.sds.nerf.settings import TextTo3DSettings
from scorefield.sds.nerf.texture.painting import Painting
from scorefield.sds.nerf.texture.settings import REFINED, TextureSettings

__all__ = ["Refinement", "refine_scene", "refinement_settings"]

LEVELS = LevelRange(0.02, 0.5)
"""Noise levels that change detail and leave the object what it is; Magic3D's upper end."""
RATE = 1 / 3
"""Of the scene's learning rate; at the whole of it fifty updates made blotches of plain areas."""


class Refinement(Painting):
    """A `Job`: the colours of a scene's surface, learnt further, which ends as a texture.

    Args:
        prior: what it should look like.
        settings: how, from `refinement_settings`.
        scene: finished; it stays as it is.
        asset: of the mesh, the texture and the images; None: the defaults.

    Raises:
        EmptySceneError: the scene has no surface.
    """

    def __init__(
        self,
        prior: ImagePrior,
        settings: TextureSettings,
        scene: RadianceField,
        asset: AssetSettings | None = None,
    ) -> None:
        asset = asset or AssetSettings()
        field = Refined(scene.field, settings.detail)
        super().__init__(prior, settings, scene_surface(scene, asset), field, asset)


class Refined(Field):
    """The colours of a field, changed by what is learnt: sigmoid(logit(given) + learnt).

    Args:
        given: stays as it is.
        resolution: of what is learnt, which starts at 0.
    """

    def __init__(self, given: Field, resolution: int) -> None:
        super().__init__()
        self.given = copy.deepcopy(given).requires_grad_(False)
        self.learnt = VoxelGrid(resolution)

    def forward(
        self, points: Float[Tensor, "points 3"]
    ) -> tuple[Float[Tensor, " points"], Float[Tensor, "points 3"]]:
        """The given density (N,), and the changed albedo (N, 3)."""
        density, albedo = self.given(points)
        changed = torch.logit(albedo, eps=1e-4) + self.learnt.outputs(points, 4)[:, 1:]
        return density, torch.sigmoid(changed)


def refinement_settings(scene: TextTo3DSettings, steps: int, own: int) -> TextureSettings:
    """A scene's settings for the refinement of its texture.

    The views are twice as large as the last ones of the scene's run, but not larger than what the
    prior is shown.

    Args:
        scene: of the run.
        steps: updates of the refinement.
        own: the prior's side, pixels.
    """
    names = {one.name for one in fields(TextureSettings)}
    shared = {
        one.name: getattr(scene, one.name) for one in fields(TextTo3DSettings) if one.name in names
    }
    changed = {
        "steps": steps,
        "size": min(2 * scene.size_at(1.0, own), own),
        "later_sizes": (),
        "later_from": (),
        "levels": LEVELS,
        "learning_rate": RATE * scene.learning_rate,
    }
    return TextureSettings(**{**shared, **changed})


def refine_scene(
    prior: ImagePrior,
    scene: RadianceField,
    settings: TextTo3DSettings,
    folder: Path,
    steps: int,
    *,
    asset: AssetSettings | None = None,
    progress: bool = True,
    preview_every: int = 100,
    checkpoint_every: int = 100,
) -> dict[str, Path]:
    """Refine the texture of a finished scene into a run folder of its own, `folder`/refined.

    What is there already of the same refinement is gone on with.

    Args:
        prior: what it should look like.
        scene: finished; it stays as it is.
        settings: those of its run.
        folder: of its run.
        steps: updates of the refinement.
        asset: of the mesh, the texture and the images; None: the defaults.
        progress: as `run`.
        preview_every: as `run`.
        checkpoint_every: as `run`.

    Returns:
        The refined files by what they are, as `Painting.finish` names them.

    Raises:
        EmptySceneError: the scene has no surface.
        ValueError: the folder has a refinement with other settings.
        NonFiniteError: on the way; the last checkpoint is kept.
    """
    job = Refinement(prior, refinement_settings(settings, steps, prior.image_size), scene, asset)
    return run(
        job,
        folder / REFINED,
        resume=True,
        progress=progress,
        preview_every=preview_every,
        checkpoint_every=checkpoint_every,
    )
