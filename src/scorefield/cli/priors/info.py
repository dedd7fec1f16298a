"""`scorefield info`: what a prior is, and what its layers put out and cost."""

from dataclasses import dataclass
from typing import Annotated, Any

import tyro

from scorefield.cli.command import Outcome, PriorCommand


@dataclass(frozen=True, kw_only=True)
class Info(PriorCommand):
    """Describe a prior and list the layers that can be tapped, without running it."""

    prior: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PRIOR")] = "shapes"
    """An embedded prior, a folder in diffusers' format, a file (with --configs), or a hub id."""
    inner: bool = False
    """List the residual and attention layers inside the blocks as well."""
    prompt: str | None = None
    """Prompt to count with, for a prior that cannot do without one."""

    def run(self) -> Outcome:
        """Load the prior and count."""
        from scorefield.cli.loading import load
        from scorefield.cli.priors.description import describe
        from scorefield.perception.correspondence.dift import dift_preset
        from scorefield.priors.features.network_cost import network_cost

        prior = load(self, self.prior)
        cost = network_cost(prior, self.prompt, inner=self.inner)
        metrics: dict[str, Any] = {
            "name": prior.name,
            "network": type(prior.model).__name__,
            "schedule": repr(prior.schedule),
            "image_size": prior.image_size,
            "frames": prior.frames,
            "latent_shape": list(prior.latent_shape),
            "parameters": sum(p.numel() for p in prior.network.parameters()),
            "evaluation_gflop": cost.flops / 1e9,
            "encode_evaluations": cost.encode,
            "layers": [
                {"name": layer.name, "path": layer.path, "shape": list(layer.shape),
                 "evaluations": layer.fraction}
                for layer in cost.layers
            ],
        }  # fmt: skip
        described = describe(prior, self.prompt)
        metrics |= described.metrics
        what = "videos" if prior.is_video else "images"
        length = f"{prior.frames} frames of " if prior.is_video else ""
        lines = [
            f"{prior.name}: {what} of {length}{prior.image_size}x{prior.image_size} pixels",
            f"network: {metrics['network']}, {metrics['parameters'] / 1e6:.1f} million parameters",
            f"schedule: {metrics['schedule']}",
            f"latents: {'x'.join(map(str, prior.latent_shape))}",
            f"one network evaluation: {cost.flops / 1e9:.3g} GFLOP",
        ]
        if cost.encode is not None:
            lines.append(f"one encoding: {cost.encode:.2f} network evaluations")
        lines += described.lines
        width = max((len(layer.name) for layer in cost.layers), default=0) + 2
        lines += ["", f"{'layer':<{width}}{'map':<16}evaluations until there"]
        lines += [
            f"{layer.name:<{width}}{'x'.join(map(str, layer.shape)):<16}{layer.fraction:.2f}"
            for layer in cost.layers
        ]
        if not prior.is_video:
            preset = dift_preset(prior)
            every = network_cost(prior, self.prompt, inner=True)
            until = {layer.name: layer.fraction for layer in every.layers}
            runs = preset.enlarge**2 * len(preset.shifts) ** 2
            spent = runs * preset.ensemble * max(until[name] for name in preset.layers)
            metrics["dift"] = {
                "layers": list(preset.layers),
                "ensemble": preset.ensemble,
                "log_snr": float(preset.level(prior.schedule).log_snr),
                "enlarge": preset.enlarge,
                "shifts": list(preset.shifts),
                "source": preset.source,
                "evaluations": spent,
                "encoding_evaluations": cost.encode and runs * cost.encode,
            }
            lines += [
                "",
                f"for correspondence: {', '.join(preset.layers)}; {preset.source}",
                f"about {spent:.1f} network evaluations an image"
                + (f" and {runs * cost.encode:.1f} of encoding" if cost.encode else ""),
            ]
        return Outcome(metrics, lines)
