"""How well dense SIFT finds the landmarks of the world, in its ways, beside a prior's preset.

    OMP_NUM_THREADS=1 python benchmarks/perception/correspondence/sift.py

The pairs are those of `landmarks.py`; which setting of a way is judged is chosen on its tuning
pairs.
"""

from baselines import tuned_baselines
from correspondence_evaluation import CorrespondenceSettings, features_of
from landmark_errors import accuracy_of, intervals_of, kept_errors, ratios_of
from world_pairs import draw_pairs

from scorefield.perception.correspondence.dift import dift_preset
from scorefield.perception.correspondence.metrics import resampled_accuracy
from scorefield.priors.loading import load_prior
from scorefield.rows import RowStore

settings = CorrespondenceSettings()
prior = load_prior("shapes")
parts = RowStore(None, {}, ["part"])
tuning = draw_pairs(settings.seed + 1, settings.tuning, turn=settings.turn)
judged = draw_pairs(settings.seed, settings.n, turn=settings.turn)
methods, tuned = tuned_baselines(parts, tuning)
methods["prior, preset"] = features_of(prior, dift_preset(prior))
errors = {name: kept_errors(parts, name, judged, *how) for name, (_, *how) in methods.items()}
for name, (chosen, *_) in methods.items():
    found, bounds = accuracy_of(judged, errors[name]), intervals_of(judged, errors[name])
    cells = "; ".join(
        f"{figure} {100 * found[figure]:.1f} ({100 * low:.0f} to {100 * high:.0f})"
        for figure, (low, high) in bounds.items()
    )
    print(f"{name} ({chosen}; tuning {100 * tuned.get(name, float('nan')):.1f}): {cells}")
best = max(tuned, key=lambda name: tuned[name])
sizes = [pair.size for pair in judged]
for alpha in (0.1, 0.05):
    ours, theirs = (
        resampled_accuracy(errors[name], sizes, alpha)["per_point"]
        for name in ("prior, preset", best)
    )
    low, high = ratios_of(ours, theirs) or (float("nan"), float("nan"))
    print(f"PCK@{alpha} of the prior over that of {best}: {low:.2f} to {high:.2f}")
