"""Meshes before and after `--refine`, by the embedded judge and by how sharp they are.

    scorefield evaluate text-to-3d --prompts examples/prompts.txt --seed 11 --out runs/evaluation
    scorefield text-to-3d "a red chair" --seed 11 --refine 40 --resume \
        --out runs/evaluation/002-a-red-chair
    python benchmarks/refinement.py runs/evaluation/* --out runs/refinement

RUNS are folders of text-to-3d that hold `mesh.glb` and `refined/mesh.glb`; others are passed over.
Eight views of each at elevation 15, 128 pixels, unlit: the mean log-probabilities of the prompt's
category and colour, and the root mean square difference of neighbouring pixels of the mesh, in
[0, 1]. OUT gets metrics.json and sheet.png: four views before, and beside them four after.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import trimesh
from jaxtyping import Float
from torch import Tensor

from scorefield.cameras import orbit
from scorefield.files import parse_json, write_json
from scorefield.images import contact_sheet, save_image
from scorefield.sds.judges import parse_prompt
from scorefield.sds.nerf.assets.mesh_files import Y_UP
from scorefield.sds.nerf.assets.surface_views import asset_views
from scorefield.world.judge import Judge
from scorefield.world.objects import CATEGORIES, COLORS

VIEWS, ELEVATION, SIZE = 8, 15.0, 128


def views_of(path: Path) -> Float[Tensor, "8 3 128 128"]:
    mesh = trimesh.load_scene(path).to_mesh()
    mesh.apply_transform(np.linalg.inv(Y_UP))
    return asset_views(mesh, orbit(VIEWS, ELEVATION), SIZE)


def edges(images: Float[Tensor, "n 3 h w"]) -> float:
    """Root mean square difference of neighbours that are both of the mesh and not of the ground."""
    ground = images[:, :, :1, :1]
    mesh = ((images - ground).abs() > 1 / 255).any(1, keepdim=True)
    total, count = 0.0, 0.0
    for axis in (2, 3):
        both = mesh.narrow(axis, 1, SIZE - 1) & mesh.narrow(axis, 0, SIZE - 1)
        total += float((images.diff(dim=axis).square() * both).sum())
        count += 3 * float(both.sum())
    return (total / max(count, 1.0)) ** 0.5


def judged(judge: Judge, images: Float[Tensor, "n 3 h w"], prompt: str) -> dict[str, float]:
    category, color = parse_prompt(prompt)
    verdict = judge(images)
    found = {"category": verdict.category[:, list(CATEGORIES).index(category)].log().mean().item()}
    if color is not None:
        found["colour"] = verdict.color[:, list(COLORS).index(color)].log().mean().item()
    return found | {"edges": edges(images)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    judge, metrics, shown = Judge.load(), {}, []
    for run in sorted(args.runs):
        if not (run / "refined" / "mesh.glb").is_file():
            continue
        prompt = parse_json((run / "config.json").read_text("utf-8"))["prompt"]
        before, after = views_of(run / "mesh.glb"), views_of(run / "refined" / "mesh.glb")
        metrics[prompt] = {
            "before": judged(judge, before, prompt),
            "after": judged(judge, after, prompt),
        }
        shown += [before[::2], after[::2]]
        print(prompt, json.dumps(metrics[prompt]))
    write_json(args.out / "metrics.json", metrics)
    save_image(args.out / "sheet.png", contact_sheet(torch.cat(shown), columns=VIEWS))


if __name__ == "__main__":
    main()
