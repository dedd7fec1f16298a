"""Rectified flows of videos: Wan."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scorefield.priors.codec import VideoCodec
from scorefield.priors.families.base import Card
from scorefield.priors.families.schedules import flow_of
from scorefield.priors.families.videos import VideoAdapter
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.text import PipelineConditioner

_TOKENS = 512
_SIDE, _FRAMES = 480, 81


def wan(pipeline: Any, card: Card) -> FrozenPrior:
    """Wan 2.1 text-to-video (Wan team 2025): UMT5 text, a causal autoencoder, 81 frames.

    Raises:
        ValueError: a Wan 2.2 pipeline, which has a second transformer or a timestep per token.
    """
    if getattr(pipeline, "transformer_2", None) is not None:
        raise ValueError("a Wan pipeline of two transformers (2.2) does not load; give a 2.1")
    if pipeline.config.get("expand_timesteps", False):
        raise ValueError("a Wan pipeline with a timestep per token (2.2) does not load; give a 2.1")

    def encode(prompt: str, device: torch.device) -> Mapping[str, Tensor]:
        hidden, _ = pipeline.encode_prompt(
            prompt,
            do_classifier_free_guidance=False,
            max_sequence_length=_TOKENS,
            device=device,
            dtype=pipeline.transformer.dtype,
        )
        return {"encoder_hidden_states": hidden}

    codec = VideoCodec(
        pipeline.vae,
        factor=pipeline.vae_scale_factor_spatial,
        frame_factor=pipeline.vae_scale_factor_temporal,
    )
    side = card.side_or(_SIDE // codec.factor, codec.factor)
    schedule, scheduler = flow_of(pipeline.scheduler)
    return FrozenPrior(
        card.name,
        VideoAdapter(pipeline.transformer),
        PipelineConditioner(
            encode, [pipeline.text_encoder], pipeline.tokenizer, _TOKENS, card.vocabulary
        ),
        codec,
        schedule,
        "flow_prediction",
        shape=(card.latent_frames_or(_FRAMES, codec.frame_factor), codec.channels, side, side),
        scheduler=scheduler,
        **card.sampled(5.0, model=pipeline.transformer),
    )
