"""`scorefield text-to-3d`: an object from a prompt."""

from dataclasses import dataclass, make_dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from scorefield.cli.command import Outcome, notes, options_of, under_way
from scorefield.cli.distillation.distilling import DistillingCommand
from scorefield.domains import Whole
from scorefield.sds.nerf.assets.settings import AssetSettings
from scorefield.sds.nerf.presets import PRESETS
from scorefield.sds.nerf.settings import TextTo3DSettings
from scorefield.sds.nerf.texture.settings import check_refinement

if TYPE_CHECKING:
    from scorefield.priors.prior import ImagePrior

SETTINGS = options_of(TextTo3DSettings, "prompt", "seed", "preset", "objective", "levels")
"""The settings of a scene that become options as they are."""
ASSET = options_of(AssetSettings)
"""Those of its files."""


@dataclass(frozen=True, kw_only=True)
class SceneCommand(DistillingCommand):
    """A command that distils scenes; `SETTINGS` and `ASSET` are added to it."""

    def settings(self, prompt: str, prior: "ImagePrior | None" = None) -> TextTo3DSettings:
        """The settings for a prompt as given; with a prior, what is not given is its preset's."""
        return TextTo3DSettings(prompt, **self.given(TextTo3DSettings, SETTINGS, PRESETS, prior))

    def asset(self) -> AssetSettings:
        """The settings of the files as given."""
        return AssetSettings(**{name: getattr(self, name) for name, _, _ in ASSET})


@dataclass(frozen=True, kw_only=True)
class _TextTo3D(SceneCommand):
    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")]
    """Thing to make, in quotes, such as "a red mushroom"."""
    refine: Whole = 0
    """Further updates, of the texture alone, whose files go into the folder refined of --out."""

    def check(self) -> None:
        """Refuse settings that cannot be, before anything is loaded."""
        self.settings(self.prompt)

    def run(self) -> Outcome:
        """Distil, and write mesh, turntable and views."""
        asset = self.asset()
        if self.resume and self.refine:
            check_refinement(self.out, self.refine)

        from scorefield.cli.loading import prior_of
        from scorefield.runs.job import begin, run
        from scorefield.sds.nerf.assets.mesh import EmptySceneError
        from scorefield.sds.nerf.scene_distillation import TextTo3D
        from scorefield.sds.nerf.texture.refinement import refine_scene

        prior = prior_of(self)
        settings = self.settings(self.prompt, prior)
        with notes():
            task = TextTo3D(prior, settings, asset=asset)
        folder = begin(task, self.out, resume=self.resume)
        problem, refined = None, {}
        with under_way():
            try:
                written = run(task, folder, **self.pace())
                if self.refine:
                    refined = refine_scene(
                        prior, task.scene, settings, self.out, self.refine, asset=asset,
                        **self.pace(),
                    )  # fmt: skip
            except EmptySceneError as error:
                problem, written = str(error), error.written
        metrics = {
            "out": str(self.out),
            "prompt": self.prompt,
            "prior": prior.name,
            "preset": settings.preset,
            "steps": settings.steps,
            "seed": self.seed,
            "files": {name: str(path) for name, path in written.items()},
            "refined": {name: str(path) for name, path in refined.items()},
            "problem": problem,
        }
        lines = [f"wrote {path}" for path in (*written.values(), *refined.values())]
        return Outcome(metrics, lines, problem)


TextTo3DCommand = make_dataclass(
    "TextTo3DCommand", SETTINGS + ASSET, bases=(_TextTo3D,), frozen=True, kw_only=True
)
TextTo3DCommand.__doc__ = (
    """Distil a prompt into a 3D object: textured mesh (.glb, .obj, .ply), turntable, views."""
)
