"""`scorefield invert`: the noise that an image is made from."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from scorefield.cli.command import Outcome, PriorCommand, check_at_least, check_folder, under_way
from scorefield.domains import Count, NotNegative
from scorefield.files import whole_file
from scorefield.locks import owned


@dataclass(frozen=True, kw_only=True)
class Invert(PriorCommand):
    """Find the noise that an image is made from, make it again, and say how far off it is.

    The middle square of the image is resized to what the prior takes. Writes reconstruction.png,
    side_by_side.png (the image; through the codec alone, which is the best that can be reached;
    made again) and noise.safetensors.
    """

    image: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
    """Image to invert, of any size."""
    out: Path
    """Folder for the results; what is there under their names is replaced."""
    prompt: str = ""
    """Prompt that says what the image shows; it helps ddim, and edits start from it."""
    method: Literal["edit-friendly", "ddim"] = "edit-friendly"
    """edit-friendly: noise maps of ancestral sampling, exact. ddim: one noise, approximate."""
    steps: Count = 50
    """Steps of the inversion, and of the reconstruction."""
    scale: NotNegative = 1.0
    """Classifier-free guidance scale, 1 is unguided; ddim is best without."""
    iterations: Count = 1
    """Network evaluations per step of ddim; more is more accurate."""

    def run(self) -> Outcome:
        """Invert, make again and write the results."""
        # One step of ddim, from a level without signal to the clean one, has no inverse.
        check_at_least(2 if self.method == "ddim" else 1, steps=self.steps)
        check_folder(self.out, resume=True)

        import torch
        from safetensors.torch import save_file

        from scorefield.cli.images.given import load_given
        from scorefield.cli.loading import prior_of
        from scorefield.images import contact_sheet, save_image
        from scorefield.priors.editing import ddim_generate, ddim_invert, edit_friendly_invert
        from scorefield.priors.steps import trajectory_levels

        load_given(self.image, None)  # before the networks, which take longer
        prior = prior_of(self)
        image, said = load_given(self.image, prior.image_size)
        trajectory_levels(prior.schedule, self.steps)
        denoiser = prior.guided(self.prompt, self.scale)
        with owned(self.out), under_way(), torch.no_grad():
            latents = prior.encode(image[None].to(prior.device))
            progress = not self.quiet
            if self.method == "ddim":
                z = ddim_invert(
                    denoiser,
                    latents,
                    steps=self.steps,
                    iterations=self.iterations,
                    progress=progress,
                )
                again = ddim_generate(denoiser, z, steps=self.steps, progress=progress)
                noise = {"z": z}
            else:
                maps = edit_friendly_invert(
                    denoiser, latents, steps=self.steps, seed=self.seed, progress=progress
                )
                again = maps.replay(denoiser, progress=progress)
                noise = {"z": maps.start(), "residuals": maps.residuals}
            coded, made = prior.decode(latents).cpu(), prior.decode(again).cpu()
            self.out.mkdir(parents=True, exist_ok=True)
            save_image(self.out / "reconstruction.png", made[0])
            sheet = contact_sheet(torch.cat([image[None], coded, made]), columns=3)
            save_image(self.out / "side_by_side.png", sheet)
            tensors = {name: one.detach().cpu().contiguous() for name, one in noise.items()}
            with whole_file(self.out / "noise.safetensors") as part:
                save_file(tensors, part)
        error = again - latents
        metrics = {
            "out": str(self.out),
            "method": self.method,
            "prompt": self.prompt,
            "prior": prior.name,
            "size": prior.image_size,
            "scale": self.scale,
            "steps": self.steps,
            "iterations": self.iterations if self.method == "ddim" else None,
            "seed": self.seed,
            "latent_error_max": float(error.abs().max()),
            "latent_error_rms": float(error.square().mean().sqrt()),
            "image_error_rms": float((made[0] - image).square().mean().sqrt()),
            "codec_error_rms": float((coded[0] - image).square().mean().sqrt()),
        }
        lines = [
            *said,
            f"{self.method}: latents come back to {metrics['latent_error_max']:.2g} at most, "
            f"{metrics['latent_error_rms']:.2g} rms",
            f"wrote reconstruction.png, side_by_side.png and noise.safetensors in {self.out}",
        ]
        return Outcome(metrics, lines)
