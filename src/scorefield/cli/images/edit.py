"""`scorefield edit`: an image that exists, changed to a prompt."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from scorefield.cli.command import (
    Outcome,
    PriorCommand,
    check_image_path,
    check_prompt,
    check_unused,
    under_way,
)
from scorefield.domains import Count, NotNegative, Positive, Share
from scorefield.sds.edit import READERS, Attention, EditSettings, Method, Strength


@dataclass(frozen=True, kw_only=True)
class Edit(PriorCommand):
    """Change an image to a prompt.

    The middle square of the image is resized to what the prior takes, and the result has that
    size. Without --method, a --mask means inpaint, a --source means inversion, neither means
    sdedit.
    """

    image: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IMAGE")]
    """Image to change, of any size."""
    prompt: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="PROMPT")]
    """Prompt for the whole image, in quotes."""
    out: Path = Path("edited.png")
    """Edited image to write; replaced if it is there."""
    method: Method | None = None
    """sdedit: noise and denoise, keeps the coarse shapes. inversion: edit-friendly DDPM inversion,
    keeps more; wants --source. inpaint: only what --mask marks. prompt-to-prompt: inversion, and
    the attention of --source kept. dds: delta denoising score, by gradient descent from --source to
    the prompt; wants about 200 --steps. pds: posterior distillation, the same but held to the
    image."""
    source: str | None = None
    """Prompt that says what the image shows now."""
    mask: Path | None = None
    """Image of the same size: white where it is to be made anew, black where it stays."""
    strength: Strength = 0.6
    """How much may change, above 0 to 1; not used by inpaint, dds and pds."""
    steps: Count = 50
    """Steps of a trajectory from pure noise; for dds and pds, updates."""
    scale: NotNegative | None = None
    """Classifier-free guidance scale, 1 is unguided; None takes the prior's own."""
    negative: str = ""
    """Prompt that guidance leads away from."""
    resamplings: Count = 5
    """How often inpaint repeats every stretch; more fits better and takes longer."""
    attention: Attention | None = None
    """How prompt-to-prompt keeps attention: replacement pairs the words of two prompts of equally
    many, refinement the words that both have; None takes replacement where it can."""
    cross_share: Share = 0.8
    """Share of the schedule in which prompt-to-prompt keeps cross-attention, 0 to 1."""
    self_share: Share = 0.4
    """Share of the schedule in which prompt-to-prompt keeps self-attention, 0 to 1."""
    learning_rate: Positive | None = None
    """Learning rate of dds (default 0.05) and pds (0.5); more changes more."""

    def run(self) -> Outcome:
        """Edit and write the image."""
        check_prompt(self.prompt)
        check_image_path(self.out)
        settings = self._settings()

        from scorefield.cli.images.given import load_given, load_mask
        from scorefield.cli.loading import prior_of
        from scorefield.images import save_image
        from scorefield.sds.edit import edit

        whole, _ = load_given(self.image, None)  # before the networks, which take longer
        if self.mask is not None:
            load_mask(self.mask, whole, None)
        prior = prior_of(self)
        image, said = load_given(self.image, prior.image_size)
        mask = None if self.mask is None else load_mask(self.mask, whole, prior.image_size)
        settings.check(prior, self.prompt, self.source)
        with under_way():
            edited = edit(
                prior,
                image,
                self.prompt,
                source=self.source,
                mask=mask,
                settings=settings,
                progress=not self.quiet,
            )
            save_image(self.out, edited[0])
        metrics = {
            "out": str(self.out),
            "method": settings.method,
            "prompt": self.prompt,
            "source": self.source,
            "prior": prior.name,
            "size": prior.image_size,
            "scale": prior.guidance_scale if self.scale is None else self.scale,
            "strength": self.strength if settings.method in READERS["strength"] else None,
            "steps": self.steps,
            "seed": self.seed,
        }
        return Outcome(metrics, [*said, f"{settings.method}: wrote {self.out}"])

    def _settings(self) -> EditSettings:
        """The settings as given, of the method that is named or meant.

        Raises:
            ValueError: it lacks --mask or --source, or would ignore an option.
        """
        method = self.method
        if method is None:
            method = "inpaint" if self.mask else "inversion" if self.source else "sdedit"
        if method == "inpaint" and self.mask is None:
            raise ValueError("--method inpaint needs --mask, an image, white where to paint")
        if method in READERS["source"] and not (self.source or "").strip():
            raise ValueError(f"--method {method} needs --source, what the image shows now")
        unread = [name for name, methods in READERS.items() if method not in methods]
        check_unused(self, f"--method {method}", *unread)
        return EditSettings(
            method,
            self.strength,
            self.steps,
            self.scale,
            self.negative,
            self.resamplings,
            self.attention,
            self.cross_share,
            self.self_share,
            self.learning_rate,
            self.seed,
        )
