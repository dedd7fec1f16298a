"""Sana: a rectified flow on the deep compression autoencoder's latents."""

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scorefield.priors.codec import LatentCodec
from scorefield.priors.families.base import Adapter, Card, flow_of_images, one_encoder
from scorefield.priors.families.schedules import flow_of
from scorefield.priors.frozen_prior import FrozenPrior

_TOKENS = 300


class SanaAdapter(Adapter):
    """Sana's transformer, some of which count their timesteps in another unit."""

    def forward(self, z: Tensor, timestep: Tensor, **condition: Any) -> Tensor:
        """The velocity at z of (batch, channels, height, width)."""
        return super().forward(z, timestep * self.model.config.timestep_scale, **condition)


def sana(pipeline: Any, card: Card) -> FrozenPrior:
    """Sana (Xie et al. 2024), with the instruction that its pipeline puts before a prompt."""
    instruction = inspect.signature(pipeline.__call__).parameters["complex_human_instruction"]

    def encode(prompt: str, device: torch.device) -> Mapping[str, Tensor]:
        hidden, mask, _, _ = pipeline.encode_prompt(
            prompt,
            do_classifier_free_guidance=False,
            device=device,
            max_sequence_length=_TOKENS,
            # the pipeline instructs prompts and not what it leads away from
            complex_human_instruction=instruction.default if prompt else None,
        )
        return {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}

    transformer = pipeline.transformer
    codec = LatentCodec(pipeline.vae)
    side = card.side_or(transformer.config.sample_size, codec.factor)
    schedule, scheduler = flow_of(pipeline.scheduler, side**2)
    network = SanaAdapter(transformer)
    text = one_encoder(pipeline, encode, _TOKENS, card)
    sampled = card.sampled(4.5, model=transformer)
    return flow_of_images(card, network, text, codec, (schedule, scheduler), side, sampled)
