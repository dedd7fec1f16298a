"""Tables and curves of accuracy over network evaluations."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from scorefield.intervals import bootstrap, wilson
from scorefield.perception.classification.classify import Classification

_RESAMPLES = 10_000


def table_of(
    found: Sequence[tuple[str, str, Sequence[Classification]]],
    truth: Sequence[int],
    *,
    reference: str,
) -> list[dict[str, Any]]:
    """A row per way to classify, with what sampling the images leaves open.

    accuracy, low, high: the share of right labels and its 95% interval (Wilson).
    gain, gain_low, gain_high: accuracy less that of the reference on the same images, and its 95%
        interval (bootstrap over images).
    mcnemar: p value of as large an imbalance of the images that only one of the two gets right
        (exact, two-sided); 1 where they never differ.
    evaluations: mean per image.
    saving: evaluations of the reference over these.
    decided: share of images that came to a single label.

    Args:
        found: name, curve and results of each way, which may be of more images than `truth`.
        truth: the index of the right label.
        reference: the name of the way to compare with.
    """
    n = len(truth)
    right, columns = {}, {}
    for name, _, parts in found:
        best = np.concatenate([p.log_likelihoods.argmax(dim=1).numpy() for p in parts])[:n]
        spent = np.concatenate([p.evaluations.numpy() for p in parts])[:n]
        decided = np.concatenate([p.decided.numpy() for p in parts])[:n]
        right[name], columns[name] = best == np.asarray(truth), (spent, decided)
    table = []
    for name, curve, _ in found:
        spent, decided = columns[name]
        low, high = wilson(int(right[name].sum()), n)
        gain = right[name].astype(float) - right[reference]
        gain_low, gain_high = bootstrap(gain, resamples=_RESAMPLES)
        only, differ = int((gain > 0).sum()), int((gain != 0).sum())
        table.append(
            {
                "way": name,
                "curve": curve,
                "accuracy": float(right[name].mean()),
                "low": low,
                "high": high,
                "gain": float(gain.mean()),
                "gain_low": gain_low,
                "gain_high": gain_high,
                "mcnemar": float(stats.binomtest(only, differ).pvalue) if differ else 1.0,
                "evaluations": float(spent.mean()),
                "saving": float(columns[reference][0].mean() / spent.mean()),
                "decided": float(decided.mean()),
            }
        )
    return table


def markdown_table(table: Sequence[dict[str, Any]]) -> str:
    """The table for people."""
    lines = [
        "| way | accuracy (95%) | evaluations per image | saving | gain (95%) | McNemar p |"
        " came to one label |",
        "|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row['way']} | {row['accuracy']:.3f} ({row['low']:.3f} to {row['high']:.3f}) | "
        f"{row['evaluations']:.0f} | {row['saving']:.1f}x | {row['gain']:+.3f} "
        f"({row['gain_low']:+.3f} to {row['gain_high']:+.3f}) | {row['mcnemar']:.2f} | "
        f"{row['decided']:.0%} |"
        for row in table
    ]
    return "\n".join(lines) + "\n"


def draw_curve(table: Sequence[dict[str, Any]], title: str, path: Path) -> None:
    """Accuracy over network evaluations per image, a curve per kind, 95% intervals."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    figure, panel = plt.subplots(figsize=(6.5, 4.3), layout="constrained")
    for curve, marker in zip(dict.fromkeys(row["curve"] for row in table), "s^do", strict=False):
        own = [row for row in table if row["curve"] == curve]
        x, y, low, high = ([r[k] for r in own] for k in ("evaluations", "accuracy", "low", "high"))
        error = [np.subtract(y, low).clip(0), np.subtract(high, y).clip(0)]
        panel.errorbar(x, y, error, marker=marker, capsize=3, label=curve)
    panel.set(xscale="log", xlabel="network evaluations per image", ylabel="accuracy", title=title)
    panel.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    panel.xaxis.set_major_formatter(ScalarFormatter())
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.set_ylim(top=1.01)
    panel.grid(alpha=0.3, which="both")
    # below the axes: in them it would lie over an interval
    figure.legend(loc="outside lower center", ncols=3)
    figure.savefig(path, dpi=110)
    plt.close(figure)
