"""`scorefield energy`: how likely a prior finds images, by three methods."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from scorefield.cli.command import Outcome, PriorCommand, under_way
from scorefield.domains import Count, Positive

if TYPE_CHECKING:
    from torch import Tensor

    from scorefield.priors.energy.likelihood import LogLikelihood
    from scorefield.priors.frozen_prior import FrozenPrior


@dataclass(frozen=True, kw_only=True)
class Energy(PriorCommand):
    """Estimate the energy -log p of images under a prior, saying by which method.

    Quote the ODE's figure; how far the Ito estimator's is from it says what both leave open. Of a
    latent prior it is the energy of the image's latents: bits per latent dimension compare
    images and prompts, not priors.
    """

    images: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE ...")]
    """One or several images; their middle square is taken."""
    prompt: str = ""
    """Prompt the images are asked to show; without one, the prior's unconditional energy."""
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
    memory: Positive | None = None
    """GiB for the images that are estimated together, beside the weights; None takes half of the
    free memory, on a CPU at most 4 GiB."""

    def run(self) -> Outcome:
        """Estimate."""
        if not self.images:
            raise ValueError("no image is given; name one or several files")

        from scorefield.cli.loading import prior_of
        from scorefield.images import load_image

        prior = prior_of(self).with_network_gradient()
        images = [load_image(path, prior.image_size) for path in self.images]
        prior.condition(self.prompt or None)
        at_once = self._at_once(prior)
        with under_way():
            rows = self._rows(prior, images, at_once)
        total = {
            "prior": prior.name,
            "prompt": self.prompt,
            "dimensions": math.prod(prior.latent_shape),
            "log_snr": self.log_snr,
            "at_once": at_once,
            "images": rows,
        }
        return Outcome(total, [line for row in rows for line in _lines(row, self.log_snr)])

    def _at_once(self, prior: "FrozenPrior") -> int:
        """How many images memory has room for, said before anything runs."""
        from scorefield.priors.features.memory import gradient_memory, room_for_a_batch

        row = gradient_memory(prior, self.prompt or None) / 2**30
        if self.memory is None:
            fits = max(1, int(room_for_a_batch(prior.device) / 2**30 / row))
        else:
            fits = int(self.memory / row)
        if fits < 1:
            raise ValueError(
                f"one image needs {row:.3g} GiB in {prior.name}, differentiated, and --memory is "
                f"{self.memory:.3g}; give more"
            )
        at_once = min(fits, len(self.images))
        if not self.quiet:
            print(
                f"up to {at_once * row:.2g} GiB beside the weights, {at_once} images at once",
                file=sys.stderr,
            )
        return at_once

    def _rows(
        self, prior: "FrozenPrior", images: "list[Tensor]", at_once: int
    ) -> list[dict[str, Any]]:
        """The metrics of each image, some of them at a time."""
        import torch

        from scorefield.priors.energy.ito import log_likelihood_ito
        from scorefield.priors.energy.likelihood import log_likelihood_ode
        from scorefield.priors.energy.line_integral import asymmetry, line_integral_energy

        denoiser = prior.condition(self.prompt or None)
        level = prior.schedule.at_log_snr(self.log_snr)
        rows, start = list[dict[str, Any]](), None
        for first in range(0, len(images), at_once):
            part = torch.stack(images[first : first + at_once]).to(prior.device)
            items = list(range(first, first + len(part)))
            options: dict[str, Any] = {
                "seed": self.seed, "items": items, "progress": not self.quiet
            }  # fmt: skip
            with torch.no_grad():
                z = prior.encode(part)
            ode = log_likelihood_ode(
                denoiser, z, steps=self.ode_steps, probes=self.probes, **options
            )
            ito = log_likelihood_ito(denoiser, z, steps=self.ito_steps, paths=self.paths, **options)
            noisy = level.add_noise(z, torch.zeros_like(z))
            start = noisy[:1] if start is None else start
            work = line_integral_energy(denoiser, start.expand_as(noisy), noisy, level, self.points)
            skew = asymmetry(
                denoiser, noisy, level, probes=self.probes, seed=self.seed, items=items
            )
            for i, item in enumerate(items):
                likely = _metrics(ode, i, z.shape[1:]), _metrics(ito, i, z.shape[1:])
                bits = [one["bits_per_dim"] or 0.0 for one in likely]
                rows.append(
                    {
                        "image": str(self.images[item]),
                        "quote": "ode",
                        "apart_bits_per_dim": bits[1] - bits[0],
                        "ode": likely[0],
                        "ito": likely[1],
                        "line_integral_from_first": float(work[i]) + 0.0,  # not -0
                        "asymmetry": float(skew[i]),
                    }
                )
        return rows


def _metrics(estimate: "LogLikelihood", i: int, shape: Sequence[int]) -> dict[str, float | None]:
    from scorefield.priors.energy.likelihood import bits_per_dim

    error = float(estimate.standard_error[i])
    return {
        "energy": float(estimate.energy[i]),
        "standard_error": error if error == error else None,  # none of a single draw
        "bits_per_dim": float(bits_per_dim(estimate.value, shape)[i]),
    }


def _lines(row: dict[str, Any], log_snr: float) -> list[str]:
    lines = [row["image"]]
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
        f"image, {at}"
    )
    lines.append(f"  {'asymmetry':<22}{row['asymmetry']:10.2g} {at}; 0 for a gradient")
    apart = row["apart_bits_per_dim"]
    lines.append(
        f"  quote the ODE's {row['ode']['bits_per_dim']:.3f} bits/dim; the Ito estimator's is "
        f"{abs(apart):.2f} {'more' if apart > 0 else 'less'}, and tends to it only with the number "
        "of --ito-steps"
    )
    return lines
