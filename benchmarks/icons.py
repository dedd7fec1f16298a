"""What the prior `icons` draws, by a judge that has never seen a sample, and what its codec keeps.

    pip install scorefield[judges]
    scorefield train-prior icons --out runs/icons --dtype bfloat16
    python benchmarks/icons.py runs/icons --out runs/icons-figures
    python benchmarks/icons.py runs/icons --out runs/icons-scales --scales 2 3 5 7.5

Every concept is sampled twice, by its plain prompt ("a fox"), with seeds from 1,000. The judge is
trained on the training icons; what it reads of real icons of two sets that neither it nor the
prior has seen (OpenMoji, EmojiOne 1) is the bar. Copies: for each sample the nearest
training icon, by mean absolute difference of 16x16 pixels,
beside how near the held-out icons are to the training icons.
OUT gets metrics.json and sheets of the samples, one of each concept, in the order of the card.

The second command chooses the guidance scale of the card instead: every concept once at each scale,
with seeds from 5,000, which nothing else is judged by; metrics.json and a sheet for each scale.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from scorefield.files import write_json
from scorefield.images import contact_sheet, save_image
from scorefield.priors import FrozenPrior, load_prior
from scorefield.priors.sampling import sample
from scorefield.sds.label_judge import LabelJudge
from scorefield.training.icon_concepts import TRAINING_SETS

SEED, TUNING_SEED = 1_000, 5_000
HELD_OUT = ("openmoji", "emojione-v1")
Images = Float[Tensor, "n 3 64 64"]


def icons(folder: Path, labels: list[str], sets: tuple[str, ...]) -> tuple[Images, Tensor]:
    """Real icons of some sets on white, 80% of the image as training shows them, and labels."""
    images, which = [], []
    for number, label in enumerate(labels):
        for name in sets:
            path = folder / label.replace(" ", "_") / f"{name}.png"
            if path.exists():
                images.append(on_white(path))
                which.append(number)
    return torch.stack(images), torch.tensor(which)


def on_white(path: Path) -> Float[Tensor, "3 64 64"]:
    image = Image.open(path).convert("RGBA")
    image = image.crop(image.getbbox())
    side = round(max(image.size) / 0.9)
    white = Image.new("RGBA", (side, side), "white")
    place = ((side - image.width) // 2, (side - image.height) // 2)
    white.alpha_composite(image, place)
    small = white.convert("RGB").resize((64, 64), Image.Resampling.LANCZOS)
    return torch.from_numpy(np.array(small)).permute(2, 0, 1).float() / 255


def draw(
    prior: FrozenPrior, labels: list[str], n: int, steps: int, seed: int, scale: float | None = None
) -> tuple[Images, Tensor]:
    """n samples of each label, and the labels' numbers; None is the prior's own guidance scale."""
    images, which = [], []
    for number, label in enumerate(tqdm(labels)):
        article = "an" if label[0] in "aeiou" else "a"
        latents = sample(
            prior.guided([f"{article} {label}"] * n, scale),
            prior.latent_shape,
            n,
            steps=steps,
            seed=seed + number,
        )
        images.append(prior.decode(latents).clamp(0, 1))
        which += [number] * n
    return torch.cat(images), torch.tensor(which)


def choose_scale(
    prior: FrozenPrior,
    judge: LabelJudge,
    judge_labels: Tensor,
    labels: list[str],
    args: argparse.Namespace,
) -> dict[str, Any]:
    """What the judge reads at each guidance scale, on seeds that are kept for this choice."""
    found = {}
    for scale in args.scales:
        samples, which = draw(prior, labels, 1, args.steps, TUNING_SEED, scale)
        save_image(args.out / f"scale-{scale:g}.png", contact_sheet(samples, columns=11))
        found[f"{scale:g}"] = read(judge, samples, judge_labels[which])
    return found


def read(judge: LabelJudge, images: Images, which: Tensor) -> dict[str, float]:
    """Shares of images whose label comes first, and among the first five."""
    order = torch.cat([judge.scores(p) for p in images.split(32)]).argsort(1, descending=True)
    hits = order == which[:, None]
    return {
        "images": len(images),
        "top_1": hits[:, 0].float().mean().item(),
        "top_5": hits[:, :5].any(1).float().mean().item(),
    }


def nearest(images: Images, others: Images) -> dict[str, float]:
    """Quantiles over images of the distance to the nearest of the others, or its mirror image."""
    small = F.interpolate(images, (16, 16), mode="area").flatten(1)
    real = F.interpolate(others, (16, 16), mode="area")
    real = torch.cat([real, real.flip(-1)]).flatten(1)
    distance = torch.cdist(small, real, p=1).min(1).values / small.shape[1]
    low, middle = distance.quantile(torch.tensor([0.1, 0.5])).tolist()
    return {"p10": low, "median": middle}


def psnr(prior: FrozenPrior, images: Images) -> float:
    """Of decoded codes, in dB, over all pixels of all images."""
    with torch.no_grad():
        again = torch.cat([prior.decode(prior.encode(p)).clamp(0, 1) for p in images.split(32)])
    return float(-10 * (again - images).square().mean().log10())


def judged(
    prior: FrozenPrior,
    judge: LabelJudge,
    judge_labels: Tensor,
    labels: list[str],
    args: argparse.Namespace,
) -> dict[str, Any]:
    """The figures of the card."""
    real = args.training / "pictures"
    samples, which = draw(prior, labels, args.samples, args.steps, SEED)
    for i in range(args.samples):
        sheet = contact_sheet(samples[i :: args.samples], columns=11)
        save_image(args.out / f"samples-{i}.png", sheet)
    trained, _ = icons(real / "training", labels, tuple(TRAINING_SETS))
    held_out = {name: icons(real / "held-out", labels, (name,)) for name in HELD_OUT}
    return {
        "samples": read(judge, samples, judge_labels[which]),
        **{name: read(judge, p, judge_labels[w]) for name, (p, w) in held_out.items()},
        "codec_psnr": {name: psnr(prior, p) for name, (p, _) in held_out.items()},
        "nearest_training_icon": {
            "samples": nearest(samples, trained),
            **{name: nearest(p, trained) for name, (p, _) in held_out.items()},
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("training", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prior", type=Path, help="another prior than that of the training")
    parser.add_argument("--samples", type=int, default=2, help="of each concept")
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument(
        "--scales", type=float, nargs="+", help="choose the guidance scale of these"
    )
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    folder = args.prior or args.training / "icons"
    prior = load_prior(folder)
    labels = json.loads((folder / "scorefield.json").read_text())["concepts"]
    real = args.training / "pictures"
    judge = LabelJudge.train(real / "training", progress=True)
    judge_labels = torch.tensor([judge.labels.index(label) for label in labels])
    if args.scales:
        metrics = choose_scale(prior, judge, judge_labels, labels, args)
    else:
        metrics = judged(prior, judge, judge_labels, labels, args)
    write_json(args.out / "metrics.json", metrics)
    print(json.dumps(metrics, indent=2))


if __name__ == "__main__":
    main()
