"""`scorefield text-to-video`: short clips of a prompt, by one prior or by two."""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from scorefield.cli.command import (
    VIDEOS,
    Outcome,
    PriorCommand,
    check_image_path,
    check_prompt,
    under_way,
)
from scorefield.domains import Count, NotNegative, Positive

if TYPE_CHECKING:
    from scorefield.priors.denoiser import Denoiser
    from scorefield.priors.frozen_prior import FrozenPrior

_LEAST_SIDE = 64  # of a written frame, pixels
# those that `python benchmarks/video_adapter/evaluate.py` chose on its tuning captions
_STRENGTHS = {"guided": 10.0, "algorithm-1": 0.1, "normalized": 0.3}
_INVERSE_TEMPERATURE = 1.5


@dataclass(frozen=True, kw_only=True)
class TextToVideo(PriorCommand):
    """Sample videos of a prompt; write them side by side, and their film strips into a PNG.

    With --adapter, a small model's style is combined with what the prior knows, along DDPM's
    steps. guided: eps_uncond + gamma (eps_prior - eps_prior_uncond), eps_uncond being the small
    model's without the prompt. algorithm-1 (Video Adapter, Yang et al. 2023):
    eps_uncond + alpha (eps_small + gamma eps_prior - eps_uncond). normalized: the same with the
    middle two divided by 1 + gamma.
    """

    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")]
    """Prompt of the videos, in quotes, such as "a green square moving left"; of Stable Video
    Diffusion the path of an image."""
    prior: str = "motion-broad"
    """An embedded prior of videos, a folder in diffusers' format, or a hub id."""
    out: Path = Path("clip.gif")
    """The video, .gif or .mp4; it and the PNG beside it are replaced if they are there."""
    n: Annotated[Count, tyro.conf.arg(aliases=("-n",))] = 16
    """Number of videos."""
    adapter: str | None = None
    """The small model, such as motion-narrow; of the size, frames and words of the prior."""
    adapter_variant: Literal["guided", "algorithm-1", "normalized"] | None = None
    """With --adapter: how the two are combined; None is guided, the one that measured best."""
    prior_strength: float | None = None
    """With --adapter: gamma; None is 10 for guided, 0.1 for algorithm-1, 0.3 for normalized."""
    inverse_temperature: float | None = None
    """With the variants algorithm-1 and normalized: alpha; None is 1.5."""
    scale: NotNegative | None = None
    """Without --adapter: of the classifier-free guidance; None takes the prior's own."""
    frames: Count | None = None
    """Frames of a video; None takes what the prior was trained on: most know nothing else."""
    steps: Count | None = None
    """Number of sampling steps; None takes the prior's own, 25 of most."""
    fps: Positive = 8.0
    """Frames per second of what is written."""
    batch_size: Count = 16
    """Videos at once; changes the speed and the memory, not the videos."""

    def run(self) -> Outcome:
        """Sample and write."""
        check_prompt(self.prompt)
        if not self.fps > 0:
            raise ValueError(f"--fps must be more than 0; got {self.fps:g}")
        check_image_path(self.out, VIDEOS)
        if self.out.suffix.lower() == ".mp4" and find_spec("imageio_ffmpeg") is None:
            raise ValueError(
                f"{self.out}: writing mp4 needs imageio-ffmpeg; `pip install scorefield[video]` or "
                "write a .gif"
            )
        self._check_options()

        from scorefield.images import film_strips, save_gif, save_image, save_mp4
        from scorefield.images import side_by_side as beside

        prior = self._load(self.prior)
        denoiser, scheduler, how = self._denoiser(prior)
        with under_way():
            videos = self._sample(prior, denoiser, scheduler)
            large = max(1, _LEAST_SIDE // videos.shape[-1])
            frames = beside(videos, enlarge=large)
            write = save_gif if self.out.suffix.lower() == ".gif" else save_mp4
            write(self.out, frames, self.fps)
            sheet = self.out.with_suffix(".png")
            save_image(sheet, film_strips(videos, enlarge=large))
        metrics = {
            "out": str(self.out),
            "strips": str(sheet),
            "prompt": self.prompt,
            "n": self.n,
            "frames": videos.shape[1],
            "prior": prior.name,
            **how,
            "steps": prior.steps if self.steps is None else self.steps,
            "seed": self.seed,
        }
        return Outcome(metrics, [f"wrote {self.out}", f"wrote {sheet}"])

    def _check_options(self) -> None:
        """Refuse options of the way of sampling that is not taken."""
        adapted = (self.adapter_variant, self.prior_strength, self.inverse_temperature)
        if self.adapter is None and any(option is not None for option in adapted):
            raise ValueError(
                "--adapter-variant, --prior-strength and --inverse-temperature are of an adapter; "
                "give --adapter, such as motion-narrow"
            )
        if self.adapter is not None and self.scale is not None:
            raise ValueError("--scale is of the prior alone; with --adapter give --prior-strength")
        if self.adapter_variant in (None, "guided") and self.inverse_temperature is not None:
            raise ValueError(
                "--inverse-temperature is of --adapter-variant algorithm-1 and normalized; give "
                "one of them"
            )

    def _load(self, source: str) -> "FrozenPrior":
        from scorefield.cli.loading import load

        prior = load(self, source, self.frames)
        if not prior.is_video:
            raise ValueError(
                f"{source} makes images, not videos; give motion-broad or another prior of "
                "videos, or use `scorefield sample`"
            )
        return prior

    def _denoiser(self, prior: "FrozenPrior") -> tuple["Denoiser", Any, dict[str, Any]]:
        """What to sample, along which scheduler (None: the default), and that in JSON values."""
        if self.adapter is None:
            scale = prior.guidance_scale if self.scale is None else self.scale
            return prior.guided(self.prompt, scale), prior.scheduler, {"scale": scale}

        from diffusers import DDPMScheduler

        from scorefield.priors.schedule import DiscreteSchedule

        small = self._load(self.adapter)
        if not isinstance(prior.schedule, DiscreteSchedule):
            raise ValueError(
                f"--adapter takes DDPM's steps, which {prior.name} has not, a model of a flow; "
                "give priors of a discrete chain"
            )
        variant = self.adapter_variant or "guided"
        how: dict[str, Any] = {"adapter": small.name, "variant": variant}
        how["prior_strength"] = (
            _STRENGTHS[variant] if self.prior_strength is None else self.prior_strength
        )
        if variant != "guided":
            alpha = self.inverse_temperature
            how["inverse_temperature"] = _INVERSE_TEMPERATURE if alpha is None else alpha
        denoiser = self._combined(small, prior, variant, how)
        return denoiser, prior.schedule.scheduler(DDPMScheduler), how

    def _combined(
        self,
        small: "FrozenPrior",
        prior: "FrozenPrior",
        variant: str,
        how: dict[str, Any],
    ) -> "Denoiser":
        from scorefield.priors.composition.normalisable import check_density
        from scorefield.priors.composition.pure_noise import FromPureNoise
        from scorefield.priors.composition.video_adapter import guided_video_adapter, video_adapter

        style, broad = small.condition(), prior.condition(self.prompt)
        if variant == "guided":
            return guided_video_adapter(style, broad, prior.condition(), how["prior_strength"])
        first, rest = (
            video_adapter(
                small.condition(self.prompt),
                style,
                broad,
                how["prior_strength"],
                how["inverse_temperature"],
                normalize=normalize,
            )
            for normalize in (True, variant == "normalized")
        )
        check_density(rest)
        # From pure noise there is a prediction only for weights that sum to one.
        return FromPureNoise(first, rest)

    def _sample(self, prior: "FrozenPrior", denoiser: "Denoiser", scheduler: Any) -> Any:
        """Videos in [0, 1], (n, frames, 3, height, width)."""
        import torch

        from scorefield.priors.sampling import sample

        latents = sample(
            denoiser,
            prior.latent_shape,
            n=self.n,
            scheduler=scheduler,
            steps=prior.steps if self.steps is None else self.steps,
            seed=self.seed,
            batch_size=self.batch_size,
            progress=not self.quiet,
            device=prior.device,
        )
        with torch.no_grad():
            return torch.cat([prior.decode(part) for part in latents.split(1)]).cpu()
