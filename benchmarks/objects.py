"""What a prior of `train-prior objects` shows, beside renders of real models, by two judges.

    pip install scorefield[judges,objects]
    scorefield train-prior objects --out runs/objects
    python benchmarks/objects.py runs/objects --out runs/objects-figures

Every noun of which models were held out is sampled from eight cameras around it ("a chair",
elevation 15, one noise for all eight), with seeds from 1,000. The judge is trained on the renders
of the models that were held out, so it has seen neither a sample nor a model that the prior has;
what it reads of renders of two training models of each noun from the same cameras is the bar.
`--second FOLDER` judges again by images of yours, in folders by noun; nouns without one are left
out of it.

The azimuth is read of views of the held-out models whose noun has a front: the one of the eight
under which the prior denoises a view best, at timestep 920 (chance: an eighth).

OUT gets metrics.json, and views.png: of each of twelve nouns a row of samples below one of renders.
"""

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from scorefield.cameras import Cameras
from scorefield.files import write_json
from scorefield.images import contact_sheet, save_image
from scorefield.priors import FrozenPrior, load_prior
from scorefield.priors.noise import keyed_noise
from scorefield.priors.sampling import sample
from scorefield.sds.label_judge import LabelJudge
from scorefield.training.furniture.catalogue import FurnitureModel, fetch_furniture, read_catalogue
from scorefield.training.furniture.models import load_model
from scorefield.training.furniture.nouns import FRONTED
from scorefield.training.furniture.recipe import common_nouns
from scorefield.training.furniture.views import Renderer, ViewSettings, draw_view

SEED = 1_000
AZIMUTHS = tuple(range(-180, 180, 45))
ELEVATION, DISTANCE = 15.0, 3.0
SHOWN = (
    *("chair", "armchair", "sofa", "bed", "desk", "car", "table", "cabinet", "shelf", "stool"),
    *("lamp", "scooter"),
)
"""Nouns of the picture, as far as they are common."""
TIMESTEP, DRAWS = 920, 4
"""Where azimuths are read, and how much noise is drawn for each."""

Images = Float[Tensor, "n 3 64 64"]


def draw(prior: FrozenPrior, noun: str, seed: int, steps: int) -> Images:
    """A noun from all azimuths, from the same noise."""
    count = len(AZIMUTHS)
    elevation, distance = [ELEVATION] * count, [DISTANCE] * count
    cameras = Cameras.at(AZIMUTHS, elevation, distance)
    guided = prior.guided([with_article(noun)] * count, cameras=cameras)
    latents = sample(guided, prior.latent_shape, items=[0] * count, steps=steps, seed=seed)
    return prior.decode(latents).clamp(0, 1)


def with_article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def renders(model: FurnitureModel) -> Images:
    """A model in its own colours from all azimuths, on white."""
    renderer, light = Renderer(load_model(model)), draw_view(np.random.default_rng(0))
    images = []
    for azimuth in AZIMUTHS:
        turn = np.radians(azimuth + 30)
        view: ViewSettings = replace(
            light,
            azimuth=azimuth,
            elevation=ELEVATION,
            distance=DISTANCE,
            color=None,
            light=np.array([0.7 * np.cos(turn), 0.7 * np.sin(turn), 0.714]),
            ambient=0.5,
            background=np.ones((2, 3)),
        )
        images.append(torch.from_numpy(renderer.render(view)).float().permute(2, 0, 1))
    return torch.stack(images)


@torch.no_grad()
def azimuths_read(prior: FrozenPrior, models: list[FurnitureModel]) -> dict[str, Any]:
    """Shares of views whose own azimuth of eight is told best, and errors by how far it is off."""
    count, level = len(AZIMUTHS), prior.schedule.at_timestep(torch.tensor(TIMESTEP))
    right: dict[str, list[float]] = {}
    errors = torch.zeros(count)
    for number, model in enumerate(tqdm(models, desc="azimuths")):
        x = prior.encode(renders(model))
        noise = keyed_noise(SEED, range(number * DRAWS, (number + 1) * DRAWS), 0, x.shape[1:])
        z = level.add_noise(x.repeat(DRAWS, 1, 1, 1), noise.repeat_interleave(count, 0))
        found = []
        for azimuth in AZIMUTHS:
            cameras = Cameras.at([azimuth] * len(z), [ELEVATION] * len(z), [DISTANCE] * len(z))
            told = prior.condition([with_article(model.noun)] * len(z), cameras=cameras)
            error = (told(z, level).x0 - x.repeat(DRAWS, 1, 1, 1)).square().mean((1, 2, 3))
            found.append(error.view(DRAWS, count).mean(0))
        table = torch.stack(found)  # (told, true)
        hits = table.argmin(0) == torch.arange(count)
        right.setdefault(model.noun, []).append(hits.float().mean().item())
        for off in range(count):
            errors[off] += table[(torch.arange(count) + off) % count, torch.arange(count)].mean()
    return {
        "views": count * len(models),
        "right": float(np.mean([share for shares in right.values() for share in shares])),
        "by_noun": {noun: float(np.mean(shares)) for noun, shares in right.items()},
        "errors_by_degrees_off": {
            f"{45 * off}": (errors[off] / len(models)).item() for off in range(count // 2 + 1)
        },
    }


def read(judge: LabelJudge, views: dict[str, Images]) -> dict[str, Any]:
    """Shares of images whose noun comes first, and among the first five; by noun, the first."""
    first, five, by_noun = [], [], {}
    for noun, images in views.items():
        if noun not in judge.labels:
            continue
        order = judge.scores(images).argsort(1, descending=True)
        hits = order == judge.labels.index(noun)
        first.append(hits[:, 0].float())
        five.append(hits[:, :5].any(1).float())
        by_noun[noun] = first[-1].mean().item()
    return {
        "nouns": len(first),
        "images": sum(len(one) for one in first),
        "top_1": torch.cat(first).mean().item(),
        "top_5": torch.cat(five).mean().item(),
        "by_noun": by_noun,
    }


def of_models(models: list[FurnitureModel], nouns: list[str]) -> dict[str, Images]:
    """Renders of two models of each noun."""
    found = {}
    for noun in tqdm(nouns, desc="renders"):
        chosen = [model for model in models if model.noun == noun][:2]
        if chosen:
            found[noun] = torch.cat([renders(model) for model in chosen])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("training", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prior", help="another prior than that of the training")
    parser.add_argument("--second", type=Path, help="images of a second judge, by noun")
    parser.add_argument("--steps", type=int, default=25)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    prior = load_prior(args.prior or args.training / "objects")
    models = read_catalogue(fetch_furniture(args.training))
    nouns = common_nouns(models)
    trained = [model for model in models if not model.held_out]
    real = of_models(trained, nouns)
    samples = {
        noun: draw(prior, noun, SEED + number, args.steps)
        for number, noun in enumerate(tqdm(nouns, desc="samples"))
    }
    shown = [noun for noun in SHOWN if noun in samples]
    sheet = torch.cat([torch.cat([real[noun][:8], samples[noun]]) for noun in shown])
    save_image(args.out / "views.png", contact_sheet(sheet, columns=len(AZIMUTHS)))
    fronted = [model for model in models if model.held_out and model.noun in FRONTED]
    held_out = torch.cat([renders(model) for model in fronted])
    error = (prior.decode(prior.encode(held_out)).clamp(0, 1) - held_out).square().mean((1, 2, 3))
    metrics: dict[str, Any] = {
        "codec_psnr": (-10 * error.log10()).mean().item(),
        "azimuths": azimuths_read(prior, fronted),
    }
    folders = {"held_out": args.training / "held-out"}
    if args.second is not None:
        folders["second"] = args.second
    for name, folder in folders.items():
        judge = LabelJudge.train(folder, progress=True)
        metrics[name] = {"samples": read(judge, samples), "renders": read(judge, real)}
    write_json(args.out / "metrics.json", metrics)
    print(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    main()
