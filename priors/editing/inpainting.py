"""Inpainting with a prior that was never trained for it: RePaint (Lugmayr et al. 2022)."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.images import Images
from scorefield.priors.denoiser import Denoiser
from scorefield.priors.editing.masks import check_mask, composite, mask_cells, read_mask
from scorefield.priors.experts import check_is_denoiser
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import (
    ON_THE_WAY,
    START,
    item_generators,
    items_of,
    keyed_noise,
    normal,
)
from scorefield.priors.prior import Guidance, ImagePrior, Prompts, check_is_prior
from scorefield.priors.steps import ddim_step, denoise_loop, level_path


@torch.no_grad()
def inpaint_latents(
    denoiser: Denoiser,
    x: Float[Tensor, "batch *shape"],
    mask: Tensor,
    *,
    steps: int = 50,
    resamplings: int = 5,
    jump: int = 2,
    seed: int = 0,
    items: Sequence[int] | None = None,
    progress: bool = False,
) -> Float[Tensor, "batch *shape"]:
    """``x`` with the part under the mask made anew to fit the rest (RePaint, Algorithm 1).

    An ancestral walk in which, after every step, the known part is replaced by ``x`` noised to that
    level.  A single such walk ignores much of what is known, for the known part was noised without
    regard to the rest.  So the walk is repeated: every stretch of ``jump`` steps is walked
    ``resamplings`` times, the state being noised back to where the stretch began in between
    (z_t ~ q(z_t | z_s)).  This costs

        resamplings (steps - 1) + 1

    evaluations.  The last step, to the clean level, is taken once, as in the paper.  On a Gaussian
    the mean tends to the conditional one as resamplings grow, with short jumps; a long jump forgets
    at its noisy end what the stretch had found, and stays off however often it is repeated.

    Args:
        denoiser: what the missing part is drawn from, usually guided.
        x: clean samples in the space of the denoiser; what they hold under the mask is not read.
        mask: 0 (known) or 1 (to be made), of a shape that broadcasts with ``x``.
        steps: of a walk from the noisiest level.
        resamplings: walks over every stretch; 1 is plain replacement.
        jump: steps of a stretch.
        seed: row i depends on (seed, items[i]) and x[i] only.
        items: whose noise each row gets; 0 ... batch - 1 if None.
        progress: show a progress bar.

    Raises:
        ValueError: numbers out of range, a mask that holds other values or does not broadcast.
        FloatingPointError: as soon as a sample is not finite.
    """
    check_is_denoiser(denoiser)
    if resamplings < 1 or jump < 1:
        raise ValueError(f"resamplings and jump must be >= 1, got {resamplings} and {jump}")
    if not bool(((mask == 0) | (mask == 1)).all()):
        raise ValueError("a mask of latents holds 0 and 1 only; mask_cells makes one from pixels")
    try:
        unknown = (mask > 0).to(x.device).expand(x.shape)
    except RuntimeError:
        raise ValueError(
            f"a mask of shape {tuple(mask.shape)} does not broadcast with latents of shape "
            f"{tuple(x.shape)}"
        ) from None
    levels = level_path(denoiser.schedule, steps)
    items = items_of(len(x), items)
    generators = item_generators(len(x), seed, items, ON_THE_WAY)

    def step(z: Tensor, here: NoiseLevel, to: NoiseLevel, _: int) -> Tensor:
        if to.sigma > here.sigma:
            return _noise_back(z, here, to, normal(z, generators))
        made = ddim_step(denoiser(z, here), to, 1, normal(z, generators))
        known = to.add_noise(x, normal(z, generators)).to(x.dtype)
        return torch.where(unknown, made, known)

    start = keyed_noise(seed, items, START, x.shape[1:], x.dtype, x.device)
    z = levels[0].add_noise(torch.where(unknown, 0, x), start).to(x.dtype)
    visited = [levels[place] for place in _places(steps, resamplings, jump)]
    return denoise_loop(z, visited, step, label="inpainting", progress=progress)


@torch.no_grad()
def inpaint(
    prior: ImagePrior,
    images: Images,
    mask: Images,
    prompts: Prompts,
    *,
    guidance: Guidance | float | int | None = None,
    steps: int = 50,
    resamplings: int = 5,
    jump: int = 2,
    seed: int = 0,
    items: Sequence[int] | None = None,
    keep_pixels: bool = True,
    progress: bool = False,
) -> Float[Tensor, "b 3 h w"]:
    """Images with the part under a mask made anew, by `inpaint_latents` of a guided prior.

    A latent cell that holds any masked pixel is made anew.  The latents of known cells beside the
    mask still saw the old pixels, through the encoder; paint over what must leave no trace.

    Args:
        prior: latents or pixels.
        images: one or a batch, of the prior's size, as `ImagePrior.encode` takes them.
        mask: one, or one per image, in the same forms, of one channel (b, 1, h, w) or white on
            black; 1 where the image is made anew. Values between count as masked and blend the
            old and the new pixels.
        prompts: of the whole image, one or one per image.
        guidance: as of `ImagePrior.guided`.
        steps: as in `inpaint_latents`, so are the next four.
        resamplings: walks over every stretch.
        jump: steps of a stretch.
        seed: of the noise.
        items: whose noise each image gets.
        keep_pixels: put the known pixels back after decoding.  Without it they pass through the
            codec, which blurs the whole image a little and leaves no seam.
        progress: show a progress bar.

    Raises:
        ValueError: no prior first, images of another size than the prior's, a mask that does not
            fit them, numbers out of range.
        FloatingPointError: as soon as a sample is not finite.
    """
    check_is_prior(prior)
    images, mask = prior.pixels(images), read_mask(mask, prior.image_size).to(prior.device)
    side = prior.image_size
    if images.shape[-2:] != (side, side):
        raise ValueError(
            f"images must be {side}x{side} pixels for {prior.name}, "
            f"got {images.shape[-2]}x{images.shape[-1]}; load_image(path, size={side}) resizes"
        )
    check_mask(mask, images)
    made = inpaint_latents(
        prior.guided(prompts, guidance),
        prior.encode(images),
        mask_cells(mask, prior.codec.factor),
        steps=steps,
        resamplings=resamplings,
        jump=jump,
        seed=seed,
        items=items,
        progress=progress,
    )
    decoded = prior.decode(made)
    return composite(images, decoded, mask) if keep_pixels else decoded


def _places(steps: int, resamplings: int, jump: int) -> list[int]:
    """The places of the path that are visited; a smaller one than before is noised back to.

    Stretches are counted from the last noisy place upwards, so that a shorter one is the noisiest.
    """
    places = [0]
    begin = 0
    for end in reversed(range(steps - 1, 0, -jump)):
        for repeat in range(resamplings):
            if repeat > 0:
                places.append(begin)
            places += range(begin + 1, end + 1)
        begin = end
    return [*places, steps]


def _noise_back(z: Tensor, here: NoiseLevel, to: NoiseLevel, noise: Tensor) -> Tensor:
    """z_t ~ q(z_t | z_s) = N(r z_s, sigma_t^2 - r^2 sigma_s^2), r = alpha_t / alpha_s."""
    alpha_here, sigma_here = here.like(z)
    alpha, sigma = to.like(z)
    ratio = alpha / alpha_here
    return (ratio * z + (sigma**2 - (ratio * sigma_here) ** 2).sqrt() * noise).to(z.dtype)
