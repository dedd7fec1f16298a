"""Speed of the radiance fields, as ratios to the default one in the same run.

    OMP_NUM_THREADS=1 python benchmarks/rendering.py

Forward and backward of one 64x64 view with 64 samples a ray, CPU seconds, best of five. The scene
is the initial blob, and then one whose cells are all occupied, so that nothing is skipped.
"""

import time

import torch

from scorefield.sds import RadianceField
from scorefield.sds.nerf.cameras import orbit
from scorefield.sds.nerf.fields import HashGrid, TriPlane, VoxelGrid
from scorefield.sds.nerf.lights import Shading


def seconds(scene: RadianceField, shading: Shading, repeats: int = 5) -> float:
    """CPU time of one forward and backward pass, the best of several."""
    cameras = orbit(1)
    best = float("inf")
    for _ in range(repeats):
        start = time.process_time()
        scene.render(cameras, 64, 64, samples=64, shading=shading).images.sum().backward()
        best = min(best, time.process_time() - start)
    return best


def main() -> None:
    """Print the table."""
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads")
    base: dict[tuple[str, Shading], float] = {}
    for field in (VoxelGrid(), TriPlane(), HashGrid()):
        blob, full = RadianceField(field), RadianceField(field)
        blob.update_occupancy()
        for name, scene in (("blob", blob), ("all occupied", full)):
            for shading in (Shading.ALBEDO, Shading.LAMBERTIAN):
                took = seconds(scene, shading)
                ratio = took / base.setdefault((name, shading), took)
                print(
                    f"{type(field).__name__:10} {name:13} {shading.value:11} "
                    f"{took:6.3f} s  {ratio:5.1f} x VoxelGrid"
                )


if __name__ == "__main__":
    main()
