"""Time of one chunk at 10 steps of DDIM, against the reference's loop on the same network.

    OMP_NUM_THREADS=1 python benchmarks/policy_latency.py

The reference is diffusion_policy's `conditional_sample`, restated: diffusers' DDIMScheduler steps
the chunk, and the network is called with the whole condition at every step. Ours are `solve`, as
`DiffusionPolicy.act` calls it, with the condition prepared and the coefficients in a table, and the
exported policy in onnxruntime. All have the same weights and noise, one thread and one observation,
and take turns in one process, so that a loaded machine slows them alike; figures are medians, and
the ratio is the median of the ratios of neighbours.

The chunks are compared first, with the reference's scheduler told to derive the noise from the
clipped x0, as ours does; by default diffusers goes on with the network's noise.
"""

import argparse
import copy
import json
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch
from diffusers import DDIMScheduler
from torch import Tensor

from scorefield.control.data.spaces import Horizons, PolicySpaces
from scorefield.control.networks.settings import (
    PerceptronSettings,
    TransformerSettings,
    UNet1DSettings,
)
from scorefield.control.policies.diffusion_policy import DiffusionPolicy, DiffusionSettings
from scorefield.control.policies.export import export_policy
from scorefield.control.policies.runner import ExportedPolicy
from scorefield.control.policies.solver import solve
from scorefield.priors.noise import noise_generator

NETWORKS = {
    "perceptron": PerceptronSettings(),
    "unet": UNet1DSettings(),
    "transformer": TransformerSettings(),
}
STATE = 20  # as Push-T's: 16 corner coordinates, the agent and its velocity


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument(
        "--compile", action="store_true", help="also by torch.compile, which needs a C++ compiler"
    )
    options = parser.parse_args()
    torch.set_num_threads(1)
    results = {
        name: compared(name, options.rounds, options.seed, options.compile)
        for name in options.networks
    }
    print(json.dumps({"rounds": options.rounds, "seed": options.seed, "ms": results}, indent=2))


def compared(name: str, rounds: int, seed: int, compile_it: bool) -> dict[str, object]:
    """Milliseconds per chunk, and how many times faster than the reference."""
    spaces = PolicySpaces(STATE, 2, (-1.0, -1.0), (1.0, 1.0))
    policy = DiffusionPolicy(spaces, Horizons(2, 8, 16), NETWORKS[name], DiffusionSettings("eps"))
    policy.eval().requires_grad_(False)
    generator = noise_generator(seed, 0)
    states = torch.rand(1, 2, STATE, generator=generator) * 2 - 1
    noise = torch.randn(1, 16, 2, generator=generator)
    scheduler = DDIMScheduler(
        num_train_timesteps=100,
        beta_schedule="squaredcos_cap_v2",
        clip_sample=True,
        prediction_type="epsilon",
        set_alpha_to_one=True,
        timestep_spacing="trailing",  # the steps that ours takes
    )
    table = policy.table()

    # Not under `no_grad`, though no weight needs a gradient: so the U-Net has torch's convolutions.
    def reference(consistent: bool = False) -> Tensor:
        condition = policy.encoder({"state": states})
        z = noise
        scheduler.set_timesteps(10)
        for timestep in scheduler.timesteps:
            out = policy.network(z, timestep[None] / 100, condition)
            step = scheduler.step(out, timestep, z, use_clipped_model_output=consistent)
            z = step.prev_sample
        return z.clamp(-1, 1)

    @torch.no_grad()
    def ours() -> Tensor:
        return solve(table, noise, policy.denoiser({"state": states}).x0, 1.0)

    compiled = copy.deepcopy(policy)
    if compile_it:
        compiled.compile(mode="default")

    @torch.no_grad()
    def faster() -> Tensor:
        return solve(table, noise, compiled.denoiser({"state": states}).x0, 1.0)

    folder = tempfile.mkdtemp()
    export_policy(policy, folder)
    exported = ExportedPolicy(folder)
    arrays, drawn = {"state": states.numpy()}, noise.numpy()

    def onnx() -> Tensor:
        return torch.from_numpy(exported.act(arrays, noise=drawn))

    loops: dict[str, Callable[[], Tensor]] = {"reference": reference, "ours": ours, "onnx": onnx}
    if compile_it:
        loops["compiled"] = faster
    expected = reference(consistent=True)
    executed = policy.horizons.executed
    differences = {
        "ours": float((ours() - expected).abs().max()),
        "onnx": float((onnx() - expected[:, executed]).abs().max()),
    }
    for loop in loops.values():
        loop()  # the first call of each is not counted
    seconds: dict[str, list[float]] = {key: [] for key in loops}
    for _ in range(rounds):
        for key, loop in loops.items():
            started = time.perf_counter()
            loop()
            seconds[key].append(time.perf_counter() - started)
    times = {key: np.array(values) for key, values in seconds.items()}
    return {
        "parameters": sum(p.numel() for p in policy.network.parameters()),
        **{key: 1e3 * statistics.median(values) for key, values in seconds.items()},
        **{
            f"times faster, {key}": float(np.median(times["reference"] / times[key]))
            for key in loops
            if key != "reference"
        },
        "largest difference": differences,
    }


if __name__ == "__main__":
    main()
