"""Energy without an energy: three estimates from the score alone, beside the exact one.

Draws `energy_field.png`: the energy -log p of a mixture of three Gaussians, exact, by the
probability-flow ODE, by the Ito estimator and by line integrals from the middle; and below, exact
samples of that level beside those of three chains of long steps, two of them with accept/reject.

    python examples/energy_field.py
"""

import matplotlib.pyplot as plt
import torch

from scorefield.priors.energy.ito import log_likelihood_ito
from scorefield.priors.energy.langevin import langevin
from scorefield.priors.energy.likelihood import log_likelihood_ode
from scorefield.priors.energy.line_integral import line_integral_energy
from scorefield.priors.energy.mcmc import HMC, MALA, ULA
from scorefield.priors.exact.gaussian_mixture import GaussianMixturePrior


def main(path: str = "energy_field.png", side: int = 40, chains: int = 1000) -> None:
    """Draw the image."""
    means = torch.tensor([[-1.5, -0.8], [1.4, -0.6], [0.1, 1.5]])
    prior = GaussianMixturePrior(means, torch.tensor([0.45, 0.35, 0.4]))
    level = prior.schedule.at_log_snr(2.0)
    axis = torch.linspace(-3, 3, side)
    z = torch.cartesian_prod(axis, axis)

    exact = prior.energy(z, level)
    middle = torch.zeros_like(z)
    fields = {
        "exact": exact,
        "probability-flow ODE": log_likelihood_ode(prior, z, level, steps=16, probes=None).energy,
        "Ito, 8 paths": log_likelihood_ito(prior, z, level, steps=50, paths=8).energy,
        "line integrals": line_integral_energy(prior, middle, z, level)
        + prior.energy(middle, level),
    }
    start = torch.randn(chains, 2, generator=torch.Generator().manual_seed(0))
    kernels = {
        "ULA": ULA(steps=30, step_size=1.0),
        "MALA": MALA(steps=30, step_size=1.0),
        "HMC": HMC(steps=10, step_size=1.0),
    }

    figure, panels = plt.subplots(2, 4, figsize=(14, 7), sharex=True, sharey=True)
    for panel, (name, energy) in zip(panels[0], fields.items(), strict=True):
        contours = torch.arange(1.0, 16, 1.5).tolist()
        panel.contourf(axis, axis, energy.reshape(side, side).T, contours, extend="max")
        error = float((energy - exact).abs().median())
        panel.set(title=name if energy is exact else f"{name}\nmedian error {error:.1g} nats")
    panels[1, 0].scatter(*level.add_noise(prior.sample(chains), start).T.numpy(), s=3)
    panels[1, 0].set(title="exact samples")
    for panel, (name, kernel) in zip(panels[1, 1:], kernels.items(), strict=True):
        samples, rates = langevin(prior, start, level, kernel, seed=1)
        panel.scatter(*samples.T.numpy(), s=3)
        panel.set(title=f"{name}, {float(rates.mean()):.0%} accepted")
    for panel in panels.flat:
        panel.set(aspect="equal", xlim=(-3, 3), ylim=(-3, 3))
    figure.tight_layout()
    figure.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
