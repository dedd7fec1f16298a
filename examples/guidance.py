"""Every guidance on one mixture in the plane, where the right answer can be drawn.

Draws `guidance.png`: the class that is wanted (blue contours), others (orange, red), and where the
default sampler, in 25 steps, takes the same noise under each guidance. Prints, for each, the mean
log-density of its points under the wanted class, the share of them off it (below -4), the share of
them near the unwanted one (above -3), their spread, and the evaluations of all denoisers per point.

    python examples/guidance.py
"""

import math

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from scorefield.priors import ClassifierFreeGuidance, Denoiser, GaussianMixturePrior, sample
from scorefield.priors.guidance.autoguidance import AutoGuidance
from scorefield.priors.guidance.cfg_plus_plus import CFGPlusPlus
from scorefield.priors.guidance.classifier import ClassifierGuidance
from scorefield.priors.guidance.classifier_free import GuidanceInterval
from scorefield.priors.guidance.perp_neg import PerpNeg
from scorefield.priors.guidance.projected import AdaptiveProjectedGuidance
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction

LABELS = ["wanted", "other", "unwanted"]
COLOURS = ["tab:blue", "tab:orange", "tab:red"]


def mixture(blur: float) -> GaussianMixturePrior:
    """Arcs that cross, of small Gaussians; `blur` makes the arcs of a worse model."""
    angle = torch.linspace(-0.15, 1.0, 14) * math.pi
    arc = 1.4 * torch.stack([angle.cos(), angle.sin()], dim=1)
    other = torch.tensor([0.3, 1.0]) + torch.tensor([1.0, -0.8]) * arc
    unwanted = torch.tensor([-1.4, 0.3]) + torch.tensor([0.9, 0.6]) * arc
    means = torch.cat([arc, other, unwanted])
    scales = torch.full((len(means),), math.hypot(0.14, blur))
    return GaussianMixturePrior(means, scales, None, [name for name in LABELS for _ in angle])


class Counting(Denoiser):
    """Counts the points a denoiser is asked about."""

    total = 0

    def __init__(self, inner: Denoiser) -> None:
        self.inner, self.schedule = inner, inner.schedule

    def predict(self, z: Tensor, level: NoiseLevel) -> Prediction:
        Counting.total += len(z)
        return self.inner(z, level)


def main(path: str = "guidance.png", points: int = 400, steps: int = 25) -> None:
    """Draw the image, print the table."""
    prior, worse = mixture(0.0), mixture(0.35)
    wanted, unwanted = (Counting(prior.condition(name)) for name in ("wanted", "unwanted"))
    anything, bad = Counting(prior.unconditional), Counting(worse.condition("wanted"))

    def log_joint(z: Tensor, level: NoiseLevel) -> Tensor:
        """The exact classifier of noisy points."""
        classes = [prior.condition(name).log_density(z, level) for name in LABELS]
        return torch.stack(classes, dim=1)

    plain = ClassifierFreeGuidance(wanted, anything, 4.0)
    guidances: dict[str, Denoiser] = {
        "unguided": wanted,
        "classifier-free, 4": plain,
        "classifier-free, 4, log-SNR -2 to 4": GuidanceInterval(plain, wanted, -2.0, 4.0),
        "CFG++, 0.6": CFGPlusPlus(wanted, anything, 0.6, steps),
        "projected (APG), 4": AdaptiveProjectedGuidance(wanted, anything, 4.0, 0.0, 0.3),
        "autoguidance, 2.5": AutoGuidance(wanted, bad, 2.5),
        "negative prompt, 4, below log-SNR 0": GuidanceInterval(
            ClassifierFreeGuidance(wanted, unwanted, 4.0), wanted, -math.inf, 0.0
        ),
        "Perp-Neg, 4, below log-SNR 0": GuidanceInterval(
            PerpNeg(wanted, anything, [unwanted], [0.5], 4.0), wanted, -math.inf, 0.0
        ),
        "exact classifier, 1": ClassifierGuidance(anything, log_joint, 0, 1.0),
    }

    axis = torch.linspace(-2.6, 2.6, 120)
    grid = torch.cartesian_prod(axis, axis)
    clean = NoiseLevel(torch.ones(()), torch.zeros(()))
    figure, panels = plt.subplots(3, 3, figsize=(11, 11), sharex=True, sharey=True)
    for panel, (name, denoiser) in zip(panels.flat, guidances.items(), strict=True):
        for label, colour in zip(LABELS, COLOURS, strict=True):
            density = prior.condition(label).log_density(grid, clean).exp().reshape(120, 120)
            panel.contour(axis, axis, density.T, levels=[0.02, 0.1, 0.25], colors=colour, alpha=0.5)
        Counting.total = 0
        x = sample(denoiser, (2,), points, steps=steps, batch_size=points)
        panel.scatter(*x.T.numpy(), s=3, c="black")
        panel.set(title=name, aspect="equal", xlim=(-2.6, 2.6), ylim=(-2.6, 2.6))
        fit = prior.condition("wanted").log_density(x, clean)
        off, near = fit < -4, prior.condition("unwanted").log_density(x, clean) > -3
        shares = " ".join(f"{float(which.float().mean()):6.3f}" for which in (off, near))
        spread = float(x.var(dim=0).sum().sqrt())
        calls = Counting.total / points
        print(f"{name:36} {float(fit.mean()):7.2f} {shares} {spread:6.2f} {calls:6.1f}")
    figure.tight_layout()
    figure.savefig(path, dpi=75)


if __name__ == "__main__":
    main()
