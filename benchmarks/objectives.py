"""The distillation objectives compared on the embedded prior: images, drawings and scenes.

    OMP_NUM_THREADS=1 python benchmarks/objectives.py --out objectives

Every objective first makes images of two tuning prompts in each of two settings; the better one
(right answers of the judge, then the smallest distance to renders) is taken for all that follows,
on other prompts and another seed: images (latents moved by themselves), drawings of 64 paths and
radiance fields, with the same number of updates each. Then SDS again with other schedules of
levels, and for scenes with and without HiFA's image loss, Perp-Neg and z-variance.

Each finished run is a file in the folder: stopped, the same command goes on, and `--made`,
`--objectives` and `--prompts` say what of it to make now. Writes table.md, table.json and sheets.
"""

import argparse
import json
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from scorefield.cameras import orbit, view_prompt
from scorefield.files import write_json, write_text
from scorefield.images import contact_sheet, load_image, save_image
from scorefield.priors import FrozenPrior, load_prior
from scorefield.runs.loop import Task
from scorefield.sds.image_distillation import ImageDistillation, ImageSettings
from scorefield.sds.judges import WorldJudge, parse_prompt
from scorefield.sds.levels import DreamTime, LevelRange, Levels
from scorefield.sds.nerf.evaluation import evaluate_scene
from scorefield.sds.nerf.scene_distillation import TextTo3D
from scorefield.sds.nerf.settings import TextTo3DSettings
from scorefield.sds.objective import SDS, Objective
from scorefield.sds.objectives import CSD, ISM, NFSD, SDI, SJC, VSD, Bridge, LowRank
from scorefield.sds.svg.distillation import TextToSvg
from scorefield.sds.svg.drawing import Rates
from scorefield.sds.svg.optimize import optimized
from scorefield.sds.svg.resvg import render_with_resvg
from scorefield.sds.svg.settings import Augmentation, TextToSvgSettings
from scorefield.sds.svg.styles import Icon
from scorefield.sds.vector import svg_text
from scorefield.world import CATEGORIES, COLORS, draw_scene, render
from scorefield.world.judge import Judge

TUNING_PROMPTS = ("a red mushroom", "a blue cup")
PROMPTS = ("a yellow duck", "a blue house", "a red chair")
TUNING_SEED, SEED = 100, 0
STEPS = 40
IMAGES = 2
"""Images of a judged prompt; of a tuning prompt there is one."""
MADE = ("image", "svg", "scene")

ANNEALED = LevelRange(0.02, 0.98, 0.3)
HIFA = LevelRange(0.25, 0.98, 0.25, width=0.0)
NEGATIVE = "a photo"
"""The prior's vocabulary has no words for bad images; this is a prompt without an object."""


@dataclass(frozen=True)
class Setting:
    """One way to run: an objective, its guidance scale, and what else is not the default."""

    objective: Objective
    scale: float = 7.5
    negative: str = ""
    levels: Levels = ANNEALED
    image: float = 0.0
    perp_neg: float = 0.0
    spread: float = 50.0


def _vsd(scale: float) -> Setting:
    # Ten times the usual rate, for a run of so few steps.
    return Setting(VSD(LowRank(learning_rate=1e-3)), scale)


def _sdi(scale: float) -> Setting:
    return Setting(SDI(-scale, steps=5), scale, levels=HIFA)


TRIED: dict[str, dict[str, Setting]] = {
    "sds": {f"scale {s}": Setting(SDS(), s) for s in (7.5, 20)},
    "sjc": {f"scale {s}": Setting(SJC(), s) for s in (7.5, 20)},
    "csd": {
        "q 0": Setting(CSD()),
        "q 0 to 1": Setting(CSD(0, 1), negative=NEGATIVE),
    },
    "nfsd": {f"scale {s}": Setting(NFSD(s)) for s in (3.5, 7.5)},
    "bridge": {f"scale {s}": Setting(Bridge(s), s, negative=NEGATIVE) for s in (7.5, 20)},
    "vsd": {f"scale {s}": _vsd(s) for s in (3.5, 7.5)},
    "ism": {f"scale {s}": Setting(ISM(), s) for s in (3.5, 7.5)},
    "sdi": {f"scale {s}": _sdi(s) for s in (3.5, 7.5)},
}
"""Two settings of each objective, around the published ones; 20 stands for the 100 of large priors,
as the embedded one's own scale is 3.5."""

VARIANTS: dict[str, dict[str, Any]] = {
    "sds, uniform levels": {"levels": LevelRange(0.02, 0.98)},
    "sds, HiFA's levels": {"levels": HIFA},
    "sds, DreamTime": {"levels": DreamTime()},
}
SCENE_VARIANTS: dict[str, dict[str, Any]] = {
    "sds, image loss 0.05": {"image": 0.05},
    "sds, Perp-Neg": {"perp_neg": 1.0},
    "sds, no z-variance": {"spread": 0.0},
}


class Evaluations:
    """Rows the prior's network is asked about; phi's own network is a copy and counts too."""

    def __init__(self, *networks: torch.nn.Module) -> None:
        self.rows = 0
        self.hooks = [network.register_forward_pre_hook(self._count) for network in networks]

    def _count(self, module: torch.nn.Module, inputs: Any) -> None:
        self.rows += len(inputs[0])

    def close(self) -> None:
        """Stop counting."""
        for hook in self.hooks:
            hook.remove()


def make_task(
    made: str, prior: FrozenPrior, prompt: str, setting: Setting, seed: int, images: int
) -> Task:
    """What is optimised: images, a drawing from a random start, or a scene."""
    common: dict[str, Any] = {
        "negative": setting.negative,
        "steps": STEPS,
        "scale": float(setting.scale),
        "objective": setting.objective,
        "levels": setting.levels,
        "clip": 1.0,
        "seed": seed,
    }
    if made == "image":
        prompt = view_prompt(prompt, "front view")
        return ImageDistillation(prior, ImageSettings(prompt, images=images, **common))
    if made == "svg":
        # A fraction of the usual updates, with about four times the rates; VectorFusion's views.
        style = Icon(rates=Rates(points=4.0, colours=0.03))
        settings = TextToSvgSettings(
            prompt, style=style, samples=0, respawn_every=20, augmentation=Augmentation(), **common
        )
        return TextToSvg(prior, settings)
    return TextTo3D(
        prior,
        TextTo3DSettings(
            prompt,
            learning_rate=0.03,
            image=setting.image,
            perp_neg=setting.perp_neg,
            spread=setting.spread,
            **common,
        ),
    )


@cache
def _renders(prompt: str, judge: Judge) -> tuple[Tensor, float]:
    """Features of 32 renders of the prompt's object, and their mean distance to the next."""
    category, color = parse_prompt(prompt)
    scenes = [draw_scene(5, i, category=category, color=color) for i in range(32)]
    features = judge.features(render(scenes).images)
    apart = torch.cdist(features, features).fill_diagonal_(torch.inf)
    return features, float(apart.min(1).values.mean())


def judged(pictures: Tensor, prompt: str, judge: Judge) -> dict[str, Any]:
    """What the judge says of images.

    sure: its probability of the right category and colour. distance: of its features to those of
    the nearest of 32 renders of the prompt, in units of the same between these; about 1 is a
    render.
    """
    category, color = parse_prompt(prompt)
    assert color is not None
    verdict = judge(pictures)
    features, unit = _renders(prompt, judge)
    nearest = torch.cdist(judge.features(pictures), features).min(1).values / unit
    categories, colors = list(CATEGORIES), list(COLORS)
    sure = verdict.category[:, categories.index(category)]
    sure = sure * verdict.color[:, colors.index(color)]
    return {
        "category": [one == category for one in verdict.categories],
        "color": [one == color for one in verdict.colors],
        "sure": sure.tolist(),
        "distance": nearest.tolist(),
        "diversity": diversity(pictures),
    }


def diversity(images: Tensor) -> float | None:
    """Mean over pairs of the root mean square difference of pixels; None for one image."""
    pairs = torch.pdist(images.flatten(1)) / images[0].numel() ** 0.5
    return float(pairs.mean()) if len(pairs) else None


@torch.no_grad()
def seen(task: Any, made: str, prompt: str, judge: Judge) -> tuple[Tensor, dict[str, Any]]:
    """The images of what was made, and the judge's answers."""
    if made == "image":
        pictures = task.images().cpu()
        return pictures, judged(pictures, prompt, judge)
    if made == "svg":
        text = svg_text(optimized(task.drawing.document))
        pictures = render_with_resvg(text, 256)[None]
        return pictures, judged(pictures, prompt, judge)
    cameras = orbit(8, 15.0)
    pictures = torch.cat(
        [task.scene.render(cameras[i : i + 1], 64, 64, samples=128).images for i in range(8)]
    )
    scores = evaluate_scene(task.scene, prompt, WorldJudge(judge), resolution=48)
    answers = judged(pictures, prompt, judge)
    del answers["diversity"]  # the views of one object
    return pictures[::2], answers | {"geometry": scores.geometry, "janus": scores.janus}


def run(
    out: Path, made: str, name: str, label: str, setting: Setting, prompt: str, seed: int,
    images: int, prior: FrozenPrior, judge: Judge,
) -> dict[str, Any]:  # fmt: skip
    """One run, judged; read if it is there."""
    words = re.sub(r"[^a-z0-9.]+", "-", f"{made} {name} {label} {prompt} {seed}".lower())
    path = out / "runs" / f"{words}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    task: Any = make_task(made, prior, prompt, setting, seed, images)
    networks = [prior.network]
    if task.phi is not None:
        networks.append(task.phi.condition(prompt).prior.network)
    counter, start, gradient = Evaluations(*networks), time.process_time(), 0.0
    for step in tqdm(range(STEPS), desc=words, leave=False):
        gradient += task.step(step)["gradient"] / STEPS
    counter.close()
    looks = images if made == "image" else task.settings.views
    seconds = time.process_time() - start
    pictures, answers = seen(task, made, prompt, judge)
    (out / "runs").mkdir(parents=True, exist_ok=True)
    save_image(path.with_suffix(".png"), torch.cat(list(pictures), dim=2))
    row = {
        "made": made, "name": name, "label": label, "prompt": prompt, "seed": seed,
        "gradient": gradient, "evaluations": counter.rows / looks / STEPS,
        "seconds": seconds / (images if made == "image" else 1),
        "image": path.with_suffix(".png").name, **answers,
    }  # fmt: skip
    write_json(path, row)
    return row


def tuned(rows: Sequence[dict[str, Any]]) -> str:
    """The label of the best of the tuning runs of one objective."""

    def score(label: str) -> tuple[float, float]:
        mine = [row for row in rows if row["label"] == label]
        right = [
            a and b for row in mine for a, b in zip(row["category"], row["color"], strict=True)
        ]
        far = [one for row in mine for one in row["distance"]]
        return sum(right) / len(right), -sum(far) / len(far)

    return max(dict.fromkeys(row["label"] for row in rows), key=score)


def mean(rows: Sequence[dict[str, Any]], key: str) -> float | None:
    """Of all answers of a kind."""
    found: list[float] = []
    for row in rows:
        value = row.get(key)
        found += value if isinstance(value, list) else [] if value is None else [value]
    return sum(found) / len(found) if found else None


COLUMNS = (
    "category", "color", "sure", "distance", "diversity", "geometry", "janus", "gradient",
    "evaluations", "seconds",
)  # fmt: skip


def table(rows: Sequence[dict[str, Any]], made: str, names: Sequence[str]) -> list[str]:
    """The lines of one table, and its images' order."""
    columns = [key for key in COLUMNS if any(mean([row], key) is not None for row in rows)]
    lines = [f"| {made} | setting | n | {' | '.join(columns)} |", "|---" * (len(columns) + 3) + "|"]
    for name in names:
        mine = [row for row in rows if row["name"] == name]
        if not mine:
            continue
        cells = [mean(mine, key) for key in columns]
        count = sum(len(row["sure"]) for row in mine)
        text = " | ".join("-" if cell is None else f"{cell:.3g}" for cell in cells)
        lines.append(f"| {name} | {mine[0]['label']} | {count} | {text} |")
    return lines


def sheet(out: Path, rows: Sequence[dict[str, Any]], made: str, names: Sequence[str]) -> None:
    """A strip of images for each objective, two strips side by side."""
    strips = []
    for name in names:
        mine = [load_image(out / "runs" / row["image"]) for row in rows if row["name"] == name]
        if mine:
            strips.append((name, torch.cat(mine, dim=2)))
    width = max((strip.shape[2] for _, strip in strips), default=0)
    padded = [torch.nn.functional.pad(s, (0, width - s.shape[2]), value=1.0) for _, s in strips]
    if padded:
        labels = [name for name, _ in strips]
        save_image(out / f"{made}.png", contact_sheet(torch.stack(padded), 2, labels, pad=8))


def main() -> None:
    """Tune, run, judge, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--made", nargs="*", choices=MADE, default=list(MADE))
    parser.add_argument("--objectives", nargs="*", choices=list(TRIED), default=list(TRIED))
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), help="the first so many")
    parser.add_argument("--variants", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument(
        "--tune", action=argparse.BooleanOptionalAction, default=True,
        help="else each has the first of its settings",
    )  # fmt: skip
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    prior, judge = load_prior("shapes", device=options.device), Judge.load()

    def make(made: str, name: str, label: str, setting: Setting, tuning: bool) -> list[Any]:
        prompts = TUNING_PROMPTS if tuning else PROMPTS[: options.prompts]
        seed, images = (TUNING_SEED, 1) if tuning else (SEED, IMAGES)
        return [
            run(options.out, made, name, label, setting, prompt, seed, images, prior, judge)
            for prompt in prompts
        ]

    chosen: dict[str, str] = {}
    tuning: list[dict[str, Any]] = []
    for name in dict.fromkeys([*options.objectives, *(["sds"] if options.variants else [])]):
        if not options.tune:
            chosen[name] = next(iter(TRIED[name]))
            continue
        tried = [
            row
            for label, setting in TRIED[name].items()
            for row in make("image", name, label, setting, tuning=True)
        ]
        chosen[name] = tuned(tried)
        tuning += [{**row, "name": f"{name}, {row['label']}"} for row in tried]
    rows: list[dict[str, Any]] = []
    for made in options.made:
        for name in options.objectives:
            rows += make(made, name, chosen[name], TRIED[name][chosen[name]], tuning=False)
        if options.variants:
            more = SCENE_VARIANTS if made == "scene" else {}
            for name, changes in {**VARIANTS, **more}.items():
                setting = replace(TRIED["sds"][chosen["sds"]], **changes)
                rows += make(made, name, chosen["sds"], setting, tuning=False)

    lines = []
    if tuning:
        lines += table(tuning, "tuning", list(dict.fromkeys(row["name"] for row in tuning)))
    for made in options.made:
        mine = [row for row in rows if row["made"] == made]
        names = list(dict.fromkeys(row["name"] for row in mine))
        lines += ["", *table(mine, made, names)]
        sheet(options.out, mine, made, names)
    write_text(options.out / "table.md", "\n".join(lines).rstrip() + "\n")
    found = {"steps": STEPS, "chosen": chosen, "tuning": tuning, "rows": rows}
    write_json(options.out / "table.json", found)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
