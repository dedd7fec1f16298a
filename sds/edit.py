"""One function for all ways to change an image to a prompt; the command line shows its settings.

The ways themselves are in `scorefield.priors.editing` and `scorefield.sds.image_distillation`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

from scorefield.domains import Count, Domain, Positive, Share, check_numbers

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from scorefield.images import Images
    from scorefield.priors.denoiser import Denoiser
    from scorefield.priors.editing.attention_edit import AttentionEdit
    from scorefield.priors.frozen_prior import FrozenPrior
    from scorefield.priors.prior import Guidance

Method = Literal["sdedit", "inversion", "inpaint", "prompt-to-prompt", "dds", "pds"]
"""Ways to edit; see `edit`."""

Attention = Literal["replacement", "refinement"]
"""What prompt-to-prompt keeps: word by word, or the words that both prompts have."""

Strength = Annotated[float, Domain(0.0, 1.0, open=True)]
"""How much of an image may change."""

READERS: dict[str, tuple[Method, ...]] = {
    "source": ("inversion", "prompt-to-prompt", "dds", "pds"),
    "mask": ("inpaint",),
    "strength": ("sdedit", "inversion", "prompt-to-prompt"),
    "resamplings": ("inpaint",),
    "attention": ("prompt-to-prompt",),
    "cross_share": ("prompt-to-prompt",),
    "self_share": ("prompt-to-prompt",),
    "learning_rate": ("dds", "pds"),
}
"""Which methods read a setting; what is not named is read by all."""

_RATES = {"dds": 0.05, "pds": 0.5}
"""Learning rates; a step of PDS is about a tenth of one of DDS."""


@dataclass(frozen=True)
class EditSettings:
    """How an image is edited.

    method: sdedit noises and denoises, and keeps the coarse shapes (Meng et al. 2022). inversion is
        edit-friendly DDPM inversion and keeps more (Huberman-Spiegelglas et al. 2024). inpaint
        makes what a mask marks anew (RePaint, Lugmayr et al. 2022). prompt-to-prompt is inversion
        that keeps the attention of the source (Hertz et al. 2022). dds descends the delta
        denoising score from source to prompt (Hertz et al. 2023), and pds the same held to the
        image (Koo et al. 2024).
    strength: how much may change, above 0 to 1; of sdedit, inversion and prompt-to-prompt.
    steps: steps of a trajectory from pure noise; for dds and pds, updates: about 200.
    scale: classifier-free guidance scale; None takes the prior's own.
    negative: prompt that guidance leads away from; "" is no prompt.
    resamplings: how often inpaint repeats every stretch.
    attention: what prompt-to-prompt keeps: "replacement" pairs the words of two prompts of equally
        many, "refinement" the words that both have. None takes replacement where it can.
    cross_share, self_share: shares of the schedule in which prompt-to-prompt keeps cross-attention
        and self-attention, 0 to 1.
    learning_rate: of dds and pds; None is 0.05 and 0.5.
    seed: of the noise.

    Raises:
        ValueError: a number out of its range.
    """

    method: Method = "sdedit"
    strength: Strength = 0.6
    steps: Count = 50
    scale: float | None = None
    negative: str = ""
    resamplings: Count = 5
    attention: Attention | None = None
    cross_share: Share = 0.8
    self_share: Share = 0.4
    learning_rate: Positive | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        check_numbers(self)

    @property
    def guidance(self) -> "Guidance":
        """The scale and the negative prompt."""
        from scorefield.priors.prior import Guidance

        return Guidance(self.scale, self.negative or None)

    @property
    def walks(self) -> bool:
        """Whether the method walks a schedule; the others update latents."""
        return self.method not in _RATES

    def check(self, prior: "FrozenPrior", prompt: str, source: str | None) -> int:
        """The steps that are walked, of `steps`.

        Raises:
            ValueError: words the prior does not know, no source where there must be one, more
                steps than the schedule has levels, or no U-Net whose attention could be edited.
        """
        from scorefield.priors.steps import trajectory_levels

        if self.method in READERS["source"] and not (source or "").strip():
            raise ValueError(f"{self.method} needs a source, the prompt of the image as it is")
        if self.method == "prompt-to-prompt":
            from scorefield.priors.editing.prompt_to_prompt import unet_of

            unet_of(prior)
        prior.guided(prompt, self.guidance)
        prior.condition(source)
        if not self.walks:
            return 0
        return len(trajectory_levels(prior.schedule, self.steps, self.strength)) - 1


def edit(
    prior: "FrozenPrior",
    images: "Images",
    prompt: str,
    *,
    source: str | None = None,
    mask: "Images | None" = None,
    settings: EditSettings | None = None,
    progress: bool = False,
) -> "Float[Tensor, 'batch 3 height width']":
    """Images that exist, changed to a prompt.

        edit(prior, "chair.png", "a blue chair")
        edit(prior, "chair.png", "a blue chair", source="a red chair")
        edit(prior, "chair.png", "a blue chair", mask="seat.png")

    Args:
        prior: of images.
        images: one or a batch, as `scorefield.images.as_images` takes them: files give their middle
            square at the prior's size, tensors and arrays are of its size.
        prompt: what the whole image shall show.
        source: what it shows now; inversion, prompt-to-prompt, dds and pds need it.
        mask: white where inpaint makes the image anew; of the images' size.
        settings: which method, and how; None is inpaint with a mask, inversion with a source, and
            sdedit with neither.
        progress: show a progress bar.

    Returns:
        In [0, 1], on the prior's device.

    Raises:
        ValueError: before anything starts: words the prior does not know, a missing or an unread
            source or mask, sizes that do not fit.
    """
    from scorefield.images import as_images
    from scorefield.priors.prior import check_is_prior

    check_is_prior(prior)
    if settings is None:
        settings = EditSettings(
            "inpaint" if mask is not None else "inversion" if source else "sdedit"
        )
    method = settings.method
    if (mask is not None) != (method == "inpaint"):
        raise ValueError(f"inpaint takes a mask and no other method does; the method is {method}")
    if source and method not in READERS["source"]:
        raise ValueError(f"{method} reads no source; leave it out or take inversion")
    walked = settings.check(prior, prompt, source)
    pixels = as_images(images, prior.image_size).to(prior.device)
    if mask is not None:
        return _inpainted(prior, pixels, mask, prompt, settings, progress)
    if not settings.walks:
        return _distilled(prior, pixels, str(source), prompt, settings, progress)
    return _walked(prior, pixels, source, prompt, settings, walked, progress)


def _inpainted(
    prior: "FrozenPrior",
    pixels: "Tensor",
    mask: "Images",
    prompt: str,
    settings: EditSettings,
    progress: bool,
) -> "Tensor":
    from scorefield.images import as_images
    from scorefield.priors.editing.inpainting import inpaint

    area = as_images(mask, prior.image_size).mean(dim=1, keepdim=True)
    return inpaint(
        prior,
        pixels,
        (area > 0.5).to(pixels),
        prompt,
        guidance=settings.guidance,
        steps=settings.steps,
        resamplings=settings.resamplings,
        seed=settings.seed,
        progress=progress,
    )


def _distilled(
    prior: "FrozenPrior",
    pixels: "Tensor",
    source: str,
    prompt: str,
    settings: EditSettings,
    progress: bool,
) -> "Tensor":
    from scorefield.sds.image_distillation import edit_image
    from scorefield.sds.objectives import DDS, PDS

    rate = settings.learning_rate
    return edit_image(
        prior,
        pixels,
        source,
        prompt,
        objective=DDS() if settings.method == "dds" else PDS(),
        steps=settings.steps,
        learning_rate=_RATES[settings.method] if rate is None else rate,
        scale=settings.scale,
        negative=settings.negative or None,
        seed=settings.seed,
        progress=progress,
    )


def _walked(
    prior: "FrozenPrior",
    pixels: "Tensor",
    source: str | None,
    prompt: str,
    settings: EditSettings,
    walked: int,
    progress: bool,
) -> "Tensor":
    from scorefield.priors.editing.edit_friendly import edit_friendly_invert
    from scorefield.priors.editing.prompt_to_prompt import prompt_to_prompt
    from scorefield.priors.editing.sdedit import sdedit

    def guided(words: str) -> "Denoiser":
        return prior.guided(words, settings.guidance)

    steps, seed = settings.steps, settings.seed
    latents = prior.encode(pixels)
    if source is None:
        strength = settings.strength
        return prior.decode(
            sdedit(
                guided(prompt), latents, strength=strength, steps=steps, seed=seed,
                progress=progress,
            )
        )  # fmt: skip
    skip = steps - walked
    maps = edit_friendly_invert(guided(source), latents, steps=steps, seed=seed, progress=progress)
    if settings.method == "inversion":
        return prior.decode(maps.replay(guided(prompt), skip=skip, progress=progress))
    _, edited = prompt_to_prompt(
        prior,
        _attention(prior, source, prompt, settings),
        guidance=settings.guidance,
        noise_maps=maps,
        skip=skip,
        progress=progress,
    )
    return prior.decode(edited)


def _attention(
    prior: "FrozenPrior", source: str, prompt: str, settings: EditSettings
) -> "AttentionEdit":
    from scorefield.priors.editing.attention_edit import AttentionEdit
    from scorefield.priors.editing.prompt_to_prompt import tokenizer_of

    kind = settings.attention
    if kind is None:
        word_by_word = len(source.split()) == len(prompt.split())
        kind = "replacement" if word_by_word else "refinement"
    make = AttentionEdit.replacement if kind == "replacement" else AttentionEdit.refinement
    return make(
        tokenizer_of(prior),
        source,
        prompt,
        cross_share=settings.cross_share,
        self_share=settings.self_share,
    )
