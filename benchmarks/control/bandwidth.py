"""The bandwidth of a perceptron's Fourier features, on tasks that nothing was tuned on.

    python benchmarks/control/bandwidth.py --out runs/bandwidth

trains a diffusion policy on 50 demonstrations of each of `small_tasks`, with the bandwidth that
is derived from the demonstrations ("derived"), with numbers, and without Fourier features
("none"), and lets it act. Killed, the same command goes on. OUT gets rows.jsonl and table.md:
success of 60 starts with the seeds from 100,000, and what was told while training, the errors of
the actions on demonstrations that were learnt from and on others. Demonstrations have the seeds
from 0.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from small_tasks import SMALL_TASKS

from scorefield.cli.policy.environments import demonstration_of, environment_of
from scorefield.control.data.episodes import Episodes
from scorefield.control.data.spaces import Horizons
from scorefield.control.data.windows import Windows
from scorefield.control.environments.collection import demonstrate
from scorefield.control.evaluation.rollout import roll_out
from scorefield.control.networks.settings import PerceptronSettings
from scorefield.control.policies.diffusion_policy import DiffusionPolicy, NetworkSettings
from scorefield.control.training.held_out import last_metrics
from scorefield.control.training.train import TrainingSettings, train_policy
from scorefield.files import write_text
from scorefield.intervals import wilson
from scorefield.rows import RowStore

DEMONSTRATIONS, HELD_OUT = 50, 5
JUDGED = range(100_000, 100_060)


def main(
    out: Path, tasks: Sequence[str], bandwidths: Sequence[str], seeds: int, steps: int
) -> None:
    """Trains and judges what is not there yet, and writes the table."""
    torch.set_num_threads(1)
    store = RowStore(out / "rows.jsonl", {}, ["task", "bandwidth", "seed", "steps"])
    for seed in range(seeds):
        for task in tasks:
            for bandwidth in bandwidths:
                key = {"task": task, "bandwidth": bandwidth, "seed": seed, "steps": steps}
                print(store.once(partial(judged, **key), **key), flush=True)
    write_text(out / "table.md", table(store.rows))
    print(table(store.rows))


def settings_of(bandwidth: str) -> PerceptronSettings:
    """Those of a perceptron with a bandwidth as the command line names it."""
    if bandwidth == "derived":
        return PerceptronSettings()
    if bandwidth == "none":
        return PerceptronSettings(frequencies=0)
    return PerceptronSettings(bandwidth=float(bandwidth))


def judged(task: str, bandwidth: str, seed: int, steps: int) -> dict[str, Any]:
    """What a policy with a bandwidth comes to on a task."""
    policy, found = judge(task, settings_of(bandwidth), seed, TrainingSettings(steps, 128, 1e-3))
    settings = policy.network_settings
    assert isinstance(settings, PerceptronSettings)
    return {**found, "found": settings.bandwidth}


def judge(
    task: str, network: NetworkSettings, seed: int, settings: TrainingSettings, horizon: int = 9
) -> tuple[DiffusionPolicy, dict[str, float]]:
    """A policy that is trained on 50 demonstrations of a task, and its success and errors."""
    if task in SMALL_TASKS:
        judging = shown = expert = SMALL_TASKS[task]()
    else:
        judging = environment_of(task)
        shown, expert = demonstration_of(task)
    episodes = Episodes.of(demonstrate(shown, expert, range(DEMONSTRATIONS + HELD_OUT)))
    horizons = Horizons(2, 8, horizon)
    share = (HELD_OUT + 0.5) / len(episodes)
    windows, held_out = Windows(episodes, horizons).split(share, seed)
    policy = DiffusionPolicy(judging.spaces, horizons, network, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        policy = train_policy(
            policy, windows, replace(settings, seed=seed), folder, held_out=held_out
        )
        metrics = last_metrics(Path(folder))
    rollouts = roll_out(policy, judging, JUDGED, seed=seed, batch=len(JUDGED))
    return policy, {"success": float(np.mean([one.success for one in rollouts])), **metrics}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A line per task and bandwidth, seeds pooled."""
    lines = [
        "| task | bandwidth | success (95 %) | by seed | error, held out | in training |",
        "|---|---|---|---|---|---|",
    ]
    for task, bandwidth in dict.fromkeys((row["task"], row["bandwidth"]) for row in rows):
        own = [row for row in rows if (row["task"], row["bandwidth"]) == (task, bandwidth)]
        told = f"{bandwidth}, {own[0]['found']:.2f}" if bandwidth == "derived" else bandwidth
        lines.append(f"| {task} | {told} | {outcome(own)} |")
    return "\n".join(lines) + "\n"


def outcome(rows: Sequence[dict[str, Any]]) -> str:
    """Success with its interval and by seed, and the two errors: the last cells of a line."""
    trials = len(rows) * len(JUDGED)
    successes = round(sum(row["success"] for row in rows) * len(JUDGED))
    low, high = wilson(successes, trials)
    by_seed = ", ".join(f"{row['success']:.2f}" for row in rows)
    errors = [np.mean([row[name] for row in rows]) for name in ("held_out_error", "training_error")]
    return (
        f"{successes / trials:.2f} ({low:.2f} to {high:.2f}) | {by_seed} "
        f"| {errors[0]:.2f} | {errors[1]:.2f}"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=list(SMALL_TASKS), choices=list(SMALL_TASKS))
    parser.add_argument("--bandwidths", nargs="+", default=["derived", "2.0", "0.5", "none"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=1000)
    given = parser.parse_args()
    main(given.out, given.tasks, given.bandwidths, given.seeds, given.steps)
