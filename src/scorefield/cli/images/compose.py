"""`scorefield compose`: images under several prompts at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from scorefield.cli.command import (
    Outcome,
    PriorCommand,
    check_image_path,
    check_prompt,
    under_way,
)
from scorefield.domains import Count, Whole

# Of the Langevin steps, in units of sigma^2: small enough for guided fields.
_STEP_SIZE = 0.05


@dataclass(frozen=True, kw_only=True)
class Compose(PriorCommand):
    """Sample images that all prompts hold for, and none of those after --without.

    eps = eps_u + sum_i w_i (eps_i - eps_u), Composable Diffusion (Liu et al. 2022): with one prompt
    it is what `scorefield sample` does.
    """

    prompts: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT ...")]
    """Prompts that every image is to fulfil, each in quotes: "a table" "red"."""
    without: tuple[str, ...] = ()
    """Prompts that no image may fulfil, each in quotes."""
    weights: tuple[float, ...] = ()
    """Weight of each prompt; none takes the prior's own guidance scale for all."""
    without_weight: float = 1.0
    """Weight of each prompt after --without, subtracted."""
    out: Path = Path("composed.png")
    """Sheet of images to write; replaced if it is there."""
    n: Annotated[Count, tyro.conf.arg(aliases=("-n",))] = 16
    """Number of images."""
    steps: Count = 25
    """Number of sampling steps."""
    sampler: Literal["ddim", "ddpm"] = "ddim"
    """ddim is deterministic after the first noise, ddpm draws noise at each step."""
    correct: Whole = 0
    """Langevin steps after each step of the sampler, each an evaluation."""
    batch_size: Count = 16
    """Images in one pass of the network; changes the speed and the memory, not the images."""

    def run(self) -> Outcome:
        """Sample and write the sheet."""
        if not self.prompts:
            raise ValueError("no prompt is given; say what to compose, such as 'a table' red")
        for prompt in (*self.prompts, *self.without):
            check_prompt(prompt)
        if self.weights and len(self.weights) != len(self.prompts):
            raise ValueError(
                f"--weights takes one number per prompt; got {len(self.weights)} for "
                f"{len(self.prompts)} prompts"
            )
        check_image_path(self.out)

        import torch
        from diffusers import DDPMScheduler

        from scorefield.cli.loading import prior_of
        from scorefield.images import contact_sheet, save_image
        from scorefield.priors.composition.compose import conjunction
        from scorefield.priors.composition.normalisable import check_density
        from scorefield.priors.energy.mcmc import ULA
        from scorefield.priors.sampling import sample

        prior = prior_of(self)
        weights = self.weights or (float(prior.guidance_scale),) * len(self.prompts)
        concepts = dict(zip(self.prompts, weights, strict=True))
        concepts |= dict.fromkeys(self.without, -self.without_weight)
        if len(concepts) < len(self.prompts) + len(self.without):
            raise ValueError("a prompt is given twice; give it once, with a higher --weights")
        field = conjunction(
            prior.condition(), [(prior.condition(prompt), w) for prompt, w in concepts.items()]
        )
        check_density(field)
        ancestral = self.sampler == "ddpm"
        with under_way():
            latents = sample(
                field,
                prior.latent_shape,
                self.n,
                scheduler=prior.schedule.scheduler(DDPMScheduler) if ancestral else None,
                corrector=ULA(self.correct, _STEP_SIZE) if self.correct else None,
                steps=self.steps,
                seed=self.seed,
                batch_size=self.batch_size,
                progress=not self.quiet,
                device=prior.device,
            )
            images = torch.cat([prior.decode(part) for part in latents.split(self.batch_size)])
            save_image(self.out, images[0] if self.n == 1 else contact_sheet(images))
        metrics = {
            "out": str(self.out),
            "weights": concepts,
            "n": self.n,
            "prior": prior.name,
            "sampler": self.sampler,
            "correct": self.correct,
            "steps": self.steps,
            "seed": self.seed,
        }
        return Outcome(metrics, [*field.explain().splitlines(), f"wrote {self.out}"])
