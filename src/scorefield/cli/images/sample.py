"""`scorefield sample`: images of prompts."""

import sys
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

    from scorefield.cameras import Cameras
    from scorefield.priors.frozen_prior import FrozenPrior


@dataclass(frozen=True, kw_only=True)
class Sample(PriorCommand):
    """Sample images of one or several prompts and write them on one sheet."""

    prompts: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT ...")]
    """Prompts, each in quotes; every one has its own images. None for a prior that takes none."""
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
    azimuth: tuple[float, ...] = ()
    """Azimuths of the cameras, degrees from the front, e.g. 0 90 180 270, for a prior that is told
    cameras; every prompt has its images from each. None given tells of no camera."""
    elevation: tuple[float, ...] = ()
    """Elevation of the cameras, degrees above the horizon: one for all, or one for each azimuth;
    none is 15."""
    batch_size: Count = 16
    """Images in one pass of the network; changes the speed and the memory, not the images."""

    def check(self) -> None:
        """Refuse azimuths and elevations that do not go together."""
        counts = len(self.azimuth), len(self.elevation)
        if 0 not in counts and 1 not in counts and counts[0] != counts[1]:
            raise ValueError(
                f"--azimuth has {counts[0]} numbers and --elevation {counts[1]}; give one of them "
                "one number, or both as many"
            )

    def run(self) -> Outcome:
        """Sample and write the sheet."""
        for prompt in self.prompts:
            check_prompt(prompt)
        check_image_path(self.out)

        from scorefield.cli.loading import prior_of
        from scorefield.images import contact_sheet, save_image
        from scorefield.priors.families.classes import NoPrompts
        from scorefield.priors.prior import Guidance

        prior = prior_of(self)
        asked = self.prompts or (("",) if isinstance(prior.text, NoPrompts) else ())
        if not asked:
            raise ValueError("no prompt is given; say what to sample, such as 'a red mushroom'")
        steps = prior.steps if self.steps is None else self.steps
        seen = self._cameras(prior)
        views = 1 if seen is None else len(seen)
        rows = [(prompt, i) for prompt in asked for i in range(views) for _ in range(self.n)]
        prompts = [prompt for prompt, _ in rows]
        cameras = None if seen is None else seen[[i for _, i in rows]]
        guidance = Guidance(self.scale, self.negative or None, self.rescale, self.interval)
        prior.guided(asked, guidance)
        with under_way():
            latents = prior.generate_latents(
                prompts,
                guidance,
                cameras,
                steps=steps,
                seed=self.seed,
                batch_size=self.batch_size,
                progress=not self.quiet,
            )
            images = self._decoded(prior, latents)
            columns = self.n if len(prompts) > self.n else None
            sheet = images[0] if len(images) == 1 else contact_sheet(images, columns)
            save_image(self.out, sheet)
        metrics = {
            "out": str(self.out),
            "prompts": list(asked),
            "n": self.n,
            "azimuth": [] if seen is None else seen.azimuth.tolist(),
            "elevation": [] if seen is None else seen.elevation.tolist(),
            "prior": prior.name,
            "scale": prior.guidance_scale if self.scale is None else self.scale,
            "steps": steps,
            "seed": self.seed,
        }
        return Outcome(metrics, [f"wrote {self.out}"])

    def _cameras(self, prior: "FrozenPrior") -> "Cameras | None":
        """The cameras asked for, in the middle of the distances and fields of view it knows."""
        if not self.azimuth and not self.elevation:
            return None
        ranges = prior.cameras
        if ranges is None:
            raise ValueError(
                f"--azimuth and --elevation are for priors that are told cameras; {prior.name} is "
                "told a view in words, if at all, such as 'a red chair, side view'"
            )
        from scorefield.cameras import Cameras

        low, high = ranges.elevation
        if outside := [f"{one:g}" for one in self.elevation if not low <= one <= high]:
            print(
                f"scorefield: note: {prior.name} was trained on elevations from {low:g} to "
                f"{high:g} degrees, and guesses at {', '.join(outside)}",
                file=sys.stderr,
            )
        distance, fov = (sum(pair) / 2 for pair in (ranges.distance, ranges.fov))
        return Cameras.at(self.azimuth or 0.0, self.elevation or 15.0, distance, fov)

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
