"""How well a prior finds the landmarks of the procedural world, beside simpler descriptors.

Everything that is chosen (layer, level, size of a patch) is chosen on tuning pairs, by PCK@0.1 per
point, for the baselines too. The figures are of other pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from baseline_descriptors import random_prior
from baselines import tuned_baselines
from landmark_errors import (
    FIGURE,
    Describe,
    accuracy_of,
    chunks_of,
    intervals_of,
    kept_errors,
    landmark_errors,
    lists_of,
    part_of,
    ratios_of,
)
from photograph_evaluation import evaluate_photographs
from torch import Tensor
from tqdm import tqdm
from world_pairs import SemanticPair, draw_pairs

from scorefield.perception.correspondence.dift import DiftPreset, dift_preset, features
from scorefield.perception.correspondence.matching import Locate, NearestPixel
from scorefield.perception.correspondence.metrics import keypoint_accuracy, resampled_accuracy
from scorefield.priors.features.extraction import extract_features
from scorefield.priors.features.network_cost import network_cost
from scorefield.priors.frozen_prior import FrozenPrior, prior_digest
from scorefield.rows import RowStore


@dataclass(frozen=True)
class CorrespondenceSettings:
    """What the evaluation spends.

    n: pairs that are judged.
    tuning: pairs on which layers, levels and patches are chosen.
    photographs: pairs of photographs for each kind of change; 0 for none.
    log_snrs: the levels of the sweep.
    ensemble: draws of noise in the sweep; the judged features have the preset's.
    turn: how far apart the two cameras are in azimuth, at most, degrees.
    seed: the judged pairs'; the tuning pairs are of seed + 1, and 0 and 1 are the trainings'.
    """

    n: int = 60
    tuning: int = 36
    photographs: int = 4
    log_snrs: tuple[float, ...] = (-1.0, 0.5, 2.0, 4.0)
    ensemble: int = 2
    turn: float = 45.0
    seed: int = 60


def _given(maps: Tensor, _: Tensor) -> Tensor:
    """Maps that are there already, as a descriptor."""
    return maps


def sweep(
    prior: FrozenPrior,
    pairs: Sequence[SemanticPair],
    log_snrs: Sequence[float],
    *,
    ensemble: int = 2,
    seed: int = 0,
    parts: RowStore | None = None,
    progress: bool = False,
) -> dict[str, list[float]]:
    """PCK@0.1 per point of each layer, a figure per level; all layers in one pass.

    parts: where the parts that are done are kept.
    """
    parts = RowStore(None, {}, ["part"]) if parts is None else parts
    layers = [layer.name for layer in network_cost(prior, inner=True).layers]
    sizes = [pair.size for pair in pairs]

    def errors_of(chunk: Sequence[SemanticPair], log_snr: float) -> dict[str, list[list[float]]]:
        images = torch.cat([pair.images for pair in chunk])
        level = prior.schedule.at_log_snr(log_snr)
        maps = extract_features(prior, images, layers, level, ensemble=ensemble, seed=seed)
        return {
            name: lists_of(landmark_errors(chunk, partial(_given, maps[name]))) for name in layers
        }

    table: dict[str, list[float]] = {name: [] for name in layers}
    for log_snr in tqdm(log_snrs, desc=f"sweep of {prior.name}", disable=not progress):
        found = [
            part_of(
                parts,
                f"sweep of {prior.name} at {log_snr:g}, from pair {first}",
                partial(errors_of, chunk, log_snr),
            )
            for first, chunk in chunks_of(pairs)
        ]
        for name in layers:
            errors = [torch.tensor(one) for part in found for one in part[name]]
            table[name].append(keypoint_accuracy(errors, sizes, 0.1)["per_point"])
    return table


def _best(table: Mapping[str, Sequence[float]], log_snrs: Sequence[float]) -> tuple[str, float]:
    _, name, i = max((v, name, i) for name, row in table.items() for i, v in enumerate(row))
    return name, log_snrs[i]


def features_of(prior: FrozenPrior, preset: DiftPreset) -> tuple[str, Describe, Locate]:
    level = float(preset.level(prior.schedule).log_snr)
    return (
        f"{' + '.join(preset.layers)}, log-SNR {level:.2g}",
        lambda images: features(prior, images, preset=preset),
        NearestPixel(),
    )


def evaluate_correspondence(
    prior: FrozenPrior,
    settings: CorrespondenceSettings | None = None,
    *,
    folder: Path | None = None,
    progress: bool = False,
) -> dict[str, Any]:
    """Sweep, choose, judge: JSON values.

    ``sweep`` is PCK@0.1 per point by layer, a figure per level of ``log_snrs``, on the tuning
    pairs, ``random_sweep`` the same of an untrained network at the middle level. ``judged`` has for
    each method what was chosen, its PCK on the judged pairs and its ``intervals``; ``ratio`` is the
    prior's PCK@0.1 per point over the best baseline's. ``photographs`` is what
    `evaluate_photographs` returns. Intervals hold 95% of the bootstrap over pairs.

    folder: parts that are done are kept there in parts.jsonl, and not computed again.

    Raises:
        ValueError: a prior of videos, seeds that the embedded priors were trained on, or a folder
            of other settings.
    """
    settings = CorrespondenceSettings() if settings is None else settings
    if prior.is_video:
        raise ValueError(f"{prior.name} is a prior of videos; give one of images")
    if settings.seed < 2:
        raise ValueError(
            f"seeds 0 and 1 drew the trainings' images; give a seed of 2 or more, not "
            f"{settings.seed}"
        )
    preset = dift_preset(prior)
    parts = RowStore(
        None if folder is None else folder / "parts.jsonl",
        {"weights": prior_digest(prior), "preset": asdict(preset), **asdict(settings)},
        ["part"],
    )
    size = prior.image_size
    tuning = draw_pairs(settings.seed + 1, settings.tuning, turn=settings.turn, size=size)
    judged = draw_pairs(settings.seed, settings.n, turn=settings.turn, size=size)
    log_snrs = settings.log_snrs
    untrained = random_prior(prior)
    options: dict[str, Any] = {
        "ensemble": settings.ensemble, "parts": parts, "progress": progress
    }  # fmt: skip
    ours = sweep(prior, tuning, log_snrs, **options)
    # the levels differ little to a network that has not learnt what noise is
    middle = log_snrs[len(log_snrs) // 2 :][:1]
    theirs = sweep(untrained, tuning, middle, **options)

    def alone(of: FrozenPrior, layer: str, log_snr: float) -> tuple[str, Describe, Locate]:
        return features_of(of, DiftPreset((layer,), log_snr=log_snr))

    methods = {
        "prior, best layer of the sweep": alone(prior, *_best(ours, log_snrs)),
        "prior, preset": features_of(prior, preset),
        "untrained network, best layer": alone(untrained, *_best(theirs, middle)),
        "untrained network, preset": features_of(untrained, preset),
    }
    if preset.shifts != (0,):
        plain = replace(preset, shifts=(0,), ensemble=preset.draws)
        methods["prior, preset without shifts"] = features_of(prior, plain)
    others, tuned = tuned_baselines(parts, tuning)
    methods |= others
    errors = {
        name: kept_errors(parts, f"judged {name}", judged, describe, find)
        for name, (_, describe, find) in tqdm(methods.items(), desc="judging", disable=not progress)
    }
    errors["the same place"] = [(pair.source - pair.target).norm(dim=1) for pair in judged]
    table: dict[str, dict[str, Any]] = {
        name: {
            "chosen": methods[name][0] if name in methods else "",
            **accuracy_of(judged, found),
            "intervals": intervals_of(judged, found),
        }
        for name, found in errors.items()
    }
    best = max(tuned, key=lambda name: tuned[name])
    drawn = [
        resampled_accuracy(errors[name], [pair.size for pair in judged], 0.1)["per_point"]
        for name in ("prior, preset", best)
    ]
    photographs = evaluate_photographs(
        {"prior, preset": methods["prior, preset"][1],
         "untrained network, preset": methods["untrained network, preset"][1]},
        n=settings.photographs, seed=settings.seed, side=size, parts=parts, progress=progress,
    )  # fmt: skip
    return {
        "prior": prior.name,
        "pairs": len(judged),
        "points": sum(len(pair.source) for pair in judged),
        "tuning_pairs": len(tuning),
        "seed": settings.seed,
        "log_snrs": list(log_snrs),
        "sweep": ours,
        "random_sweep": theirs,
        "tuning_baselines": tuned,
        "judged": table,
        "best_baseline": best,
        "ratio": table["prior, preset"][FIGURE] / table[best][FIGURE],
        "ratio_interval": ratios_of(*drawn),
        "photographs": photographs,
    }
