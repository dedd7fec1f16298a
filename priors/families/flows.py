"""Rectified flows of images: Stable Diffusion 3 and Flux."""

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.codec import LatentCodec
from scorefield.priors.families.base import Adapter, Card, flow_of_images
from scorefield.priors.families.schedules import flow_of
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.text import PipelineConditioner

# The guidance that Flux [dev], distilled from guided samples, is told: diffusers' default.
_FLUX_GUIDANCE = 3.5
_SCHNELL_STEPS = 4  # of its model card
_SD3_TOKENS, _FLUX_TOKENS = 256, 512


def stable_diffusion_3(pipeline: Any, card: Card) -> FrozenPrior:
    """Stable Diffusion 3 (Esser et al. 2024).

    The condition holds the hidden states of two CLIP encoders side by side, followed by T5's
    (`encoder_hidden_states`), and the pooled text of the two (`pooled_projections`). A pipeline
    without T5 has zeros in its place.
    """

    def encode(prompt: str, device: torch.device) -> Mapping[str, Tensor]:
        hidden, _, pooled, _ = pipeline.encode_prompt(
            prompt,
            None,
            None,
            device=device,
            do_classifier_free_guidance=False,
            max_sequence_length=_SD3_TOKENS,
        )
        return {"encoder_hidden_states": hidden, "pooled_projections": pooled}

    tokenizer = pipeline.tokenizer if pipeline.tokenizer_3 is None else pipeline.tokenizer_3
    text = PipelineConditioner(
        encode,
        [pipeline.text_encoder, pipeline.text_encoder_2, pipeline.text_encoder_3],
        tokenizer,
        pipeline.tokenizer.model_max_length if pipeline.tokenizer_3 is None else _SD3_TOKENS,
        card.vocabulary,
    )
    codec = LatentCodec(pipeline.vae)
    config = pipeline.transformer.config
    side = card.side_or(config.sample_size, codec.factor)
    schedule, scheduler = flow_of(pipeline.scheduler, (side // config.patch_size) ** 2)
    network = Adapter(pipeline.transformer)
    sampled = card.sampled(7.0, model=pipeline.transformer)
    return flow_of_images(card, network, text, codec, (schedule, scheduler), side, sampled)


class FlowAdapter(Adapter):
    """A transformer whose timestep runs from 0 to 1.

    num_timesteps: the native timestep of pure noise.
    """

    def __init__(self, model: Any, num_timesteps: int) -> None:
        super().__init__(model)
        self.num_timesteps = num_timesteps


class FluxAdapter(FlowAdapter):
    """Flux's transformer: 2x2 latents are one token."""

    # Its own conditions are of a known kind.
    def forward(  # type: ignore[override]
        self, z: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, **condition: Any
    ) -> Tensor:
        """The velocity at z of (batch, channels, height, width), both even (ValueError)."""
        packed = pack_cells(z)
        height, width = z.shape[-2] // 2, z.shape[-1] // 2
        rows = torch.arange(height, dtype=z.dtype, device=z.device)
        columns = torch.arange(width, dtype=z.dtype, device=z.device)
        where = torch.cartesian_prod(z.new_zeros(1), rows, columns)
        value: Tensor = self.model(
            packed,
            timestep=timestep / self.num_timesteps,
            encoder_hidden_states=encoder_hidden_states,
            img_ids=where,
            txt_ids=z.new_zeros(encoder_hidden_states.shape[1], 3),
            **condition,
        ).sample
        return unpack_cells(value, height, width)


def pack_cells(z: Float[Tensor, "b c h w"]) -> Float[Tensor, "b tokens c4"]:
    """2x2 latents to a token each, row by row, channels first within it.

    Raises:
        ValueError: height or width is odd.
    """
    height, width = z.shape[-2:]
    if height % 2 or width % 2:
        raise ValueError(
            "2x2 latents are one token: give latents of even height and width; got "
            f"{height}x{width}"
        )
    # (b, c, h 2, w 2) to (b, h w, c 2 2)
    cells = z.unflatten(-1, (-1, 2)).unflatten(-3, (-1, 2))
    return cells.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(1, 2)


def unpack_cells(
    tokens: Float[Tensor, "b tokens c4"], height: int, width: int
) -> Float[Tensor, "b c h w"]:
    """The inverse of `pack_cells`; height and width in tokens."""
    cells = tokens.unflatten(1, (height, width)).unflatten(-1, (-1, 2, 2))
    return cells.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)


def flux(pipeline: Any, card: Card) -> FrozenPrior:
    """Flux [dev] and [schnell] (Black Forest Labs 2024), which need no classifier-free guidance.

    The condition holds T5's hidden states (`encoder_hidden_states`), CLIP's pooled text
    (`pooled_projections`) and, for [dev], the scale of the guidance it was distilled from
    (`guidance`).
    """
    transformer = pipeline.transformer

    def encode(prompt: str, device: torch.device) -> Mapping[str, Tensor]:
        hidden, pooled, _ = pipeline.encode_prompt(
            prompt, device=device, max_sequence_length=_FLUX_TOKENS
        )
        tensors = {"encoder_hidden_states": hidden, "pooled_projections": pooled}
        if transformer.config.guidance_embeds:
            tensors["guidance"] = torch.full((1,), _FLUX_GUIDANCE, device=device)
        return tensors

    text = PipelineConditioner(
        encode,
        [pipeline.text_encoder, pipeline.text_encoder_2],
        pipeline.tokenizer_2,
        _FLUX_TOKENS,
        card.vocabulary,
    )
    codec = LatentCodec(pipeline.vae)
    channels = 4 * codec.channels
    if transformer.config.in_channels != channels:
        raise ValueError(
            f"the transformer takes {transformer.config.in_channels} channels and 2x2 latents have "
            f"{channels}; those that are shown more, as for filling or depth, do not load"
        )
    side = card.side_or(2 * (pipeline.default_sample_size // 2), codec.factor)
    schedule, scheduler = flow_of(pipeline.scheduler, (side // 2) ** 2)
    # [schnell], which has no guidance to be told, is distilled further
    few = None if transformer.config.guidance_embeds else _SCHNELL_STEPS
    network = FluxAdapter(transformer, schedule.num_timesteps)
    sampled = card.sampled(1.0, few, transformer)
    return flow_of_images(card, network, text, codec, (schedule, scheduler), side, sampled)
