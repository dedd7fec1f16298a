"""`scorefield nerfstudio dataset`: views of a scene for other tools."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scorefield.cli.command import Command, Outcome, check_folder, check_unused, under_way
from scorefield.domains import Count, Domain

Elevation = Annotated[float, Domain(-90.0, 90.0)]


@dataclass(frozen=True, kw_only=True)
class NerfstudioDataset(Command):
    """Write views of a text-to-3d run as images with a transforms.json; needs no nerfstudio."""

    run_folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Folder of a run of text-to-3d, finished or with a checkpoint."""
    out: Path
    """Folder of the data set, new or empty."""
    frames: Count = 36
    """Number of cameras in each ring around the object."""
    elevations: tuple[Elevation, ...] = (-10.0, 15.0, 50.0)
    """Elevation of each ring of cameras, degrees above the horizon."""
    size: Count = 256
    """Side of the images, pixels."""
    samples: Count = 128
    """Points looked at along a ray through the whole sphere."""

    def check(self) -> None:
        """Refuse what the data set cannot have."""
        check_unused(self, "nerfstudio dataset", "seed", "dtype", "unverified")
        if not self.elevations:
            raise ValueError("--elevations must be at least one angle, in degrees")
        check_folder(self.out)

    def run(self) -> Outcome:
        """Render the views and write them."""
        from scorefield.cli.loading import device_of
        from scorefield.sds.nerf.nerfstudio.dataset import rings, save_dataset
        from scorefield.sds.nerf.scene_distillation import load_scene

        device = device_of(self)
        scene, prompt = load_scene(self.run_folder)
        cameras = rings(self.frames, self.elevations)
        with under_way():
            written = save_dataset(
                scene.to(device), self.out, cameras, self.size, samples=self.samples,
                progress=not self.quiet,
            )  # fmt: skip
        metrics = {"out": str(self.out), "prompt": prompt, "images": len(cameras)}
        metrics["transforms"] = str(written)
        return Outcome(metrics, [f"wrote {written} and {len(cameras)} images"])
