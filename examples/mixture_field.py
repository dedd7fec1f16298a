"""A score field you can see: samples and distillation on a mixture of three Gaussians.

Draws `mixture_field.png`: the noisy score at one level, DDIM samples, and 200 points moved by
score distillation. Samples fill the modes; distilled points sit on their tops, which is why SDS
makes a typical object and not a random one.

    python examples/mixture_field.py
"""

import matplotlib.pyplot as plt
import torch

from scorefield.priors import GaussianMixturePrior, sample
from scorefield.sds import LevelRange, distill


def main(path: str = "mixture_field.png", points: int = 200, steps: int = 300) -> None:
    """Draw the image."""
    means = torch.tensor([[-1.5, -0.8], [1.4, -0.6], [0.1, 1.5]])
    prior = GaussianMixturePrior(means, torch.tensor([0.35, 0.25, 0.3]))
    schedule = prior.schedule

    samples = sample(prior, (2,), n=points, steps=50, batch_size=points)

    generator = torch.Generator().manual_seed(0)
    x = (2 * torch.randn(points, 2, generator=generator)).requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.05)
    levels = LevelRange(0.01, 0.6, 0.02)  # annealed: from where the modes blur to where they part
    for step in range(steps):
        level = levels.draw(schedule, step / steps, points, generator)
        eps = torch.randn(points, 2, generator=generator)
        optimizer.zero_grad()
        distill(prior, x, level, eps).loss.backward()
        optimizer.step()

    level = schedule.at_fraction(0.3)
    axis = torch.linspace(-3, 3, 22)
    grid = torch.cartesian_prod(axis, axis)
    score = prior.score(grid, level)
    figure, panels = plt.subplots(1, 3, figsize=(12, 4), sharex=True, sharey=True)
    panels[0].quiver(*grid.T.numpy(), *score.T.numpy(), score.norm(dim=1).numpy(), cmap="viridis")
    panels[1].scatter(*samples.T.numpy(), s=8)
    panels[2].scatter(*x.detach().T.numpy(), s=8)
    titles = ("score at fraction 0.3", f"{points} DDIM samples", f"{points} points after SDS")
    for panel, title in zip(panels, titles, strict=True):
        panel.scatter(*means.T.numpy(), marker="+", c="red")
        panel.set(title=title, aspect="equal")
    figure.tight_layout()
    figure.savefig(path, dpi=100)


if __name__ == "__main__":
    main()
