"""A policy that sees by a frozen prior's features beside one whose ResNet begins from nothing.

    python benchmarks/control/image_encoders.py --out runs/image-encoders

trains diffusion policies on images of the two planar tasks, which show all that there is to know,
and lets them act, 120 episodes with the seeds from 100,000. All but the encoder is the same, and
nothing was tuned for either. Killed, the same command goes on. OUT gets rows.jsonl and table.md.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from statistics import mean
from typing import Any

import torch

from scorefield.cli.policy.environments import demonstration_of, environment_of
from scorefield.control.data.episodes import Episodes
from scorefield.control.data.spaces import Horizons
from scorefield.control.data.windows import Windows
from scorefield.control.environments.collection import demonstrate
from scorefield.control.environments.image_observations import ImageObservationWrapper
from scorefield.control.evaluation.rollout import roll_out
from scorefield.control.evaluation.scores import score
from scorefield.control.networks.settings import EncoderSettings, TransformerSettings
from scorefield.control.policies.diffusion_policy import DiffusionPolicy, DiffusionSettings
from scorefield.control.training.train import TrainingSettings, train_policy
from scorefield.files import write_text
from scorefield.intervals import wilson
from scorefield.rows import RowStore

SIZE = 48
TASKS = {"two-routes": (100, Horizons(2, 8, 9)), "avoiding": (240, Horizons(2, 4, 5))}
"""Demonstrations and horizons."""

ENCODERS = {
    "resnet": EncoderSettings(width=16, crop=1.0),
    "prior": EncoderSettings(prior="shapes", layer="up1", crop=1.0),
}
JUDGED = range(100_000, 100_120)


def main(
    out: Path, tasks: Sequence[str], encoders: Sequence[str], seeds: int, updates: int
) -> None:
    """Trains and judges what is not there yet, and writes the table."""
    torch.set_num_threads(1)
    store = RowStore(out / "rows.jsonl", {}, ["task", "encoder", "seed", "updates"])
    for seed in range(seeds):
        for task in tasks:
            for encoder in encoders:
                key = {"task": task, "encoder": encoder, "seed": seed, "updates": updates}
                print(store.once(partial(judged, **key), **key), flush=True)
    write_text(out / "table.md", table(store.rows))
    print(table(store.rows))


def judged(task: str, encoder: str, seed: int, updates: int) -> dict[str, Any]:
    """What a policy with an encoder comes to on a task."""
    began = time.process_time()
    number, horizons = TASKS[task]
    shown, expert = demonstration_of(task)
    episodes = demonstrate(ImageObservationWrapper(shown, SIZE), expert, range(number))
    judging = ImageObservationWrapper(environment_of(task), SIZE, state=False)
    policy = DiffusionPolicy(
        judging.spaces,
        horizons,
        TransformerSettings(causal=True),
        DiffusionSettings("x0"),
        ENCODERS[encoder],
        seed=seed,
    )
    with tempfile.TemporaryDirectory() as folder:
        windows = Windows(Episodes.of(episodes), horizons)
        settings = TrainingSettings(updates, 64, 1e-3, seed=seed)
        policy = train_policy(policy, windows, settings, folder, progress=True)
    trained = time.process_time() - began
    rollouts = roll_out(policy.eval(), judging, JUDGED, seed=seed)
    scores = score(rollouts, judging.spaces, judging.modes, horizons.n_action_steps)
    return {**scores.as_json(), "training_seconds": trained}


def table(rows: Sequence[dict[str, Any]]) -> str:
    """A line per task and encoder, seeds pooled."""
    lines = [
        "| task | sees by | success (95 %) | by seed | ways taken, by seed | roughness "
        "| training, CPU s |",
        "|---|---|---|---|---|---|---|",
    ]
    for task, encoder in dict.fromkeys((row["task"], row["encoder"]) for row in rows):
        own = [row for row in rows if (row["task"], row["encoder"]) == (task, encoder)]
        trials = len(own) * len(JUDGED)
        successes = round(sum(row["success"] for row in own) * len(JUDGED))
        low, high = wilson(successes, trials)
        lines.append(
            f"| {task} | {encoder} | {successes / trials:.3f} ({low:.3f} to {high:.3f}) "
            f"| {', '.join(format(row['success'], '.3f') for row in own)} "
            f"| {', '.join(str(row['coverage']) for row in own)} "
            f"| {mean(row['roughness'] for row in own):.4f} "
            f"| {mean(row['training_seconds'] for row in own):.0f} |"
        )
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--encoders", nargs="+", default=list(ENCODERS), choices=list(ENCODERS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--updates", type=int, default=2000)
    given = parser.parse_args()
    main(given.out, given.tasks, given.encoders, given.seeds, given.updates)
