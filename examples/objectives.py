"""Where each distillation objective takes points of the plane, on a mixture whose score is exact.

Draws `objectives.png`: the wanted class (blue contours, three modes) and another (orange), the same
starting points (grey) and where they end (black). Prints, for each objective, the mean log-density
of the points under the wanted class, the smallest share of them at one of its modes, their root
mean square distance from the mode they are at in units of the mode's own width (1 would be a
sample, 0 the mode), and the evaluations of all denoisers per point and step.

    python examples/objectives.py
"""

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from scorefield.priors import ClassifierFreeGuidance, Denoiser, GaussianMixturePrior
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction
from scorefield.sds.levels import DreamTime, LevelRange, Levels
from scorefield.sds.objective import SDS, Objective, PromptedDenoisers, distill
from scorefield.sds.objectives import CSD, ISM, NFSD, SDI, SJC, VSD, Bridge, SmallNetwork

WIDTH = 0.25
MODES = torch.tensor([[-1.2, 0.4], [0.1, 1.3], [1.2, 0.2]])
OTHER = torch.tensor([[-0.7, -1.2], [0.8, -1.2]])
FALLING = LevelRange(0.05, 0.9, 0.05, width=0.0)


class Counting(Denoiser):
    """Counts the points a denoiser is asked about."""

    total = 0

    def __init__(self, inner: Denoiser) -> None:
        self.inner, self.schedule = inner, inner.schedule

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        Counting.total += len(z)
        return self.inner(z, level)


def walk(
    objective: Objective, levels: Levels, scale: float, points: int, steps: int
) -> tuple[Tensor, Tensor, float]:
    """Where the points start and end, and the evaluations per point and step."""
    wanted, anything, other = (Counting(prior().condition(c)) for c in ("wanted", None, "other"))
    schedule = wanted.schedule
    phi = None
    if isinstance(objective, VSD) and isinstance(objective.phi, SmallNetwork):
        phi = objective.phi.build_for(schedule, (2,))
    sides = PromptedDenoisers(
        ClassifierFreeGuidance(wanted, anything, scale),
        wanted,
        anything,
        other,
        phi=Counting(phi.condition(None)) if phi else None,
    )
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(points, 2, generator=generator) * 0.8
    x = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.03, betas=(0.8, 0.99))
    Counting.total = 0
    for step in range(steps):
        level = levels.draw(schedule, step / steps, points, generator)
        eps = torch.randn(points, 2, generator=generator)
        out = distill(sides, x, level, eps, objective=objective, progress=step / steps)
        optimizer.zero_grad()
        (out.loss * points).backward()
        optimizer.param_groups[0]["lr"] = 0.03 * (1 - 0.9 * step / steps)
        optimizer.step()
        if phi:
            phi.learn(x, None, generator)
    return start, x.detach(), Counting.total / points / steps


def prior() -> GaussianMixturePrior:
    """Three wanted modes and two others."""
    means = torch.cat([MODES, OTHER])
    labels = ["wanted"] * len(MODES) + ["other"] * len(OTHER)
    return GaussianMixturePrior(means, torch.full((len(means),), WIDTH), None, labels)


def main(path: str = "objectives.png", points: int = 150, steps: int = 250) -> None:
    """Draw the image, print the table."""
    spread = LevelRange(0.02, 0.7)
    runs: dict[str, tuple[Objective, Levels, float]] = {
        "SDS, scale 1": (SDS(), spread, 1.0),
        "SDS, scale 7.5": (SDS(), spread, 7.5),
        "SDS, falling levels": (SDS(), FALLING, 1.0),
        "SDS, DreamTime": (SDS(), DreamTime(), 1.0),
        "SJC": (SJC(), spread, 1.0),
        "CSD": (CSD(), spread, 1.0),
        "NFSD, 2": (NFSD(2.0), spread, 1.0),
        "SDS-Bridge, 2": (Bridge(2.0), spread, 1.0),
        "ISM": (ISM(), spread, 1.0),
        "SDI, falling levels": (SDI(1.0, eta=0.0), FALLING, 1.0),
        "VSD": (VSD(SmallNetwork(learning_rate=3e-3)), spread, 1.0),
        "VSD, falling levels": (VSD(SmallNetwork(learning_rate=3e-3)), FALLING, 1.0),
    }
    axis = torch.linspace(-2.4, 2.4, 100)
    grid = torch.cartesian_prod(axis, axis)
    clean = NoiseLevel(torch.ones(()), torch.zeros(()))
    figure, panels = plt.subplots(3, 4, figsize=(13, 10), sharex=True, sharey=True)
    for panel, (name, (objective, levels, scale)) in zip(panels.flat, runs.items(), strict=True):
        for label, colour in (("wanted", "tab:blue"), ("other", "tab:orange")):
            density = prior().condition(label).log_density(grid, clean).exp().reshape(100, 100)
            panel.contour(axis, axis, density.T, levels=[0.05, 0.3], colors=colour, alpha=0.6)
        start, x, calls = walk(objective, levels, scale, points, steps)
        panel.scatter(*start.T.numpy(), s=2, c="lightgrey")
        panel.scatter(*x.T.numpy(), s=4, c="black")
        panel.set(title=name, aspect="equal", xlim=(-2.4, 2.4), ylim=(-2.4, 2.4))
        fit = prior().condition("wanted").log_density(x, clean).mean()
        distance, mode = torch.cdist(x, MODES).min(dim=1)
        rarest = torch.bincount(mode, minlength=len(MODES)).min() / points
        off = float(distance.square().mean().sqrt()) / (WIDTH * 2**0.5)
        print(f"{name:22} {float(fit):7.2f} {float(rarest):6.2f} {off:6.2f} {calls:6.1f}")
    figure.tight_layout()
    figure.savefig(path, dpi=70)


if __name__ == "__main__":
    main()
