"""Diffusion against its baselines: the same demonstrations, backbone, updates and loop for all.

    python benchmarks/control/compare_policies.py two-routes --out runs/control
    python benchmarks/control/compare_policies.py avoiding --out runs/control
    python benchmarks/control/compare_policies.py metaworld/push-v3 --out runs/control
    python benchmarks/control/compare_policies.py push-t --out runs/control

Each command can be killed and given again: what is trained and judged is not done twice, and
half-trained policies go on. OUT/TASK gets table.md, results.json and, for the planar tasks,
paths.png. The demonstrations have the seeds from 0, the policies 0, 1, 2, the episodes they are
judged by those from 100,000. Everything was tuned on others: demonstrations from 1,000,000, policy
100, episodes from 2,000,000.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import torch
from baseline_policy import BASELINES, BaselinePolicy, load_baseline

from scorefield.cli.policy.environments import PLANAR, demonstration_of, environment_of
from scorefield.control.data.episodes import Episodes
from scorefield.control.data.spaces import Horizons
from scorefield.control.data.windows import Windows
from scorefield.control.environments.collection import collect, demonstrate
from scorefield.control.environments.environment import Environment
from scorefield.control.evaluation.drawing import draw_paths
from scorefield.control.evaluation.rollout import latency, roll_out
from scorefield.control.evaluation.scores import score
from scorefield.control.networks.settings import PerceptronSettings
from scorefield.control.policies.diffusion_policy import DiffusionPolicy, DiffusionSettings
from scorefield.control.policies.loading import load_policy
from scorefield.control.policies.policy import NetworkPolicy
from scorefield.control.training.train import train_policy
from scorefield.files import write_json, write_text
from scorefield.intervals import wilson
from scorefield.rows import Row, RowStore
from scorefield.training.settings import TrainingSettings

JUDGED_FROM = 100_000
METHODS = ("diffusion", *BASELINES)


@dataclass(frozen=True)
class Protocol:
    """What is the same for every method of a task."""

    demonstrations: int
    horizons: Horizons
    network: PerceptronSettings
    steps: int
    episodes: int
    batch_size: int = 256
    learning_rate: float = 1e-3


# The bandwidth that the diffusion policy derives from the demonstrations of both planar tasks.
_SMALL, _WIDE = (PerceptronSettings(width, bandwidth=2.0) for width in (128, 256))
_PLAIN = PerceptronSettings(width=256, frequencies=0)
TWO_ROUTES = Protocol(100, Horizons(2, 8, 9), _SMALL, 2000, 240)
AVOIDING = Protocol(480, Horizons(2, 4, 5), _WIDE, 5000, 240)
META_WORLD = Protocol(50, Horizons(2, 8, 9), _PLAIN, 3000, 50)
PUSH_T = Protocol(800, Horizons(2, 8, 9), _PLAIN, 16000, 50)


def protocol_of(task: str) -> Protocol:
    """The one of a task."""
    own = {"two-routes": TWO_ROUTES, "avoiding": AVOIDING, "push-t": PUSH_T}
    return own.get(task, META_WORLD)


def main(task: str, out: Path, methods: Sequence[str], seeds: int) -> None:
    """Train, judge, and write the table."""
    torch.set_num_threads(1)
    protocol, environment = protocol_of(task), environment_of(task)
    folder = out / task.replace("/", "-")
    collect(*demonstration_of(task), folder / "demonstrations", protocol.demonstrations)
    windows = Windows(Episodes.open(folder / "demonstrations"), protocol.horizons)
    store = RowStore(folder / "rows.jsonl", asdict(protocol), ["policy"])
    for seed in range(seeds):
        for method in methods:
            name = f"{method}-{seed}"

            def trained(method: str = method, seed: int = seed, name: str = name) -> Row:
                run = folder / name
                policy, seconds = train(method, seed, environment, windows, protocol, run)
                result = judge(policy, environment, protocol, seed)
                return {**result, "training_seconds": seconds}

            row = store.once(trained, policy=name)
            print(f"{task} {method} {seed}: success {row['success']:.3f}", flush=True)
    # With what earlier commands have done for other methods and seeds.
    results = {row["policy"]: row for row in sorted(store.rows, key=lambda row: row["policy"])}
    if task not in PLANAR:
        results["expert"] = expert(task, protocol)
    if task == "push-t":
        results["nothing"] = nothing(environment, protocol)
    write_json(folder / "results.json", results)
    table = write_table(results)
    write_text(folder / "table.md", table)
    print(table)
    if task in PLANAR:
        draw(task, environment, folder)


def train(
    method: str,
    seed: int,
    environment: Environment,
    windows: Windows,
    protocol: Protocol,
    folder: Path,
) -> tuple[NetworkPolicy, float]:
    """A trained policy, and the processor's seconds that its training took in this sitting."""
    policy = fresh(method, seed, environment, protocol)
    settings = TrainingSettings(
        protocol.steps, protocol.batch_size, protocol.learning_rate, seed=seed
    )
    started = time.process_time()
    policy = train_policy(policy, windows, settings, folder, resume=True, progress=True)
    return policy, time.process_time() - started


def fresh(method: str, seed: int, environment: Environment, protocol: Protocol) -> NetworkPolicy:
    """A policy with random weights."""
    spaces, horizons, network = environment.spaces, protocol.horizons, protocol.network
    if method == "diffusion":
        return DiffusionPolicy(spaces, horizons, network, DiffusionSettings("x0"), seed=seed)
    return BaselinePolicy(method, spaces, horizons, network, seed=seed)


def judge(
    policy: NetworkPolicy, environment: Environment, protocol: Protocol, seed: int
) -> dict[str, Any]:
    """Its figures on the episodes that are for judging."""
    seeds = range(JUDGED_FROM, JUDGED_FROM + protocol.episodes)
    rollouts = roll_out(policy, environment, seeds, seed=seed, progress=True)
    scores = score(
        rollouts, environment.spaces, environment.modes, protocol.horizons.n_action_steps
    )
    return {
        **scores.as_json(),
        "parameters": sum(one.numel() for one in policy.parameters()),
        "milliseconds": 1e3 * median(latency(policy, environment, seed=JUDGED_FROM)),
    }


def expert(task: str, protocol: Protocol) -> dict[str, Any]:
    """The expert on the same episodes."""
    environment, expert = environment_of(task), demonstration_of(task)[1]
    seeds = range(JUDGED_FROM, JUDGED_FROM + protocol.episodes)
    successes = sum(len(demonstrate(environment, expert, [seed])) for seed in seeds)
    return {"success": successes / len(seeds), "success_interval": wilson(successes, len(seeds))}


def nothing(environment: Environment, protocol: Protocol) -> dict[str, Any]:
    """A hand that stays where it is, on the same episodes: what a reward is worth by itself."""
    seeds = range(JUDGED_FROM, JUDGED_FROM + protocol.episodes)
    hand = environment.reset(seeds)["state"][:, : environment.spaces.action]
    step = environment.step(hand)
    best = [float(one) for one in step.reward]
    return {"success": float(step.success.mean()), "best_reward": mean(best)}


def write_table(results: dict[str, Any]) -> str:
    """A row per method: all seeds pooled, and each of them."""
    rows = [
        "| method | success (95 %) | by seed | best reward, by seed | ways taken, by seed "
        "| first way's share | entropy | roughness | ms/chunk | parameters | training s |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for method in METHODS:
        runs = [run for name, run in results.items() if name.rpartition("-")[0] == method]
        if not runs:
            continue
        trials = sum(run["episodes"] for run in runs)
        successes = round(sum(run["success"] * run["episodes"] for run in runs))
        low, high = wilson(successes, trials)
        ways = ", ".join(str(run["coverage"]) for run in runs) if runs[0]["modes"] else "-"
        shares = [run["modes"][0] / max(1, sum(run["modes"])) for run in runs if run["modes"]]
        two = runs[0]["modes"] and len(runs[0]["modes"]) == 2
        share = ", ".join(f"{one:.2f}" for one in shares) if two else "-"
        by_seed = ", ".join(format(run["success"], ".3f") for run in runs)
        best = ", ".join(format(run["best_reward"], ".3f") for run in runs)
        entropies = [run["entropy"] for run in runs if run["entropy"] is not None]
        rows.append(
            f"| {method} | {successes / trials:.3f} ({low:.3f} to {high:.3f}) "
            f"| {by_seed} | {best} | {ways} | {share} "
            f"| {f'{mean(entropies):.3f}' if entropies else '-'} "
            f"| {mean(run['roughness'] for run in runs):.4f} "
            f"| {mean(run['milliseconds'] for run in runs):.1f} | {runs[0]['parameters']} "
            f"| {mean(run['training_seconds'] for run in runs):.0f} |"
        )
    if "expert" in results:
        low, high = results["expert"]["success_interval"]
        rows.append(f"| expert | {results['expert']['success']:.3f} ({low:.3f} to {high:.3f}) |")
    if "nothing" in results:
        still = results["nothing"]
        rows.append(f"| nothing done | {still['success']:.3f} | | {still['best_reward']:.3f} |")
    return "\n".join(rows) + "\n"


def draw(task: str, environment: Environment, folder: Path) -> None:
    """60 of the judged episodes of every method, first seed."""
    seeds = range(JUDGED_FROM, JUDGED_FROM + 60)
    panels = {
        method: roll_out(loaded(method, folder / f"{method}-0" / "policy"), environment, seeds)
        for method in METHODS
        if (folder / f"{method}-0" / "policy").exists()
    }
    draw_paths(PLANAR[task], panels, folder / "paths.png")


def loaded(method: str, folder: Path) -> NetworkPolicy:
    """A trained policy of a method."""
    return load_policy(folder) if method == "diffusion" else load_baseline(folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("task", help="two-routes, avoiding, push-t or metaworld/TASK")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    main(given.task, given.out, given.methods, given.seeds)
