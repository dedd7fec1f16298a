"""The U-Net and the transformer as they are by default, on tasks that nothing was tuned on.

    python benchmarks/control/networks.py --out runs/networks

trains diffusion policies on 50 demonstrations each of `small_tasks` and of the two planar tasks,
and lets them act, as benchmarks/control/bandwidth.py does with the perceptron. Killed, the same
command goes on. OUT gets rows.jsonl and table.md: success of 60 starts with the seeds from
100,000, the errors of the actions on demonstrations that were not learnt from and that were, and
the CPU seconds.
"""

import argparse
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from bandwidth import judge, outcome
from small_tasks import SMALL_TASKS

from scorefield.control.networks.settings import (
    PerceptronSettings,
    TransformerSettings,
    UNet1DSettings,
)
from scorefield.control.policies.diffusion_policy import NetworkSettings
from scorefield.control.training.train import TrainingSettings
from scorefield.files import write_text
from scorefield.rows import RowStore

NETWORKS: dict[str, tuple[NetworkSettings, int]] = {
    "unet": (UNet1DSettings(), 12),
    "unet-deep": (UNet1DSettings((32, 64, 128)), 12),
    "unet-narrow": (UNet1DSettings((16, 32), 32), 10),
    "transformer": (TransformerSettings(), 9),
    "transformer-narrow": (TransformerSettings(width=32, layers=2, heads=2), 9),
    "perceptron": (PerceptronSettings(), 9),
}
"""Networks and the actions that they plan, by name; the first of a kind is the default."""

TASKS = (*SMALL_TASKS, "two-routes", "avoiding")


def main(out: Path, tasks: Sequence[str], networks: Sequence[str], seeds: int, steps: int) -> None:
    """Trains and judges what is not there yet, and writes the table."""
    torch.set_num_threads(1)
    store = RowStore(out / "rows.jsonl", {}, ["task", "network", "seed", "steps"])
    for seed in range(seeds):
        for task in tasks:
            for network in networks:
                key = {"task": task, "network": network, "seed": seed, "steps": steps}
                print(store.once(partial(judged, **key), **key), flush=True)
    write_text(out / "table.md", table(store.rows))
    print(table(store.rows))


def judged(task: str, network: str, seed: int, steps: int) -> dict[str, float]:
    """What a policy with a network comes to on a task."""
    began = time.process_time()
    settings, horizon = NETWORKS[network]
    _, found = judge(task, settings, seed, TrainingSettings(steps, 64, 1e-3), horizon)
    return {**found, "cpu_seconds": time.process_time() - began}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A line per task and network, seeds pooled."""
    lines = [
        "| task | network | updates | success (95 %) | by seed | error, held out | in training |",
        "|---|---|---|---|---|---|---|",
    ]
    keys = ("task", "network", "steps")
    for key in sorted({tuple(row[name] for name in keys) for row in rows}):
        own = [row for row in rows if tuple(row[name] for name in keys) == key]
        lines.append(f"| {' | '.join(map(str, key))} | {outcome(own)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    default = ["unet", "transformer"]
    parser.add_argument("--networks", nargs="+", default=default, choices=list(NETWORKS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000)
    given = parser.parse_args()
    main(given.out, given.tasks, given.networks, given.seeds, given.steps)
