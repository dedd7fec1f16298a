"""`scorefield energy`: how likely a prior finds pictures, by three methods."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from scorefield.cli.command import Outcome, PriorCommand, under_way
from scorefield.domains import Count


@dataclass(frozen=True, kw_only=True)
class Energy(PriorCommand):
    """Estimate the energy -log p of pictures under a prior, saying by which method.

    Of a latent prior it is the energy of the picture's latents: bits per latent dimension compare
    pictures and prompts, not priors.
    """

    pictures: tyro.conf.Positional[tuple[Path, ...]]
    """One or several pictures; their middle square is taken."""
    prompt: str = ""
    """What they are asked to show; without one, the prior's unconditional energy."""
    ode_steps: Count = 20
    """Runge-Kutta steps of the probability-flow ODE, 4 evaluations with gradients each."""
    probes: Count = 2
    """Random vectors for the divergence along the ODE; 2 or more give a standard error."""
    ito_steps: Count = 100
    """Steps of each noisy path of the Ito estimator."""
    paths: Count = 4
    """Noisy paths; 2 or more give a standard error."""
    log_snr: float = 2.0
    """Noise level of the line integrals and the asymmetry, as log(alpha^2 / sigma^2)."""
    points: Count = 16
    """Points of the line integral from the first image to each other one."""

    def run(self) -> Outcome:
        """Estimate."""
        if not self.pictures:
            raise ValueError("no picture is given; name one or several files")

        import torch

        from scorefield.cli.loading import prior_of
        from scorefield.images import load_image
        from scorefield.priors.energy.ito import log_likelihood_ito
        from scorefield.priors.energy.likelihood import (
            LogLikelihood,
            bits_per_dim,
            log_likelihood_ode,
        )
        from scorefield.priors.energy.line_integral import asymmetry, line_integral_energy

        prior = prior_of(self).with_network_gradient()
        images = [load_image(path, prior.image_size) for path in self.pictures]
        denoiser = prior.condition(self.prompt or None)
        level = prior.schedule.at_log_snr(self.log_snr)
        options: dict[str, Any] = {"seed": self.seed, "progress": not self.quiet}
        with under_way():
            with torch.no_grad():
                z = prior.encode(torch.stack(images).to(prior.device))
            ode = log_likelihood_ode(
                denoiser, z, steps=self.ode_steps, probes=self.probes, **options
            )
            ito = log_likelihood_ito(denoiser, z, steps=self.ito_steps, paths=self.paths, **options)
            noisy = level.add_noise(z, torch.zeros_like(z))
            work = line_integral_energy(
                denoiser, noisy[:1].expand_as(noisy), noisy, level, self.points
            )
            skew = asymmetry(denoiser, noisy, level, probes=self.probes, seed=self.seed)

        def figures(estimate: LogLikelihood, i: int) -> dict[str, float | None]:
            error = float(estimate.standard_error[i])
            return {
                "energy": float(estimate.energy[i]),
                "standard_error": error if error == error else None,  # none of a single draw
                "bits_per_dim": float(bits_per_dim(estimate.value, z.shape[1:])[i]),
            }

        rows = [
            {
                "picture": str(path),
                "ode": figures(ode, i),
                "ito": figures(ito, i),
                "line_integral_from_first": float(work[i]) + 0.0,  # not -0
                "asymmetry": float(skew[i]),
            }
            for i, path in enumerate(self.pictures)
        ]
        total = {
            "prior": prior.name,
            "prompt": self.prompt,
            "dimensions": z[0].numel(),
            "log_snr": self.log_snr,
            "pictures": rows,
        }
        return Outcome(total, [line for row in rows for line in _lines(row, self.log_snr)])


def _lines(row: dict[str, Any], log_snr: float) -> list[str]:
    lines = [row["picture"]]
    names = {"ode": "probability-flow ODE", "ito": "Ito estimator"}
    for key, name in names.items():
        one = row[key]
        error = "" if one["standard_error"] is None else f" +- {one['standard_error']:.1f}"
        lines.append(
            f"  {name:<22}{one['energy']:10.1f}{error} nats, {one['bits_per_dim']:.3f} bits/dim"
        )
    at = f"at log-SNR {log_snr:g}"
    lines.append(
        f"  {'line integral':<22}{row['line_integral_from_first']:10.1f} nats more than the first "
        f"picture, {at}"
    )
    lines.append(f"  {'asymmetry':<22}{row['asymmetry']:10.2g} {at}; 0 for a gradient")
    return lines
