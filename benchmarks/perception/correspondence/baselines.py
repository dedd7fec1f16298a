"""Descriptors that know no images, and which of their settings is best on some pairs."""

from collections.abc import Sequence

from baseline_descriptors import DenseSift, JoinedSift, RgbPatches
from landmark_errors import FIGURE, Describe, accuracy_of, kept_errors
from world_pairs import SemanticPair

from scorefield.perception.correspondence.matching import DualSoftmax, Locate, NearestPixel
from scorefield.rows import RowStore

SIFT = "dense SIFT"


def baselines() -> dict[str, dict[str, tuple[Describe, Locate]]]:
    """Descriptors that know no images, by kind and by setting."""
    joined = JoinedSift()
    bins = ", ".join(map(str, joined.bin_sizes))
    return {
        SIFT: {f"bins of {side} pixels": (DenseSift(side), NearestPixel())
               for side in joined.bin_sizes},
        f"{SIFT}, joined": {f"bins of {bins} pixels": (joined, NearestPixel())},
        f"{SIFT}, joined, dual softmax": {
            f"bins of {bins} pixels, temperature {t:g}": (joined, DualSoftmax(t))
            for t in (0.01, 0.02, 0.05, 0.1)
        },
        "RGB patches": {f"{side} x {side} pixels": (RgbPatches(side), NearestPixel())
                        for side in (1, 5, 9, 15)},
    }  # fmt: skip


def tuned_baselines(
    parts: RowStore, tuning: Sequence[SemanticPair]
) -> tuple[dict[str, tuple[str, Describe, Locate]], dict[str, float]]:
    """The best setting of each kind of descriptor on the tuning pairs, and its PCK there."""
    methods, tuned = {}, {}
    for name, settings in baselines().items():
        shares = {
            what: accuracy_of(tuning, kept_errors(parts, f"tuning {what}", tuning, *setting))[
                FIGURE
            ]
            for what, setting in settings.items()
        }
        what = max(shares.items(), key=lambda item: item[1])[0]
        methods[name] = what, *settings[what]
        tuned[name] = shares[what]
    return methods, tuned
