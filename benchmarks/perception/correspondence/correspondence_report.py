"""The figures of `evaluate_correspondence` as a table and as a plot."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np


def correspondence_table(metrics: Mapping[str, Any]) -> str:
    """The judged methods, a row each, and the photographs, in Markdown."""
    judged = metrics["judged"]
    names = list(next(iter(judged.values()))["intervals"])
    heads = " | ".join(name.replace("pck", "PCK") for name in names)
    lines = [
        f"{metrics['pairs']} pairs of seed {metrics['seed']}, {metrics['points']} landmarks",
        "",
        f"| | chosen on tuning pairs | {heads} |",
        "| --- | --- |" + " --- |" * len(names),
    ]
    for method, row in judged.items():
        cells = " | ".join(_with_interval(row[name], row["intervals"][name]) for name in names)
        lines.append(f"| {method} | {row['chosen']} | {cells} |")
    interval = metrics["ratio_interval"]
    within = "" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})"
    lines += [
        "",
        f"PCK@0.1 per point over that of {metrics['best_baseline']}, the best baseline: "
        f"{metrics['ratio']:.2f}{within}",
    ]
    for change, methods in metrics["photographs"].items():
        names = list(next(iter(methods.values())))
        heads = " | ".join(name.replace("pck", "PCK") for name in names)
        lines += ["", f"| photographs, {change} | {heads} |", "| --- |" + " --- |" * len(names)]
        for method, row in methods.items():
            cells = " | ".join(f"{100 * row[n]:.0f}" if n in row else "" for n in names)
            lines.append(f"| {method} | {cells} |")
    return "\n".join(lines)


def _with_interval(share: float, interval: tuple[float, float]) -> str:
    low, high = interval
    return f"{100 * share:.1f} ({100 * low:.0f} to {100 * high:.0f})"


def plot_sweep(metrics: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """PCK@0.1 of every layer and level of the prior, in the order the layers run."""
    from matplotlib.figure import Figure

    sweep = metrics["sweep"]
    values = np.array(list(sweep.values())) * 100
    figure = Figure(figsize=(1.2 + 0.42 * len(sweep), 3.8), layout="constrained")
    axes = figure.subplots()
    for i, log_snr in enumerate(metrics["log_snrs"]):
        axes.plot(values[:, i], marker="o", markersize=3, label=f"log-SNR {log_snr:g}")
    untrained = np.array(list(metrics["random_sweep"].values())) * 100
    axes.plot(untrained.max(1), color="grey", linestyle=":", label="untrained network")
    baselines = metrics["tuning_baselines"].items()
    for (name, share), style in zip(baselines, ("--", "-."), strict=False):
        axes.axhline(100 * share, color="black", linewidth=0.8, linestyle=style, label=name)
    axes.set_xticks(range(len(sweep)), list(sweep), rotation=60, ha="right", fontsize=7)
    axes.set(ylabel="PCK@0.1 per point, %", title=f"{metrics['prior']}, {metrics['tuning_pairs']} "
             "tuning pairs")  # fmt: skip
    axes.legend(fontsize=7)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
