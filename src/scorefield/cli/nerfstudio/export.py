"""`scorefield nerfstudio export`: a mesh of what nerfstudio trained."""

from dataclasses import dataclass, make_dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scorefield.cli.command import (
    Command,
    Outcome,
    check_folder,
    check_unused,
    options_of,
    under_way,
)
from scorefield.domains import Positive
from scorefield.sds.nerf.assets.settings import AssetSettings
from scorefield.sds.nerf.nerfstudio.installed import aside, check_nerfstudio

ASSET = options_of(AssetSettings)
"""The settings of the files."""


@dataclass(frozen=True, kw_only=True)
class _NerfstudioExport(Command):
    config: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="CONFIG")]
    """The config.yml of a run of nerfstudio; it can run code, so name one that you trust."""
    out: Path
    """Folder of the files, new or empty."""
    radius: Positive = 1.0
    """Radius of the sphere around the origin, in the run's units, that the mesh is taken of."""

    def check(self) -> None:
        """Refuse what cannot be, before anything is loaded."""
        check_unused(self, "nerfstudio export", "seed", "dtype", "unverified")
        check_folder(self.out)

    def run(self) -> Outcome:
        """Load the run's field, and write mesh, turntable and views."""
        check_nerfstudio()
        asset = AssetSettings(**{name: getattr(self, name) for name, _, _ in ASSET})
        from scorefield.cli.loading import device_of
        from scorefield.sds.nerf.assets.export import export_scene
        from scorefield.sds.nerf.assets.mesh import EmptySceneError
        from scorefield.sds.nerf.nerfstudio.training import load_nerfstudio_scene

        device = device_of(self)
        with aside(self.quiet):
            scene, prompt = load_nerfstudio_scene(self.config, self.radius)
        problem = None
        with under_way():
            try:
                written = export_scene(
                    scene.to(device), self.out, asset, title=prompt or "object",
                    progress=not self.quiet,
                )  # fmt: skip
            except EmptySceneError as error:
                problem, written = str(error), error.written
        metrics = {
            "out": str(self.out),
            "config": str(self.config),
            "prompt": prompt,
            "files": {name: str(path) for name, path in written.items()},
            "problem": problem,
        }
        return Outcome(metrics, [f"wrote {path}" for path in written.values()], problem)


NerfstudioExport = make_dataclass(
    "NerfstudioExport", ASSET, bases=(_NerfstudioExport,), frozen=True, kw_only=True
)
NerfstudioExport.__doc__ = (
    """Make a textured mesh of what nerfstudio trained, by this method or another."""
)
