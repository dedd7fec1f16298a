"""Speed of the radiance fields, as ratios to the default one, and of lit renders to unlit ones.

    OMP_NUM_THREADS=1 python benchmarks/rendering.py
    OMP_NUM_THREADS=1 python benchmarks/rendering.py --size 64 --fields voxels hash

Forward and backward of one view with 64 samples a ray, in CPU seconds. All fields, lit and unlit,
take turns in every round, and a ratio is the median over the rounds of that within a round. The
scene is the initial blob, and then one whose cells are all occupied, so that nothing is skipped.
"""

import argparse
import statistics
import time

import torch

from scorefield.cameras import orbit
from scorefield.sds import RadianceField
from scorefield.sds.nerf.fields import TriPlane, VoxelGrid
from scorefield.sds.nerf.hash_grid import HashGrid
from scorefield.sds.nerf.lights import Shading

FIELDS = {"voxels": VoxelGrid, "triplane": TriPlane, "hash": HashGrid}


def seconds(scene: RadianceField, size: int, shading: Shading) -> float:
    """CPU time of one forward and backward pass."""
    start = time.process_time()
    rendered = scene.render(orbit(1), size, size, samples=64, shading=shading)
    rendered.images.sum().backward()
    return time.process_time() - start


def ratio(took: list[float], other: list[float]) -> float:
    """The median over the rounds."""
    return statistics.median(a / b for a, b in zip(took, other, strict=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fields", nargs="+", choices=FIELDS, default=list(FIELDS))
    given = parser.parse_args()
    names = list(dict.fromkeys(["voxels", *given.fields]))
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {given.size} pixels")
    for occupied in ("blob", "all occupied"):
        scenes = {name: RadianceField(FIELDS[name]()) for name in names}
        if occupied == "blob":
            for scene in scenes.values():
                scene.update_occupancy()
        took: dict[tuple[str, Shading], list[float]] = {}
        for number in range(given.rounds + 1):
            for shading in (Shading.ALBEDO, Shading.LAMBERTIAN):
                for name, scene in scenes.items():
                    spent = seconds(scene, given.size, shading)
                    if number:  # the first round warms up
                        took.setdefault((name, shading), []).append(spent)
        for (name, shading), spent_each in took.items():
            print(
                f"{name:10} {occupied:13} {shading.value:11} "
                f"{statistics.median(spent_each):6.3f} s  "
                f"{ratio(spent_each, took['voxels', shading]):5.2f} x voxels  "
                f"{ratio(spent_each, took[name, Shading.ALBEDO]):5.2f} x unlit",
                flush=True,
            )


if __name__ == "__main__":
    main()
