"""How well a prior finds the landmarks of the procedural world, beside simpler descriptors.

Everything that is chosen (layer, level, size of a patch) is chosen on tuning pairs, by PCK@0.1 per
point, for the baselines too. The figures are of other pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from baseline_descriptors import DenseSift, RgbPatches, random_prior
from jaxtyping import Float
from kept_parts import KeptParts
from photograph_evaluation import evaluate_photographs
from torch import Tensor
from tqdm import tqdm
from world_pairs import SemanticPair, draw_pairs

from scorefield.perception.correspondence.dift import DiftPreset, dift_preset, features
from scorefield.perception.correspondence.matching import NearestPixel, vectors_at
from scorefield.perception.correspondence.metrics import keypoint_accuracy, resampled_accuracy
from scorefield.priors.features.cache import prior_key
from scorefield.priors.features.network_cost import network_cost
from scorefield.priors.prior import FrozenPrior

Describe = Callable[[Tensor], Tensor]
"""Pictures (n, 3, h, w) to maps (n, channels, h, w)."""

ALPHAS = (0.1, 0.05)
_PAIRS_AT_ONCE = 4
_FIGURE = "pck@0.1 per point"


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


def landmark_errors(
    pairs: Sequence[SemanticPair], describe: Describe
) -> list[Float[Tensor, " points"]]:
    """The distances, in pixels, between the landmarks and where a descriptor finds them."""
    errors = []
    for first in range(0, len(pairs), _PAIRS_AT_ONCE):
        chunk = pairs[first : first + _PAIRS_AT_ONCE]
        maps = describe(torch.cat([pair.images for pair in chunk]))
        for pair, source, target in zip(chunk, maps[::2], maps[1::2], strict=True):
            size = (pair.images.shape[2], pair.images.shape[3])
            vectors = vectors_at(source, pair.source.to(source), size)
            found, _ = NearestPixel()(vectors, target, size)
            errors.append((found - pair.target.to(found)).norm(dim=1).cpu())
    return errors


def accuracy(pairs: Sequence[SemanticPair], describe: Describe) -> dict[str, float]:
    """PCK at both thresholds, per point and per image, as "pck@0.1 per point" and so on."""
    return _accuracy(pairs, landmark_errors(pairs, describe))


def _accuracy(pairs: Sequence[SemanticPair], errors: Sequence[Tensor]) -> dict[str, float]:
    sizes = [pair.size for pair in pairs]
    return {
        _name(alpha, how): value
        for alpha in ALPHAS
        for how, value in keypoint_accuracy(errors, sizes, alpha).items()
    }


def _intervals(
    pairs: Sequence[SemanticPair], errors: Sequence[Tensor]
) -> dict[str, tuple[float, float]]:
    """95% of what other pairs of the world would have given, by name of the figure."""
    sizes = [pair.size for pair in pairs]
    return {
        _name(alpha, how): _middle(values)
        for alpha in ALPHAS
        for how, values in resampled_accuracy(errors, sizes, alpha).items()
    }


def _name(alpha: float, how: str) -> str:
    return f"pck@{alpha} {how.replace('_', ' ')}"


def _middle(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, [2.5, 97.5])
    return round(float(low), 4), round(float(high), 4)


def _ratios(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float] | None:
    """95% of the ratios over draws in which the baseline finds anything; None if in none."""
    some = theirs > 0
    return _middle(ours[some] / theirs[some]) if some.any() else None


def _chunks(pairs: Sequence[SemanticPair]) -> list[tuple[int, Sequence[SemanticPair]]]:
    return [(i, pairs[i : i + _PAIRS_AT_ONCE]) for i in range(0, len(pairs), _PAIRS_AT_ONCE)]


def _kept_errors(
    parts: KeptParts, name: str, pairs: Sequence[SemanticPair], describe: Describe
) -> list[Tensor]:
    """`landmark_errors`, some pairs at a time, each kept when it is done."""
    return [
        torch.tensor(errors)
        for first, chunk in _chunks(pairs)
        for errors in parts(
            f"{name}, from pair {first}",
            lambda chunk=chunk: _lists(landmark_errors(chunk, describe)),  # type: ignore[misc]
        )
    ]


def _lists(errors: Sequence[Tensor]) -> list[list[float]]:
    return [[round(float(e), 4) for e in one] for one in errors]


def sweep(
    prior: FrozenPrior,
    pairs: Sequence[SemanticPair],
    log_snrs: Sequence[float],
    *,
    ensemble: int = 2,
    seed: int = 0,
    parts: KeptParts | None = None,
    progress: bool = False,
) -> dict[str, list[float]]:
    """PCK@0.1 per point of each layer, a figure per level; all layers in one pass.

    parts: where the parts that are done are kept.
    """
    parts = KeptParts(None, {}) if parts is None else parts
    layers = [layer.name for layer in network_cost(prior, inner=True).layers]
    sizes = [pair.size for pair in pairs]

    def errors_of(chunk: Sequence[SemanticPair], log_snr: float) -> dict[str, list[list[float]]]:
        images = torch.cat([pair.images for pair in chunk])
        level = prior.schedule.at_log_snr(log_snr)
        maps = prior.features(images, layers, level, ensemble=ensemble, seed=seed)
        return {
            name: _lists(landmark_errors(chunk, partial(_given, maps[name]))) for name in layers
        }

    table: dict[str, list[float]] = {name: [] for name in layers}
    for log_snr in tqdm(log_snrs, desc=f"sweep of {prior.name}", disable=not progress):
        found = [
            parts(
                f"sweep of {prior.name} at {log_snr:g}, from pair {first}",
                partial(errors_of, chunk, log_snr),
            )
            for first, chunk in _chunks(pairs)
        ]
        for name in layers:
            errors = [torch.tensor(one) for part in found for one in part[name]]
            table[name].append(keypoint_accuracy(errors, sizes, 0.1)["per_point"])
    return table


def _best(table: Mapping[str, Sequence[float]], log_snrs: Sequence[float]) -> tuple[str, float]:
    _, name, i = max((v, name, i) for name, row in table.items() for i, v in enumerate(row))
    return name, log_snrs[i]


def _features(prior: FrozenPrior, preset: DiftPreset) -> tuple[str, Describe]:
    level = float(preset.level(prior.schedule).log_snr)
    return (
        f"{' + '.join(preset.layers)}, log-SNR {level:.2g}",
        lambda images: features(prior, images, preset=preset),
    )


def _tuned_baselines(
    parts: KeptParts, tuning: Sequence[SemanticPair]
) -> tuple[dict[str, tuple[str, Describe]], dict[str, float]]:
    """The best of each kind of descriptor on the tuning pairs, and its PCK there."""
    candidates: dict[str, dict[str, Describe]] = {
        "dense SIFT": {f"bins of {side} pixels": DenseSift(side) for side in (2, 4, 6, 8, 12)},
        "RGB patches": {f"{side} x {side} pixels": RgbPatches(side) for side in (1, 5, 9, 15)},
    }
    methods, tuned = {}, {}
    for name, descriptors in candidates.items():
        shares = {
            what: _accuracy(tuning, _kept_errors(parts, f"tuning {what}", tuning, d))[_FIGURE]
            for what, d in descriptors.items()
        }
        what = max(shares.items(), key=lambda item: item[1])[0]
        methods[name] = what, descriptors[what]
        tuned[name] = shares[what]
    return methods, tuned


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
        raise ValueError(f"{prior.name} is a prior of videos; give one of pictures")
    if settings.seed < 2:
        raise ValueError(
            f"seeds 0 and 1 drew the trainings' pictures; give a seed of 2 or more, not "
            f"{settings.seed}"
        )
    preset = dift_preset(prior)
    parts = KeptParts(
        None if folder is None else folder / "parts.jsonl",
        {"weights": prior_key(prior), "preset": asdict(preset), **asdict(settings)},
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

    def alone(of: FrozenPrior, layer: str, log_snr: float) -> tuple[str, Describe]:
        return _features(of, DiftPreset((layer,), log_snr=log_snr))

    methods = {
        "prior, best layer of the sweep": alone(prior, *_best(ours, log_snrs)),
        "prior, preset": _features(prior, preset),
        "untrained network, best layer": alone(untrained, *_best(theirs, middle)),
        "untrained network, preset": _features(untrained, preset),
    }
    if preset.shifts != (0,):
        plain = replace(preset, shifts=(0,), ensemble=preset.draws)
        methods["prior, preset without shifts"] = _features(prior, plain)
    baselines, tuned = _tuned_baselines(parts, tuning)
    methods |= baselines
    errors = {
        name: _kept_errors(parts, f"judged {name}", judged, describe)
        for name, (_, describe) in tqdm(methods.items(), desc="judging", disable=not progress)
    }
    errors["the same place"] = [(pair.source - pair.target).norm(dim=1) for pair in judged]
    table: dict[str, dict[str, Any]] = {
        name: {
            "chosen": methods[name][0] if name in methods else "",
            **_accuracy(judged, found),
            "intervals": _intervals(judged, found),
        }
        for name, found in errors.items()
    }
    rivals = [name for name in table if not name.startswith("prior")]
    best = max(rivals, key=lambda name: table[name][_FIGURE])
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
        "ratio": table["prior, preset"][_FIGURE] / table[best][_FIGURE],
        "ratio_interval": _ratios(*drawn),
        "photographs": photographs,
    }
