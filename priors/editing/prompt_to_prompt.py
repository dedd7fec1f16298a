"""Prompt-to-prompt: two images side by side, the attention of one steering the other.

Hertz et al. 2022.  Source and edited image walk down together; nothing is recorded, for each
layer sees both.  Only the attention processors of the U-Net are exchanged, and put back afterwards.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor, AttnProcessor2_0
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from scorefield.acceleration import as_written
from scorefield.priors.denoiser import Denoiser
from scorefield.priors.editing.attention_edit import AttentionEdit
from scorefield.priors.editing.edit_friendly import NoiseMaps, ancestral_mean
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import START, keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.prior import Guidance, check_is_prior
from scorefield.priors.steps import ddim_step, denoise_loop, level_path


def unet_of(prior: FrozenPrior) -> UNet2DConditionModel:
    """The U-Net of a prior, whatever it is wrapped in.

    Raises:
        ValueError: the prior has none, or one that attends to text and image at once.
    """
    for module in prior.network.modules():
        if isinstance(module, UNet2DConditionModel):
            if all(getattr(m, "added_kv_proj_dim", None) is None for m in module.modules()):
                return module
    raise ValueError(
        f"{prior.name} has no UNet2DConditionModel of cross-attention, which could be edited; "
        "use sdedit or edit-friendly inversion"
    )


def tokenizer_of(prior: FrozenPrior) -> Any:
    """The tokenizer whose tokens the cross-attention of a prior attends to.

    Raises:
        ValueError: the prior has none.
    """
    tokenizer = getattr(prior.text, "tokenizer", None)
    if tokenizer is None:
        raise ValueError(
            f"{prior.name} reads no text, so there are no words whose attention could be edited; "
            "use sdedit or edit-friendly inversion"
        )
    return tokenizer


@contextmanager
def edited_attention(prior: FrozenPrior, edit: AttentionEdit) -> Iterator[Denoiser]:
    """Inside, a denoiser of pairs: batch rows 0 ... n - 1 are sources, n ... 2n - 1 their edits.

    It is the prior under the two prompts, without guidance, with the attention of ``edit``.  The
    attention is edited only while this denoiser is evaluated; any other denoiser of the prior
    computes as always, and on leaving the very processors from before are back in place.

    Raises:
        ValueError: the prior has no U-Net, or one whose attention is not the plain one.
    """
    unet = unet_of(prior)
    before = dict(unet.attn_processors)
    others = {type(p).__name__ for p in before.values()} - {
        AttnProcessor.__name__,
        AttnProcessor2_0.__name__,
    }
    if others:
        raise ValueError(
            f"{prior.name} computes its attention by {', '.join(sorted(others))}; only the plain "
            "AttnProcessor and AttnProcessor2_0 can be edited"
        )
    pairs = _Pairs(prior, edit)
    # A copy, for diffusers empties the dictionary it is given.
    unet.set_attn_processor({name: _EditedProcessor(p, pairs) for name, p in before.items()})
    try:
        with as_written():
            yield pairs
    finally:
        unet.set_attn_processor(dict(before))


@torch.no_grad()
def prompt_to_prompt(
    prior: FrozenPrior,
    edit: AttentionEdit,
    *,
    guidance: Guidance | float | int | None = None,
    steps: int = 50,
    seed: int = 0,
    items: Sequence[int] = (0,),
    start: Float[Tensor, "items *shape"] | None = None,
    noise_maps: NoiseMaps | None = None,
    skip: int = 0,
    progress: bool = False,
) -> tuple[Float[Tensor, "items *shape"], Float[Tensor, "items *shape"]]:
    """Latents of source images and of their edits.

    By default both are sampled by DDIM from one noise, the sources being those of ``sample`` with
    that seed and those items.  For an image that exists, give either ``start``, its noise by
    `ddim_invert`, or better ``noise_maps``, its `edit_friendly_invert` under
    ``prior.guided(edit.source, guidance)``: the source is then that image.

    Args:
        prior: a prior with a U-Net.
        edit: prompts and attention.
        guidance: of both, as of `ImagePrior.guided`.
        steps: of the walk; not used with ``noise_maps``, which have their own.
        seed: of the noise.
        items: the images to make; not used with ``start`` or ``noise_maps``.
        start: where both begin, at the noisiest level.
        noise_maps: of the images to edit.
        skip: steps of the noise maps that are left out, as in `NoiseMaps.replay`.
        progress: show a progress bar.

    Raises:
        ValueError: no prior first or no edit second; no U-Net, or plain attention, to edit; start
            and noise maps both given; skip without noise maps, or out of range.
        FloatingPointError: as soon as an image is not finite.
    """
    check_is_prior(prior)
    if not isinstance(edit, AttentionEdit):
        raise ValueError(
            "the edit comes second: AttentionEdit.replacement(tokenizer_of(prior), 'a red cup', "
            f"'a blue cup') makes one; got {edit!r:.60}"
        )
    if start is not None and noise_maps is not None:
        raise ValueError("start and noise_maps both say where to begin; give one of them")
    if skip and noise_maps is None:
        raise ValueError(f"skip = {skip} leaves out steps of noise maps; give noise_maps")
    if noise_maps is not None:
        both = noise_maps.twice()
        levels: Sequence[NoiseLevel] = both.levels[skip:]
        z = both.start(skip)
    else:
        levels = level_path(prior.schedule, steps)
        if start is None:
            start = keyed_noise(seed, items, START, prior.latent_shape, device=prior.device)
        z = torch.cat([start, start])

    guidance = Guidance.of(guidance, prior.guidance_scale)
    uncond = prior.condition(guidance.negative)
    with edited_attention(prior, edit) as pairs:
        guided = guidance.between(uncond, pairs)

        def step(z: Tensor, here: NoiseLevel, to: NoiseLevel, i: int) -> Tensor:
            prediction = guided(z, here)
            if noise_maps is None:
                return ddim_step(prediction, to)
            return ancestral_mean(prediction, to) + both.residuals[skip + i].to(z.device)

        sources, edited = denoise_loop(z, levels, step, progress=progress).chunk(2)
    return sources, edited


class _Pairs(Denoiser):
    """A prior under two prompts, and the state of the attention that its network reads."""

    def __init__(self, prior: FrozenPrior, edit: AttentionEdit) -> None:
        self.prior = prior
        self.edit = edit
        self.schedule = prior.schedule
        self.taking_cross = self.taking_self = self.weighting = False

    def predict(self, z: Float[Tensor, "batch *shape"], level: NoiseLevel) -> Prediction:
        """The prediction of both halves under their prompts, the second with edited attention.

        Raises:
            ValueError: an odd batch, or one of several levels.
        """
        if len(z) % 2 or bool((level.alpha != level.alpha[0]).any()):
            raise ValueError(
                f"pairs come as sources followed by their edits at one level; got {len(z)} rows at "
                f"log-SNR {float(level.log_snr.min()):.4g} to {float(level.log_snr.max()):.4g}"
            )
        edit, n = self.edit, len(z) // 2
        denoiser = self.prior.condition([edit.source] * n + [edit.target] * n)
        fraction = float(self.schedule.fraction(level[0]))
        self.taking_cross = _within(edit.cross_share, fraction)
        self.taking_self = _within(edit.self_share, fraction)
        self.weighting = bool((edit.weights != 1).any())
        try:
            return denoiser(z, level)
        finally:
            self.taking_cross = self.taking_self = self.weighting = False

    def maps(self, probabilities: Float[Tensor, "n heads places tokens"]) -> Tensor:
        """Cross-attention maps with those of the second half edited."""
        edit = self.edit
        source, own = probabilities.chunk(2)
        if own.shape[-1] != len(edit.taken):
            raise ValueError(
                f"the edit is for prompts of {len(edit.taken)} tokens, the network is given "
                f"{own.shape[-1]}; make it with the prior's own tokenizer"
            )
        edited = own
        if self.taking_cross:
            taken = edit.taken.to(own)
            edited = taken * (source @ edit.mapping.to(own)) + (1 - taken) * own
        return torch.cat([source, edited * edit.weights.to(own)])


class _EditedProcessor:
    """Attention as its original computes it, unless the pairs say that it is to be edited."""

    def __init__(self, original: Any, pairs: _Pairs) -> None:
        self.original = original
        self.pairs = pairs

    def __call__(
        self,
        attn: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        cross = encoder_hidden_states is not None
        pairs = self.pairs
        edited = (pairs.taking_cross or pairs.weighting) if cross else pairs.taking_self
        if not edited:
            return self.original(
                attn, hidden_states, encoder_hidden_states, attention_mask, temb, **kwargs
            )
        if attention_mask is not None or attn.norm_q is not None or hidden_states.ndim != 3:
            raise ValueError("attention with masks, normalised queries or images cannot be edited")
        residual = hidden_states
        if attn.spatial_norm is not None:
            hidden_states = attn.spatial_norm(hidden_states, temb)
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        context = hidden_states
        if encoder_hidden_states is not None:
            context = encoder_hidden_states
            if attn.norm_cross:
                context = attn.norm_encoder_hidden_states(context)
        query, key, value = (
            projected.unflatten(-1, (attn.heads, -1)).transpose(1, 2)  # (batch, heads, places, d)
            for projected in (attn.to_q(hidden_states), attn.to_k(context), attn.to_v(context))
        )
        if cross:
            scores = attn.scale * query.float() @ key.float().transpose(-1, -2)
            out = pairs.maps(scores.softmax(dim=-1)).to(value.dtype) @ value
        else:
            # The source's queries and keys give the source's maps, which are never held in memory.
            query, key = (torch.cat([half.chunk(2)[0]] * 2) for half in (query, key))
            out = functional.scaled_dot_product_attention(query, key, value, scale=attn.scale)
        out = attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2)))
        if attn.residual_connection:
            out = out + residual
        return out / attn.rescale_output_factor


def _within(share: float | int, fraction: float) -> bool:
    """Whether a fraction of the schedule lies in its noisiest share."""
    return share == 1 or fraction > 1 - share
