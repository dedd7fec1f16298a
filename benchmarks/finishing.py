"""CPU seconds of finishing a run (mesh, files, views, turntable), as a ratio to another checkout.

    OMP_NUM_THREADS=1 python benchmarks/finishing.py RUN OTHER

RUN is the folder of a finished `scorefield text-to-3d` with the default field, OTHER a checkout of
the version to compare with. Both finish its scene, whole processes in turn, three times each; the
least of each counts. What a process takes that only imports and loads is taken off. Then the parts
of this one, once, in a process of their own.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.torch import save_file

from scorefield.runs import RunFolder

HERE = Path(__file__).resolve().parents[1]
LOAD = """
import sys
from safetensors.torch import load_file
from scorefield.sds import RadianceField
from scorefield.sds.nerf.assets.export import export_scene
scene = RadianceField()
scene.load_state_dict(load_file(sys.argv[1]))
"""
FINISH = LOAD + "export_scene(scene, sys.argv[2])"

PARTS = (
    LOAD
    + """
import time
from scorefield.sds.nerf.assets import asset, export

spent = {}

def timed(module, name):
    inner = getattr(module, name)

    def outer(*given, **named):
        start = time.process_time()
        result = inner(*given, **named)
        spent[name] = spent.get(name, 0) + time.process_time() - start
        return result

    setattr(module, name, outer)

for name in ("extract_surface", "simplify", "unwrap", "seen_points", "bake"):
    timed(asset, name)
for name in ("export_mesh", "view_sheet", "asset_views", "save_gif"):
    timed(export, name)
export.export_scene(scene, sys.argv[2])
print(*(f"{name} {took:.2f}" for name, took in spent.items()), sep=", ")
"""
)


def cpu_seconds(checkout: Path, script: str, *words: str) -> float:
    """CPU time of a Python process that imports from a checkout."""
    environment = os.environ | {"PYTHONPATH": str(checkout / "src")}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", script, *words], env=environment, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print both and the ratio."""
    parser = argparse.ArgumentParser()
    parser.add_argument("run", type=Path)
    parser.add_argument("other", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    checkpoint = RunFolder(given.run, {}).load_checkpoint()
    if checkpoint is None:
        parser.error(f"{given.run} has no checkpoint")
    took: dict[str, list[float]] = {"this": [], "other": []}
    with tempfile.TemporaryDirectory() as folder:
        scene = str(Path(folder) / "scene.safetensors")
        save_file({k: v.contiguous() for k, v in checkpoint[1]["scene"].items()}, scene)
        for _ in range(given.repeats):
            for name, checkout in (("this", HERE), ("other", given.other)):
                load = cpu_seconds(checkout, LOAD, scene)
                whole = cpu_seconds(checkout, FINISH, scene, str(Path(folder) / name))
                took[name].append(whole - load)
        cpu_seconds(HERE, PARTS, scene, str(Path(folder) / "parts"))
    this, other = min(took["this"]), min(took["other"])
    print(f"finishing: this {this:.1f} s, other {other:.1f} s, ratio {this / other:.2f}")


if __name__ == "__main__":
    main()
