"""Video Adapter from Python: a small model's style, with motions and colours only the prior knows.

The embedded `motion-narrow` has seen 64 clips of one style, with two motions and two colours;
`motion-broad` all motions and colours, in other styles. Asked for is a clip in the small model's
style that shows what it has never seen.

    python examples/video_adapter.py
"""

import torch
from diffusers import DDPMScheduler

from scorefield.images import film_strips, save_image
from scorefield.priors import load_prior
from scorefield.priors.composition.video_adapter import guided_video_adapter
from scorefield.priors.sampling import sample


def main(
    path: str = "video_adapter.png",
    prompt: str = "a green square moving left",
    prior: str = "motion-broad",
    adapter: str = "motion-narrow",
    steps: int = 25,
) -> None:
    """Write film strips of the small model alone, the prior alone, and both together."""
    broad, small = load_prior(prior), load_prior(adapter)
    together = guided_video_adapter(
        small.condition(), broad.condition(prompt), broad.condition(), prior_strength=10.0
    )
    print(together.explain())
    strips, labels = [], []
    for name, denoiser in {
        "small model alone": small.guided(prompt),
        "prior alone": broad.guided(prompt),
        "both": together,
    }.items():
        scheduler = denoiser.schedule.scheduler(DDPMScheduler)
        latents = sample(denoiser, broad.latent_shape, n=2, scheduler=scheduler, steps=steps)
        strips.append(broad.decode(latents))
        labels += [name] * 2
    save_image(path, film_strips(torch.cat(strips), labels, enlarge=4))


if __name__ == "__main__":
    main()
