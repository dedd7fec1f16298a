"""Time of one chunk of students of one and two evaluations, against DDIM's 10 on the same network.

    OMP_NUM_THREADS=1 python benchmarks/student_latency.py

Teacher and students have the same weights here: how long a chunk takes does not depend on them. All
are called as users call them (`act`, the exported policy's `act`), on one observation and one
thread, and take turns in one process, so that a loaded machine slows them alike; figures are
medians, and the ratio is the median of the ratios of neighbours.
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from policy_latency import NETWORKS, STATE

from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.policies.diffusion_policy import DiffusionPolicy, DiffusionSettings
from scorefield.control.policies.export import export_policy
from scorefield.control.policies.runner import ExportedPolicy
from scorefield.priors.noise import noise_generator

EVALUATIONS = 10, 2, 1
"""Of the teacher, and of its students."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument(
        "--compile", action="store_true", help="also by torch.compile, which needs a C++ compiler"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {name: timed(name, options.rounds, options.compile) for name in options.networks}
    print(json.dumps({"rounds": options.rounds, "results": results}, indent=2))


def timed(name: str, rounds: int, compile_it: bool) -> dict[str, Any]:
    """By way of running it: milliseconds of each sampler, and what share of the teacher's."""
    spaces = PolicySpaces(STATE, 2, (-1.0, -1.0), (1.0, 1.0))
    teacher = DiffusionPolicy(spaces, Horizons(2, 8, 16), NETWORKS[name], DiffusionSettings())
    states = torch.rand(1, 2, STATE, generator=noise_generator(0)) * 2 - 1
    teacher.eval().requires_grad_(False)
    found = {}
    for way in ("torch", "compiled", "exported") if compile_it else ("torch", "exported"):
        loops = {steps: loop_of(way, sampled(teacher, steps), states) for steps in EVALUATIONS}
        seconds: dict[int, list[float]] = {steps: [] for steps in EVALUATIONS}
        for loop in loops.values():
            loop()  # the first call of each is not counted
        for _ in range(rounds):
            for steps, loop in loops.items():
                started = time.perf_counter()
                loop()
                seconds[steps].append(time.perf_counter() - started)
        most = np.array(seconds[EVALUATIONS[0]])
        found[way] = {
            "milliseconds": {k: 1e3 * statistics.median(v) for k, v in seconds.items()},
            "share": {k: float(np.median(np.array(v) / most)) for k, v in seconds.items()},
        }
    return found


def sampled(teacher: DiffusionPolicy, steps: int) -> DiffusionPolicy:
    """The policy itself, or as a student of fewer steps is sampled."""
    policy = copy.deepcopy(teacher)
    if steps != EVALUATIONS[0]:
        policy.diffusion = replace(policy.diffusion, steps=steps, sampler="renoised")
    return policy


def loop_of(way: str, policy: DiffusionPolicy, states: torch.Tensor) -> Callable[[], Any]:
    """What plans one chunk."""
    if way == "exported":
        folder = tempfile.mkdtemp()
        export_policy(policy, folder)
        exported, arrays = ExportedPolicy(folder), {"state": states.numpy()}
        return lambda: exported.act(arrays, seed=0)
    if way == "compiled":
        policy.compile(mode="default")
    return lambda: policy.act({"state": states}, seed=0)


if __name__ == "__main__":
    main()
