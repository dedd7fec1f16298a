"""A score field you can look at: three Gaussians, at four levels of noise.

Draws `score_field.png`. The shade is the density of the noisy data, the arrows are its score, grad
log p(z): they point uphill. Much noise leaves one hill, and arrows to its middle; little noise
leaves the data. The lines are samples by DDIM, which follows the field while the noise falls.

    python examples/score_field.py
"""

from itertools import pairwise

import matplotlib.pyplot as plt
import torch

from scorefield.priors import GaussianMixturePrior
from scorefield.priors.steps import ddim_step, level_path


def main(path: str = "score_field.png", cells: int = 160, ways: int = 24, steps: int = 60) -> None:
    """Draw the image."""
    means = torch.tensor([[-1.5, -0.8], [1.4, -0.6], [0.1, 1.5]])
    prior = GaussianMixturePrior(means, torch.tensor([0.35, 0.25, 0.3]))
    z = torch.randn(ways, 2, generator=torch.Generator().manual_seed(0))
    walked = [z]
    levels = list(level_path(prior.schedule, steps))
    for here, there in pairwise(levels):
        z = ddim_step(prior(z, here.expand(ways)), there.expand(ways))
        walked.append(z)
    lines = torch.stack(walked).numpy()

    side = torch.linspace(-3, 3, cells)
    y, x = torch.meshgrid(side, side, indexing="ij")
    points = torch.stack([x, y], -1).reshape(-1, 2)
    arrows = torch.cartesian_prod(torch.linspace(-2.7, 2.7, 13), torch.linspace(-2.7, 2.7, 13))
    figure, panels = plt.subplots(1, 4, figsize=(12, 3.5), sharey=True, layout="constrained")
    for panel, fraction in zip(panels, (0.8, 0.35, 0.2, 0.04), strict=True):
        level = prior.schedule.at_fraction(fraction)
        density = (-prior.energy(points, level)).exp().reshape(cells, cells)
        panel.imshow(density.numpy(), origin="lower", extent=(-3, 3, -3, 3), cmap="Blues", vmin=0)
        score = prior.score(arrows, level)
        length = score.norm(dim=1, keepdim=True)
        shown = score / length * length.clamp(max=length.median())  # far away they are long
        panel.quiver(*arrows.T.numpy(), *shown.T.numpy(), color="#333", width=0.005)
        so_far = lines[: 1 + round((1 - fraction) * (len(lines) - 1))]
        panel.plot(so_far[..., 0], so_far[..., 1], color="#e4572e", linewidth=0.7, alpha=0.8)
        panel.scatter(*so_far[-1].T, s=10, color="#e4572e", zorder=3)
        panel.set(title=f"log-SNR {float(level.log_snr):.1f}", xlim=(-3, 3), ylim=(-3, 3))
        panel.set(xticks=[], yticks=[], aspect="equal")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
