r"""The prior `icons` as a classifier of icon sets that it has never seen, beside two others.

    pip install scorefield[judges]
    scorefield train-prior icons --out runs/icons
    python benchmarks/perception/classification/icons_zero_shot.py runs/icons --out runs/zero-shot \
        --draws 6

Real icons of OpenMoji and EmojiOne 1 are told apart among the things that the prior draws, by
`classify` with the prompts "a THING" and so many evaluations per label on average; by the nearest
training icon in pixels (mean squared difference of 64 x 64, or its mirror image); and by a ridge
regression on ImageNet features (EfficientNet-lite0) of the training icons. OUT gets results.jsonl,
of each icon what each way calls it, and table.md; killed, the same command goes on.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[2]))
from icons import HELD_OUT, icons

from scorefield.files import write_text
from scorefield.intervals import wilson
from scorefield.perception import classify
from scorefield.perception.classification.classify import DRAWS
from scorefield.priors import FrozenPrior, load_prior
from scorefield.rows import RowStore
from scorefield.sds.label_judge import LabelJudge
from scorefield.training.icon_concepts import TRAINING_SETS

WAYS = ("prior", "nearest pixels", "ImageNet features")


def main(training: Path, out: Path, name: str, count: int | None, draws: int) -> None:
    """Classifies what is not classified yet, and writes the table."""
    prior = load_prior(name)
    labels = list(prior.concepts)
    pictures = training / "pictures"
    known, told = icons(pictures / "training", labels, tuple(TRAINING_SETS))
    judge = LabelJudge.train(pictures / "training", progress=True)
    settings = {"prior": name, "draws": draws}
    store = RowStore(out / "results.jsonl", settings, ["set", "number"])
    for family in HELD_OUT:
        images, which = icons(pictures / "held-out", labels, (family,))
        for number in range(len(images) if count is None else min(count, len(images))):
            key = {"set": family, "number": number}
            image, label = images[number], int(which[number])
            found = partial(called, prior, judge, labels, (known, told), image, label, draws)
            print(store.once(found, **key), flush=True)
    write_text(out / "table.md", table(store.rows))
    print(table(store.rows))


def called(
    prior: FrozenPrior,
    judge: LabelJudge,
    labels: list[str],
    known: tuple[Tensor, Tensor],
    image: Tensor,
    label: int,
    draws: int,
) -> dict[str, Any]:
    """What each way calls an icon, the likeliest first, and what the prior's answer cost."""
    prompts = {name: [f"{'an' if name[0] in 'aeiou' else 'a'} {name}"] for name in labels}
    found = classify(prior, image, prompts, budget=draws * len(labels))
    images, told = known
    pixels = torch.cat([images, images.flip(-1)]).sub(image).square().mean((1, 2, 3))
    nearest = labels[int(told.repeat(2)[pixels.argmin()])]
    read = judge.scores(image[None])[0]
    best = [judge.labels[i] for i in read.argsort(descending=True).tolist()]
    return {
        "label": labels[label],
        "prior": found.best[0],
        "nearest pixels": nearest,
        "ImageNet features": next(name for name in best if name in prompts),
        "evaluations": int(found.evaluations[0]),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Shares that are called right, by set."""
    lines = ["| set | icons | " + " | ".join(WAYS) + " | evaluations |", "|" + "---|" * 6]
    for family in dict.fromkeys(row["set"] for row in rows):
        own = [row for row in rows if row["set"] == family]
        cells = []
        for way in WAYS:
            right = sum(row[way] == row["label"] for row in own)
            low, high = wilson(right, len(own))
            cells.append(f"{right / len(own):.1%} ({low:.0%} to {high:.0%})")
        cost = sum(row["evaluations"] for row in own) / len(own)
        lines.append(f"| {family} | {len(own)} | {' | '.join(cells)} | {cost:.0f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("training", type=Path, help="folder of `scorefield train-prior icons`")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--prior", default="icons")
    parser.add_argument("--count", type=int, help="icons of each set; without it, all")
    parser.add_argument("--draws", type=int, default=DRAWS, help="evaluations per label")
    given = parser.parse_args()
    main(given.training, given.out, given.prior, given.count, given.draws)
