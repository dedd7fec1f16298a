"""`scorefield texture`: a mesh that one has, painted to a prompt."""

from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scorefield.cli.command import Outcome, notes, options_of, under_way
from scorefield.cli.distillation.distilling import DistillingCommand
from scorefield.sds.nerf.assets.settings import AssetSettings, UpAxis
from scorefield.sds.nerf.texture.presets import PRESETS
from scorefield.sds.nerf.texture.settings import TextureSettings

SETTINGS = options_of(TextureSettings, "prompt", "seed", "preset", "objective", "levels")
"""The settings of the paint that become options as they are."""
ASSET = options_of(AssetSettings, "mesh_resolution", "faces", "normal_map", "up")
"""Those of the files."""


@dataclass(frozen=True, kw_only=True)
class _Texture(DistillingCommand):
    mesh: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MESH")]
    """Mesh to paint, a .glb, .gltf, .obj, .ply, .stl or .off; its size and triangles stay."""
    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")]
    """Look to paint, in quotes, such as "a red mushroom"."""
    up: UpAxis | None = None
    """Axis that points up in the mesh, and in the .obj and .ply that are written: y (the front
    faces +z) or z (it faces +x). Without it y in .glb, .gltf and .obj, z in the others."""

    def run(self) -> Outcome:
        """Paint, and write mesh, texture, turntable and views."""
        TextureSettings(self.prompt, **self.given(TextureSettings, SETTINGS, PRESETS, None))
        names = [name for name, _, _ in ASSET]
        asset = AssetSettings(up=self.up, **{name: getattr(self, name) for name in names})

        from scorefield.cli.loading import prior_of
        from scorefield.runs.job import begin, run
        from scorefield.sds.nerf.texture.distillation import TextureDistillation
        from scorefield.sds.nerf.texture.user_mesh import load_mesh

        given = load_mesh(self.mesh, self.up)
        prior = prior_of(self)
        settings = TextureSettings(
            self.prompt, **self.given(TextureSettings, SETTINGS, PRESETS, prior)
        )
        with notes():
            task = TextureDistillation(prior, settings, given, asset)
        folder = begin(task, self.out, resume=self.resume)
        with under_way():
            written = run(task, folder, **self.pace())
        metrics = {
            "out": str(self.out),
            "mesh": str(self.mesh),
            "prompt": self.prompt,
            "prior": prior.name,
            "steps": settings.steps,
            "seed": self.seed,
            "files": {name: str(path) for name, path in written.items()},
        }
        return Outcome(metrics, [f"wrote {path}" for path in written.values()])


TextureCommand = make_dataclass(
    "TextureCommand", SETTINGS + ASSET, bases=(_Texture,), frozen=True, kw_only=True
)
TextureCommand.__doc__ = (
    """Paint a mesh of yours to a prompt: textured mesh (.glb, .obj, .ply), turntable, views."""
)
