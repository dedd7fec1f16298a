"""`scorefield sample`: images of prompts."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from scorefield.cli.command import (
    Failed,
    Outcome,
    PriorCommand,
    check_image_path,
    check_prompt,
    under_way,
)
from scorefield.domains import Count, NotNegative, Share

if TYPE_CHECKING:
    from torch import Tensor

    from scorefield.priors.frozen_prior import FrozenPrior


@dataclass(frozen=True, kw_only=True)
class Sample(PriorCommand):
    """Sample images of one or several prompts and write them on one sheet."""

    prompts: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT ...")]
    """Prompts, each in quotes; every one has its own images."""
    out: Path = Path("samples.png")
    """Sheet of images to write, prompt after prompt; replaced if it is there."""
    n: Annotated[Count, tyro.conf.arg(aliases=("-n",))] = 16
    """Number of images of each prompt."""
    steps: Count | None = None
    """Number of sampling steps; None takes the prior's own, 1 to 8 of turbo models."""
    scale: NotNegative | None = None
    """Classifier-free guidance scale, 1 is unguided; None takes the prior's own."""
    negative: str = ""
    """Prompt that guidance leads away from."""
    rescale: Share = 0.0
    """Guidance rescale of Lin et al. 2023, 0 to 1; tames the contrast of high scales."""
    interval: tuple[float, float] | None = None
    """Guide only from this log-SNR to that (low high), e.g. -3 3; None is everywhere."""
    batch_size: Count = 16
    """Images in one pass of the network; changes the speed and the memory, not the images."""

    def run(self) -> Outcome:
        """Sample and write the sheet."""
        if not self.prompts:
            raise ValueError("no prompt is given; say what to sample, such as 'a red mushroom'")
        for prompt in self.prompts:
            check_prompt(prompt)
        check_image_path(self.out)

        from scorefield.cli.loading import prior_of
        from scorefield.images import contact_sheet, save_image
        from scorefield.priors.prior import Guidance

        prior = prior_of(self)
        steps = prior.steps if self.steps is None else self.steps
        prompts = [prompt for prompt in self.prompts for _ in range(self.n)]
        guidance = Guidance(self.scale, self.negative or None, self.rescale, self.interval)
        prior.guided(self.prompts, guidance)
        with under_way():
            latents = prior.generate_latents(
                prompts,
                guidance,
                steps=steps,
                seed=self.seed,
                batch_size=self.batch_size,
                progress=not self.quiet,
            )
            images = self._decoded(prior, latents)
            columns = self.n if len(self.prompts) > 1 else None
            sheet = images[0] if len(images) == 1 else contact_sheet(images, columns)
            save_image(self.out, sheet)
        metrics = {
            "out": str(self.out),
            "prompts": list(self.prompts),
            "n": self.n,
            "prior": prior.name,
            "scale": prior.guidance_scale if self.scale is None else self.scale,
            "steps": steps,
            "seed": self.seed,
        }
        return Outcome(metrics, [f"wrote {self.out}"])

    def _decoded(self, prior: "FrozenPrior", latents: "Tensor") -> "Tensor":
        """The images; what was sampled is kept if they cannot be decoded."""
        try:
            return prior.decode_in_parts(latents)
        except Exception as error:
            from safetensors.torch import save_file

            kept = self.out.with_suffix(".safetensors")
            save_file({"latents": latents.cpu()}, kept)
            raise Failed(
                f"decoding failed ({' '.join(str(error).split())[:200]}); the latents are in "
                f"{kept}; lower --image-size, or give --low-memory or --device cpu"
            ) from error
