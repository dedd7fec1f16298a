"""`scorefield edit`: a picture that exists, changed to a prompt."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from scorefield.cli.command import (
    Outcome,
    PriorCommand,
    check_picture,
    check_prompt,
    check_unused,
    under_way,
)
from scorefield.domains import Count, NotNegative, Positive, Share

if TYPE_CHECKING:
    from torch import Tensor

    from scorefield.priors.prior import FrozenPrior

Method = Literal["sdedit", "inversion", "inpaint", "prompt-to-prompt", "dds", "pds"]

_READERS: dict[str, tuple[Method, ...]] = {
    "source": ("inversion", "prompt-to-prompt", "dds", "pds"),
    "mask": ("inpaint",),
    "strength": ("sdedit", "inversion", "prompt-to-prompt"),
    "resamplings": ("inpaint",),
    "cross_share": ("prompt-to-prompt",),
    "self_share": ("prompt-to-prompt",),
    "learning_rate": ("dds", "pds"),
}
"""Which methods read an option; what is not named is read by all."""


@dataclass(frozen=True, kw_only=True)
class Edit(PriorCommand):
    """Change a picture to a prompt.

    The middle square of the picture is resized to what the prior takes, and the result has that
    size. Without --method, a --mask means inpaint, a --source means inversion, neither means
    sdedit.
    """

    picture: Annotated[Path, tyro.conf.Positional]
    """The picture to change, of any size."""
    prompt: Annotated[str, tyro.conf.Positional]
    """What the whole picture shall show, in quotes."""
    out: Path = Path("edited.png")
    """The edited picture; replaced if it is there."""
    method: Method | None = None
    """sdedit: noise and denoise, keeps the coarse shapes. inversion: edit-friendly DDPM inversion,
    keeps more; wants --source. inpaint: only what --mask marks. prompt-to-prompt: inversion, and
    the attention of --source kept. dds: delta denoising score, by gradient descent from --source to
    the prompt; wants about 200 --steps. pds: posterior distillation, the same but held to the
    picture."""
    source: str | None = None
    """What the picture shows now."""
    mask: Path | None = None
    """A picture of the same size, white where it is to be made anew, black where it stays."""
    strength: Share = 0.6
    """How much may change, above 0 to 1; not used by inpaint, dds and pds."""
    steps: Count = 50
    """Steps of a trajectory from pure noise; for dds and pds, updates."""
    scale: NotNegative | None = None
    """Classifier-free guidance scale, 1 is unguided; None takes the prior's own."""
    negative: str = ""
    """Prompt that guidance leads away from."""
    resamplings: Count = 5
    """How often inpaint repeats every stretch; more fits better and takes longer."""
    cross_share: Share = 0.8
    """Share of the schedule in which prompt-to-prompt keeps cross-attention, 0 to 1."""
    self_share: Share = 0.4
    """Share of the schedule in which prompt-to-prompt keeps self-attention, 0 to 1."""
    learning_rate: Positive | None = None
    """Learning rate of dds (default 0.05) and pds (0.5); more changes more."""

    def run(self) -> Outcome:
        """Edit and write the picture."""
        check_prompt(self.prompt)
        check_picture(self.out)
        if not 0 < self.strength <= 1:
            raise ValueError(f"--strength must lie above 0, to 1; got {self.strength}")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ValueError(f"--learning-rate must be above 0; got {self.learning_rate}")
        for name in ("cross_share", "self_share"):
            if not 0 <= getattr(self, name) <= 1:
                option = name.replace("_", "-")
                raise ValueError(f"--{option} must lie in 0 to 1; got {getattr(self, name)}")
        method = self._method()

        from scorefield.cli.images.pictures import load_mask, load_picture
        from scorefield.cli.loading import prior_of
        from scorefield.images import save_image
        from scorefield.priors.editing.walk import levels_walked

        picture, _ = load_picture(self.picture, None)  # before the networks, which take longer
        if self.mask is not None:
            load_mask(self.mask, picture, None)
        prior = prior_of(self)
        image, said = load_picture(self.picture, prior.image_size)
        mask = None if self.mask is None else load_mask(self.mask, picture, prior.image_size)
        # of dds and pds, steps are updates: there may be more of them than the schedule has levels
        walks = method not in ("dds", "pds")
        walked = len(levels_walked(prior.schedule, self.steps, self.strength)) - 1 if walks else 0
        prior.guided(self.prompt, self.scale, negative=self.negative or None)
        prior.condition(self.source)
        with under_way():
            edited = self._edit(method, prior, image[None].to(prior.device), mask, walked)
            save_image(self.out, edited[0])
        figures = {
            "out": str(self.out),
            "method": method,
            "prompt": self.prompt,
            "source": self.source,
            "prior": prior.name,
            "size": prior.image_size,
            "scale": prior.guidance_scale if self.scale is None else self.scale,
            "strength": self.strength if method in _READERS["strength"] else None,
            "steps": self.steps,
            "seed": self.seed,
        }
        return Outcome(figures, [*said, f"{method}: wrote {self.out}"])

    def _method(self) -> Method:
        """The method that is named or meant.

        Raises:
            ValueError: it lacks --mask or --source, or would ignore an option.
        """
        method = self.method
        if method is None:
            method = "inpaint" if self.mask else "inversion" if self.source else "sdedit"
        if method == "inpaint" and self.mask is None:
            raise ValueError("--method inpaint needs --mask, a picture, white where to paint")
        if method in _READERS["source"] and not (self.source or "").strip():
            raise ValueError(f"--method {method} needs --source, what the picture shows now")
        unread = [name for name, methods in _READERS.items() if method not in methods]
        check_unused(self, f"--method {method}", *unread)
        return method

    def _edit(
        self,
        method: Method,
        prior: "FrozenPrior",
        image: "Tensor",
        mask: "Tensor | None",
        walked: int,
    ) -> "Tensor":
        from scorefield.priors.editing import (
            AttentionEdit,
            edit_friendly_invert,
            inpaint,
            prompt_to_prompt,
            sdedit,
            tokenizer_of,
        )

        negative = self.negative or None
        progress = not self.quiet
        target = prior.guided(self.prompt, self.scale, negative=negative)
        if method == "inpaint":
            assert mask is not None
            return inpaint(
                prior,
                image,
                mask.to(image),
                self.prompt,
                scale=self.scale,
                negative=negative,
                steps=self.steps,
                resamplings=self.resamplings,
                seed=self.seed,
                progress=progress,
            )
        if method in ("dds", "pds"):
            from scorefield.sds.image_distillation import edit_image
            from scorefield.sds.objectives import DDS, PDS

            assert self.source is not None
            # A step of PDS is about a tenth of one of DDS.
            rate = 0.05 if method == "dds" else 0.5
            return edit_image(
                prior,
                image,
                self.source,
                self.prompt,
                objective=DDS() if method == "dds" else PDS(),
                steps=self.steps,
                learning_rate=rate if self.learning_rate is None else self.learning_rate,
                scale=self.scale,
                negative=negative,
                seed=self.seed,
                progress=progress,
            )
        latents = prior.encode(image)
        if method == "sdedit":
            edited = sdedit(
                target,
                latents,
                strength=self.strength,
                steps=self.steps,
                seed=self.seed,
                progress=progress,
            )
            return prior.decode(edited)
        assert self.source is not None
        source = prior.guided(self.source, self.scale, negative=negative)
        skip = self.steps - walked
        maps = edit_friendly_invert(
            source, latents, steps=self.steps, seed=self.seed, progress=progress
        )
        if method == "inversion":
            return prior.decode(maps.replay(target, skip=skip, progress=progress))
        word_by_word = len(self.source.split()) == len(self.prompt.split())
        edit = (AttentionEdit.replacement if word_by_word else AttentionEdit.refinement)(
            tokenizer_of(prior),
            self.source,
            self.prompt,
            cross_share=self.cross_share,
            self_share=self.self_share,
        )
        _, edited = prompt_to_prompt(
            prior,
            edit,
            scale=self.scale,
            negative=negative,
            noise_maps=maps,
            skip=skip,
            progress=progress,
        )
        return prior.decode(edited)
