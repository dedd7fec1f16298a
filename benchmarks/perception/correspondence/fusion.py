"""How well a prior and dense SIFT find landmarks together, on clean and on damaged images.

    OMP_NUM_THREADS=1 python benchmarks/perception/correspondence/fusion.py --out runs/fusion

Nothing is chosen on these pairs: the fusion is `SiftFusion()` as it is, and the baselines are
joined SIFT with dual softmax, as it is and behind a blur of a pixel, of which the better one counts
in each condition. Killed, the same command with --resume goes on, also to more pairs. OUT gets
pairs.jsonl, metrics.json, table.md and conditions.png.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from image_damage import CONDITIONS, blurred
from torch import Tensor
from tqdm import tqdm
from world_pairs import SemanticPair, draw_pairs

from scorefield.cli.command import Outcome, PriorCommand, check_folder, under_way
from scorefield.cli.loading import prior_of
from scorefield.cli.main import run_command
from scorefield.domains import Count, Whole
from scorefield.intervals import percentiles, resampled
from scorefield.perception.correspondence.dift import features
from scorefield.perception.correspondence.matching import DualSoftmax, NearestPixel, vectors_at
from scorefield.perception.correspondence.sift import SiftFusion, joined_sift
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.rows import Row, RowStore

PROGRAM = "python benchmarks/perception/correspondence/fusion.py"
ALPHAS = (0.1, 0.05)
FUSED, PRIOR = "fused", "prior"
BASELINES = ("SIFT", "SIFT, blurred")
_SIFT_TEMPERATURE = 0.01  # chosen in sift.py


@dataclass(frozen=True, kw_only=True)
class Fusion(PriorCommand):
    """Compare prior, SIFT and their fusion on pairs of the procedural world."""

    out: Path
    """Folder of the figures, new or empty unless resuming."""
    seed: Whole = 60
    """Seed of the pairs; what is tuned is tuned on others."""
    n: Count = 200
    """Clean pairs."""
    noisy: Count = 60
    """Pairs with noise, the first ones."""
    damaged: Count = 20
    """Pairs of each other kind of damage, the first ones."""
    resume: bool = False
    """Go on with the evaluation in --out, with the same settings."""

    def run(self) -> Outcome:
        """Evaluate and write."""
        check_folder(self.out, self.resume)
        prior = prior_of(self)
        store = RowStore(
            self.out / "pairs.jsonl", {"prior": self.prior, "seed": self.seed, "dtype": self.dtype},
            ["condition", "pair"],
        )  # fmt: skip
        with under_way():
            number = {"clean": self.n, "noise": self.noisy}
            found = {
                name: self._judged(prior, name, number.get(name, self.damaged), store)
                for name in CONDITIONS
            }
            metrics = {name: figures_of(rows) for name, rows in found.items()}
            (self.out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")
            table = table_of(metrics)
            (self.out / "table.md").write_text(table + "\n")
            plot(metrics, self.out / "conditions.png")
        return Outcome({"out": str(self.out), **metrics}, [table])

    def _judged(self, prior: FrozenPrior, name: str, n: int, store: RowStore) -> list[Row]:
        pairs = draw_pairs(self.seed, n, size=prior.image_size, flat=name == "style")
        return [
            store.once(
                lambda pair=pair, i=i: errors_of(prior, pair, CONDITIONS[name](pair.images, i)),  # type: ignore[misc]
                condition=name, pair=i,
            )
            for i, pair in enumerate(tqdm(pairs, desc=name, disable=self.quiet))
        ]  # fmt: skip


@torch.no_grad()
def errors_of(prior: FrozenPrior, pair: SemanticPair, images: Tensor) -> Row:
    """Distances to the landmarks over the object's size, by method."""
    size = (images.shape[2], images.shape[3])
    maps = features(prior, images)
    fusion, dual = SiftFusion(), DualSoftmax(_SIFT_TEMPERATURE)
    methods = {
        PRIOR: (maps, NearestPixel()),
        "SIFT": (joined_sift(images), dual),
        "SIFT, blurred": (joined_sift(blurred(images, sigma=1.0)), dual),
        FUSED: (fusion.join(maps, images), fusion.locate),
    }
    row = {}
    for name, (described, locate) in methods.items():
        source, target = described
        found, _ = locate(vectors_at(source, pair.source, size), target, size, source)
        share = (found - pair.target).norm(dim=1) / pair.size
        row[name] = [round(float(v), 4) for v in share]
    return row


def figures_of(rows: Sequence[Row]) -> dict[str, Any]:
    """PCK per point of each method with 95% of the bootstrap over pairs, and the fusion's ratios.

    ``ratio`` is of the fusion to the better of the baselines, by PCK@0.1; ``prior_ratio`` to the
    prior alone.
    """
    points = np.array([len(row[FUSED]) for row in rows])
    draws = resampled(len(rows))
    right = {
        (name, alpha): np.array([sum(v <= alpha for v in row[name]) for row in rows])
        for name in (PRIOR, *BASELINES, FUSED)
        for alpha in ALPHAS
    }
    drawn = {key: one[draws].sum(1) / points[draws].sum(1) for key, one in right.items()}
    share = {key: float(one.sum() / points.sum()) for key, one in right.items()}
    best = max(BASELINES, key=lambda name: share[name, 0.1])
    return {
        "pairs": len(rows),
        "points": int(points.sum()),
        "baseline": best,
        "pck": {
            name: {str(a): [share[name, a], *percentiles(drawn[name, a])] for a in ALPHAS}
            for name in (PRIOR, *BASELINES, FUSED)
        },
        **{
            which: {
                str(a): [
                    share[FUSED, a] / share[other, a],
                    *percentiles(drawn[FUSED, a] / drawn[other, a]),
                ]
                for a in ALPHAS
            }
            for which, other in (("ratio", best), ("prior_ratio", PRIOR))
        },
    }


def table_of(metrics: Mapping[str, Mapping[str, Any]]) -> str:
    """A row per condition, in Markdown."""
    names = (PRIOR, *BASELINES, FUSED)
    heads = " | ".join(names)
    lines = [
        f"| | pairs | {heads} | fused over the better SIFT @0.1 | @0.05 |",
        "|---|---|" + "---|" * (len(names) + 2),
    ]
    for condition, one in metrics.items():
        cells = " | ".join(
            " / ".join(f"{100 * one['pck'][name][str(a)][0]:.1f}" for a in ALPHAS) for name in names
        )
        ratios = " | ".join(
            "{:.2f} ({:.2f} to {:.2f})".format(*one["ratio"][str(a)]) for a in ALPHAS
        )
        lines.append(f"| {condition} | {one['pairs']} | {cells} | {ratios} |")
    return "\n".join(lines)


def plot(metrics: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """PCK@0.1 of every method in every condition, with 95% intervals."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 3.6), layout="constrained")
    axes = figure.subplots()
    colors = ("#7a7a7a", "#e0a030", "#a86a10", "#2a6fbb")
    for k, (name, color) in enumerate(zip((PRIOR, *BASELINES, FUSED), colors, strict=True)):
        values = 100 * np.array([one["pck"][name]["0.1"] for one in metrics.values()])
        at = np.arange(len(metrics)) + 0.2 * (k - 1.5)
        spread = np.abs(values[:, 1:] - values[:, :1]).T
        axes.bar(at, values[:, 0], 0.19, yerr=spread, label=name, color=color,
                 error_kw={"elinewidth": 0.8})  # fmt: skip
    names = [f"{name}\n{one['pairs']} pairs" for name, one in metrics.items()]
    axes.set_xticks(range(len(names)), names)
    axes.set(ylabel="PCK@0.1 per point, %", ylim=(0, 100))
    axes.legend(ncols=4, loc="upper center", fontsize=8, frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    sys.exit(run_command(lambda: Fusion, sys.argv[1:], PROGRAM))
