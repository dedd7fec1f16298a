"""What each sampler makes of a product of Gaussians, beside the closed forms.

    OMP_NUM_THREADS=1 python benchmarks/composition.py
    OMP_NUM_THREADS=1 python benchmarks/composition.py --image docs/images/composition.png

Experts N(m_i, s_i^2) with weights w_i, through a schedule of 1000 levels from u = 80 to 0.002,
u = sigma / alpha. The scores are summed at every level and sampled by DDIM (the ODE), by DDPM (the
SDE), by DDPM with 20 steps of ULA after each step, and by Feynman-Kac particles. The closed forms
of ODE and SDE are those of continuous time.
"""

import argparse
import math
import sys
import time
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMScheduler
from torch import Tensor

from scorefield.priors import DiscreteSchedule, GaussianMixturePrior, sample
from scorefield.priors.composition.compose import compose
from scorefield.priors.composition.feynman_kac import sample_fkc
from scorefield.priors.denoiser import Composition
from scorefield.priors.energy.mcmc import ULA
from scorefield.priors.sampling import CollapseWarning

CASES = [
    ("N(0, 0.25)^2, (1, 1)", (0.0, 0.0), (0.5, 0.5), (1.0, 1.0)),
    ("N(-1, 1) N(1, 0.25), (1, 1)", (-1.0, 1.0), (1.0, 0.5), (1.0, 1.0)),
    ("the same, (0.5, 0.5)", (-1.0, 1.0), (1.0, 0.5), (0.5, 0.5)),
    ("the same, (-0.5, 1.5)", (-1.0, 1.0), (1.0, 0.5), (-0.5, 1.5)),
]
ROWS, DIMS = 100, 100
"""Independent numbers come cheaper as dimensions of an isotropic Gaussian than as samples."""
PARTICLES = 10_000
STEPS, CORRECTED_STEPS = 1000, 250


def geometric(levels: int = 1000, low: float = 0.002, high: float = 80.0) -> DiscreteSchedule:
    """u = sigma / alpha in equal ratios."""
    u = torch.logspace(math.log10(low), math.log10(high), levels, dtype=torch.float64)
    return DiscreteSchedule(1 / (1 + u**2))


def limits(
    means: tuple[float, ...], scales: tuple[float, ...], weights: tuple[float, ...], noise: bool
) -> tuple[float, float]:
    """Mean and standard deviation of the ODE, or of the reverse SDE, in continuous time.

    With V = u^2, P = sum w_i / (s_i^2 + V) and Q = sum w_i m_i / (s_i^2 + V) the score is Q - P y;
    the moments follow dm = (Q - P m) c dt and dv = (-2 c P v + 2 c - 1) dt, where t runs as V falls
    and c is 1 for the SDE, 1/2 for the ODE.
    """
    grid = np.concatenate([np.logspace(math.log10(6400.0), -9, 40_000), [0.0]])
    c, mean, variance = (1.0 if noise else 0.5), 0.0, 6401.0
    for here, there in pairwise(grid.tolist()):
        precision = pull = integral = 0.0
        for m, s, w in zip(means, scales, weights, strict=True):
            precision += w / (s * s + (here + there) / 2)
            pull += w * m / (s * s + (here + there) / 2)
            integral += w * math.log((s * s + here) / (s * s + there))
        kept = math.exp(-c * integral)
        mean = kept * mean + (1 - kept) * pull / precision
        variance = kept**2 * variance + (2 * c - 1) * (here - there) * kept
    return mean, math.sqrt(variance)


def product(
    means: tuple[float, ...],
    scales: tuple[float, ...],
    weights: tuple[float, ...],
    dims: int,
    schedule: DiscreteSchedule,
) -> Composition:
    """The composition of isotropic Gaussians of that many dimensions."""
    experts = [
        GaussianMixturePrior(torch.full((1, dims), m), torch.tensor([s]), schedule=schedule)
        for m, s in zip(means, scales, strict=True)
    ]
    return compose(list(zip(experts, weights, strict=True)))


def measured(q: Composition, wide: Composition) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each sampler."""
    schedule, shape = q.schedule, (DIMS,)
    ddpm = schedule.scheduler(DDPMScheduler)
    found: dict[str, Tensor] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        found["ODE"] = sample(wide, shape, ROWS, steps=STEPS, batch_size=ROWS)
    found["SDE"] = sample(wide, shape, ROWS, scheduler=ddpm, steps=STEPS, batch_size=ROWS)
    found["SDE + 20 ULA"] = sample(
        wide,
        shape,
        ROWS,
        scheduler=ddpm,
        corrector=ULA(20, 0.2),
        steps=CORRECTED_STEPS,
        batch_size=ROWS,
    )
    particles = sample_fkc(q, (1,), PARTICLES, steps=STEPS, batch_size=PARTICLES)
    moments = {name: (float(x.mean()), float(x.std())) for name, x in found.items()}
    weight = particles.log_weights.exp()[:, None]
    mean = (weight * particles.samples).sum()
    std = (weight * (particles.samples - mean) ** 2).sum().sqrt()
    return moments | {"FKC": (float(mean), float(std))}


def table() -> None:
    """Print the table of docs/composition.md."""
    schedule = geometric()
    columns = ["exact", "ODE, closed", "ODE", "SDE, closed", "SDE", "SDE + 20 ULA", "FKC"]
    print(f"mean / std; {ROWS * DIMS} numbers, {PARTICLES} particles\n")
    print("| product, weights | " + " | ".join(columns) + " |")
    print("| --- |" + " --- |" * len(columns))
    for name, means, scales, weights in CASES:
        start = time.process_time()

        precision = sum(w / s**2 for w, s in zip(weights, scales, strict=True))
        weighted = sum(w * m / s**2 for w, m, s in zip(weights, means, scales, strict=True))
        cells = {"exact": (weighted / precision, precision**-0.5)}
        cells["ODE, closed"] = limits(means, scales, weights, noise=False)
        cells["SDE, closed"] = limits(means, scales, weights, noise=True)
        one, wide = (product(means, scales, weights, d, schedule) for d in (1, DIMS))
        cells |= measured(one, wide)
        shown = [
            f"{m:.3f} / {s:.4f}".replace("-0.000", "0.000") for m, s in (cells[c] for c in columns)
        ]
        took = time.process_time() - start
        print(f"| {name} | {' | '.join(shown)} |", flush=True)
        print(f"{name}: {took:.0f} CPU seconds", file=sys.stderr)


def image(path: Path, n: int = 600) -> None:
    """Two mixtures in the plane, the density of their product, and what each sampler draws."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    schedule = DiscreteSchedule.linear_beta()
    angles = torch.arange(6) * math.pi / 3
    ring = GaussianMixturePrior(
        2 * torch.stack([angles.cos(), angles.sin()], dim=1), torch.full((6,), 0.35)
    )
    bars = GaussianMixturePrior(
        torch.tensor([[-1.2, 0.0], [1.2, 0.6]]),
        torch.tensor([[[0.15, 0.0], [0.0, 2.5]], [[0.6, 0.4], [0.4, 1.6]]]),
    )
    q = ring * bars
    ddpm = schedule.scheduler(DDPMScheduler)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CollapseWarning)
        ode = sample(q, (2,), n, steps=250, batch_size=n)
    drawn = {
        "DDIM (ODE)": ode,
        "DDPM (SDE)": sample(q, (2,), n, scheduler=ddpm, steps=250, batch_size=n),
        "DDPM + 10 ULA": sample(
            q, (2,), n, scheduler=ddpm, corrector=ULA(10, 0.2), steps=100, batch_size=n
        ),
        "Feynman-Kac": sample_fkc(q, (2,), 4 * n, steps=250, batch_size=4 * n).draw(n),
    }
    axis = torch.linspace(-3.4, 3.4, 160)
    grid = torch.cartesian_prod(axis, axis)
    clean = schedule.at_timestep(0)
    densities = [prior.log_density(grid, clean) for prior in (ring, bars)]
    product = (densities[0] + densities[1]).softmax(dim=0)
    figure, panels = plt.subplots(1, 5, figsize=(17, 3.9), sharex=True, sharey=True)
    for values, color in zip(densities, ("tab:blue", "tab:orange"), strict=True):
        panels[0].contour(axis, axis, values.exp().reshape(160, 160).T, 5, colors=color)
    panels[0].set_title("two mixtures, and their product")
    for panel in panels:
        panel.contourf(axis, axis, product.reshape(160, 160).T, 12, cmap="Greys")
        panel.set_aspect("equal")
    for panel, (title, x) in zip(panels[1:], drawn.items(), strict=True):
        panel.scatter(*x.T.numpy(), s=5, c="tab:red", alpha=0.5, linewidths=0)
        panel.set_title(title)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", type=Path, help="draw this image instead")
    arguments = parser.parse_args()
    if arguments.image is None:
        table()
    else:
        image(arguments.image)
