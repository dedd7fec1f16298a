"""Text to 3D: a radiance field optimised until all its views please a frozen prior."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from scorefield.cameras import Cameras, view_prompt
from scorefield.devices import to_device
from scorefield.files import parse_json
from scorefield.priors.guidance.perp_neg import PerpNeg
from scorefield.priors.noise import noise_generator
from scorefield.priors.prior import ImagePrior, check_is_prior
from scorefield.runs.folder import RunFolder
from scorefield.runs.job import run
from scorefield.runs.metrics import Metric
from scorefield.sds.distillation import Distillation, DistillationJob
from scorefield.sds.nerf.asked_views import AskedViews, asked_views, check_views
from scorefield.sds.nerf.assets.export import export_scene
from scorefield.sds.nerf.assets.settings import AssetSettings
from scorefield.sds.nerf.assets.turntable import view_sheet
from scorefield.sds.nerf.hash_grid import HashGrid
from scorefield.sds.nerf.lights import Lights, Shading, draw_greys, draw_soft_lights
from scorefield.sds.nerf.optimizer import descend, field_optimizer
from scorefield.sds.nerf.penalties import (
    entropy_penalty,
    opacity_penalty,
    orientation_penalty,
    spread_penalty,
)
from scorefield.sds.nerf.presets import PRESETS
from scorefield.sds.nerf.radiance_field import RadianceField, Rendering
from scorefield.sds.nerf.settings import ON_WHITE, FieldName, TextTo3DSettings
from scorefield.sds.nerf.texture.refinement import refine_scene
from scorefield.sds.nerf.texture.settings import check_refinement
from scorefield.sds.nerf.view_negatives import view_negatives
from scorefield.sds.objective import PromptedDenoisers
from scorefield.sds.presets import settings_for

__all__ = ["TextTo3D", "begin_scene", "load_scene", "text_to_3d"]

_FIELD = -1
"""Key of what the field begins as, besides the numbers of the steps, which have 0 and above."""


def begin_scene(settings: TextTo3DSettings) -> RadianceField:
    """A scene of the field that the settings name, the same for the same seed."""
    if settings.field == "voxels":
        return RadianceField()
    generator = noise_generator(settings.seed, _FIELD)
    if settings.field == "hash":
        return RadianceField(HashGrid(generator=generator))
    # Instant-NGP's, as threestudio has it: 16 levels from 16 cells to 4096, 2^19 entries each
    return RadianceField(HashGrid(16, 2, 16, 4096, 2**19, 64, generator))


def load_scene(folder: str | os.PathLike[str]) -> tuple[RadianceField, str]:
    """The scene in a run folder of text-to-3d, as its last checkpoint has it, and its prompt.

    Raises:
        ValueError: the folder holds no such run, no checkpoint, or a field of one's own.
    """
    folder = Path(folder)
    try:
        config = parse_json((folder / "config.json").read_text(encoding="utf-8"))
        prompt, field = config["prompt"], config["field"]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ValueError(
            f"{folder} holds no run of text-to-3d; give the folder that its --out named"
        ) from error
    if field not in get_args(FieldName):
        raise ValueError(f"{folder} is a run of a field of one's own, {field}; load it in Python")
    found = RunFolder(folder, {}).load_checkpoint()
    if found is None:
        raise ValueError(f"{folder} has no checkpoint yet; wait for one or run it to its end")
    scene = begin_scene(TextTo3DSettings(prompt, field=field))
    try:
        scene.load_state_dict(found[1]["scene"])
    except (LookupError, TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"the checkpoint in {folder} is of another scene ({reason})") from error
    return scene, prompt


def _groups(scene: RadianceField, settings: TextTo3DSettings) -> list[dict[str, Any]]:
    """What is optimised: a learned sky at a tenth of the rate, as threestudio has it."""
    if settings.background == "greys":
        return [{"params": list(scene.parameters())}]
    slow = {"params": list(scene.background.parameters()), "share": 0.1}
    return [{"params": list(scene.field.parameters())}, slow]


@dataclass(frozen=True)
class SceneLook:
    """What came of one look at a scene.

    loss: of the distillation; its value means nothing, its gradient is the prior's.
    penalty: what is asked of the scene besides.
    metrics: by name.
    latents: of the views, without a graph.
    cameras: that saw them.
    white: which of them on white.
    """

    loss: Float[Tensor, ""]
    penalty: Float[Tensor, ""]
    metrics: Mapping[str, Metric]
    latents: Float[Tensor, "batch *shape"]
    cameras: Cameras
    white: Sequence[bool] = ()


class TextTo3D(DistillationJob):
    """A `Job`: one update looks at a few views of the scene, which ends as a mesh.

    settings: what to make, and how.
    prior: what it should look like.
    scene: what is optimised; None: a new one of the field that the settings name.
    asset: of the mesh and the images; None: the defaults.

    Raises:
        ValueError: words the prior does not know, a prior without views, a prompt the objective
            lacks, a size too small for the prior, or Perp-Neg with a prior that is told cameras.
    """

    def __init__(
        self,
        prior: ImagePrior,
        settings: TextTo3DSettings,
        scene: RadianceField | None = None,
        asset: AssetSettings | None = None,
    ) -> None:
        check_is_prior(prior)
        if not settings.size:
            settings = replace(settings, size=prior.image_size)
        self.settings = settings
        self.asset = asset or AssetSettings()
        self.prior = prior
        self.device = prior.device
        settings.check_sizes(prior.image_size)
        self.given = type(scene.field).__qualname__ if scene else ""
        self.scene = (scene or begin_scene(settings)).to(self.device)
        self.distillation = Distillation(prior, settings)
        self.optimizer = field_optimizer(_groups(self.scene, settings), settings.learning_rate)
        self.distillation.check([settings.prompt])
        if settings.on_white:
            self.distillation.check([ON_WHITE.format(settings.prompt)])
        check_views(prior, settings.prompt, settings.cameras)
        if settings.perp_neg and prior.cameras is not None:
            raise ValueError(
                "perp_neg leads away from the words for other views, and the prior "
                f"{prior.name} is told the camera itself; leave it out"
            )

    def step(self, step: int) -> Mapping[str, Metric]:
        """Render views, ask the prior, update the scene."""
        settings, progress = self.settings, step / self.settings.steps
        generator = noise_generator(settings.seed, step)
        self.refresh(step, generator)
        cameras = settings.cameras.draw(settings.views, generator)
        seen = self.look(cameras, progress, generator)
        descend(self.optimizer, seen.loss + seen.penalty, settings.learning_rate, progress)
        return {**seen.metrics, **self.learn(seen, generator)}

    def refresh(self, step: int, generator: torch.Generator) -> None:
        """Update which space counts as empty, every eight steps."""
        if step % 8 == 0:
            self.scene.update_occupancy(generator if step else None)

    def look(self, cameras: Cameras, progress: float, generator: torch.Generator) -> SceneLook:
        """Render what cameras see and ask the prior; nothing is updated."""
        white: list[bool] = []
        if share := self.settings.on_white:
            white = (torch.rand(len(cameras), generator=generator) < share).tolist()
        with self.scene.field.held():
            rendering = self._render(cameras, white, progress, generator)
            penalty = self._penalty(rendering, progress)
        distilled, latents = self.distillation.look(
            rendering.images, self.denoisers(cameras, white), progress, generator
        )
        metrics = {
            **distilled.metrics,
            "opacity": rendering.opacity.detach().mean(),
            "penalty": penalty.detach(),
        }
        return SceneLook(distilled.loss, penalty, metrics, latents.detach(), cameras, white)

    def learn(self, seen: SceneLook, generator: torch.Generator) -> Mapping[str, Metric]:
        """Train phi on what was seen, after the scene's update; of other objectives nothing."""
        asked = self._asked(seen.cameras, seen.white)
        return self.distillation.learn(seen.latents, asked.prompts, generator, asked.cameras)

    def denoisers(self, cameras: Cameras, white: Sequence[bool] = ()) -> PromptedDenoisers:
        """The prior, each view under its own camera, or under the prompt that names it.

        white: which of the views are on white; of none the prompt says so.
        """
        settings, asked = self.settings, self._asked(cameras, white)
        denoisers = self.distillation.denoisers(asked.prompts, asked.cameras)
        if not settings.perp_neg:
            return denoisers
        views, weights = view_negatives(cameras)
        guided = PerpNeg(
            denoisers.need("cond"),
            denoisers.need("uncond"),
            [self.prior.condition(view_prompt(settings.prompt, view)) for view in views],
            settings.perp_neg * weights,
            settings.scale,
        )
        return replace(denoisers, guided=guided)

    def _asked(self, cameras: Cameras, white: Sequence[bool]) -> AskedViews:
        return asked_views(self.prior, self.settings.prompt, cameras, white)

    def _render(
        self,
        cameras: Cameras,
        white: Sequence[bool],
        progress: float,
        generator: torch.Generator,
    ) -> Rendering:
        settings = self.settings
        size = settings.size_at(progress, self.prior.image_size)
        shading, lights = self._shading(cameras, progress, generator)
        greys = draw_greys(settings.views, generator)
        if white:
            greys = torch.where(torch.tensor(white), 1.0, greys)
        greys = to_device(greys[:, None].expand(-1, 3), self.device)
        background = greys if settings.background == "greys" else None  # the scene's own, learned
        return self.scene.render(
            cameras.to(self.device),
            size,
            size,
            samples=settings.samples,
            shading=shading,
            lights=lights,
            background=background,
            generator=generator,
        )

    def _shading(
        self, cameras: Cameras, progress: float, generator: torch.Generator
    ) -> tuple[Shading, Lights | None]:
        settings = self.settings
        choice = torch.rand((), generator=generator).item()
        lights = draw_soft_lights(cameras, generator)
        if progress < settings.albedo_steps or choice > settings.shaded + settings.textureless:
            return Shading.ALBEDO, None
        lit = Shading.LAMBERTIAN if choice <= settings.shaded else Shading.TEXTURELESS
        return lit, lights

    def _penalty(self, rendering: Rendering, progress: float) -> Tensor:
        settings = self.settings
        penalty = settings.opacity * opacity_penalty(rendering)
        penalty = penalty + settings.entropy * progress * entropy_penalty(rendering)
        penalty = penalty + settings.spread * spread_penalty(rendering)
        if rendering.orientation is not None:
            penalty = penalty + settings.orientation * orientation_penalty(rendering)
        smoothness = getattr(self.scene.field, "total_variation", None)
        if smoothness is not None:
            penalty = penalty + settings.smoothness * smoothness()
        # the distillation loss is a sum over the latents, so that one weight means the same of all
        return penalty * (math.prod(self.prior.latent_shape) / 1024)

    def preview(self, step: int) -> Float[Tensor, "3 height width"]:
        """Named views, in colour and as bare geometry."""
        return view_sheet(self.scene, size=96)

    def parts(self) -> Mapping[str, nn.Module | torch.optim.Optimizer]:
        """The scene and its optimiser."""
        return {"scene": self.scene, "optimizer": self.optimizer}

    def config(self) -> dict[str, Any]:
        """All that the result depends on, as JSON values; of a given scene its field's class."""
        config = super().config()
        return config | {"field": self.given} if self.given else config

    def finish(self, folder: Path, *, progress: bool = True) -> dict[str, Path]:
        """Write mesh, turntable and views; see `export_scene`."""
        title = self.settings.prompt
        return export_scene(self.scene, folder, self.asset, title=title, progress=progress)


def text_to_3d(
    prior: ImagePrior,
    prompt: str | TextTo3DSettings,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    progress: bool = True,
    preview_every: int = 100,
    checkpoint_every: int = 100,
    refine: int = 0,
    asset: AssetSettings | None = None,
) -> Path:
    """Distil a prompt into a scene and write its mesh, turntable and views; returns the folder.

    ``text_to_3d(load_prior("shapes"), "a red mushroom", "runs/mushroom")`` is all it takes. The
    folder is a run folder: killed at any moment, the same call with `resume` goes on.

    Args:
        prior: what it should look like.
        prompt: what to make, by the preset that is chosen for the prior; or all settings.
        out: a new or empty folder, or with `resume` the folder of the same run.
        resume: go on with the run in the folder, if there is one.
        progress: whether to show progress on standard error.
        preview_every: a preview after every so many steps; 0 for none.
        checkpoint_every: a checkpoint after every so many steps; 0 for the last only.
        refine: so many more updates change the texture alone (see `Refinement`); their files are
            in the folder "refined" in the folder.
        asset: of the mesh and the images; None: the defaults.

    Raises:
        ValueError: before anything starts: settings, words or folder are not accepted.
        EmptySceneError: at the end, the images written: the scene came out empty.
        NonFiniteError: on the way; the last checkpoint is kept.
    """
    if refine < 0:
        raise ValueError(f"refine must be at least 0 updates; got {refine}")
    if resume and refine:
        check_refinement(Path(out), refine)
    settings = settings_for(TextTo3DSettings, prompt, prior, PRESETS)
    task = TextTo3D(prior, settings, asset=asset)
    pace: dict[str, Any] = {
        "progress": progress,
        "preview_every": preview_every,
        "checkpoint_every": checkpoint_every,
    }
    run(task, out, resume=resume, **pace)
    if refine:
        refine_scene(prior, task.scene, task.settings, Path(out), refine, asset=asset, **pace)
    return Path(out)
