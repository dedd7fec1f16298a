"""Latent transformers conditioned on T5 text, on a discrete chain: PixArt."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scorefield.priors.codec import LatentCodec
from scorefield.priors.families.base import Adapter, Card, one_encoder
from scorefield.priors.families.schedules import path_of
from scorefield.priors.frozen_prior import FrozenPrior

_ALPHA_TOKENS, _SIGMA_TOKENS = 120, 300


class PixArtAdapter(Adapter):
    """A transformer that is told which tokens are words and, PixArt-alpha of 1024 pixels, the size.

    size: of the images, pixels.
    """

    def __init__(self, model: Any, size: int) -> None:
        super().__init__(model)
        self.size = size

    # Its own conditions are of a known kind.
    def arguments(  # type: ignore[override]
        self, encoder_hidden_states: Tensor, **condition: Any
    ) -> dict[str, Any]:
        """The condition as the transformer takes it."""
        told: dict[str, Tensor | None] = {"resolution": None, "aspect_ratio": None}
        if self.model.use_additional_conditions:
            rows = len(encoder_hidden_states)
            told["resolution"] = encoder_hidden_states.new_full((rows, 2), float(self.size))
            told["aspect_ratio"] = encoder_hidden_states.new_ones(rows, 1)
        return {
            "encoder_hidden_states": encoder_hidden_states, "added_cond_kwargs": told, **condition
        }  # fmt: skip


def pixart_alpha(pipeline: Any, card: Card) -> FrozenPrior:
    """PixArt-alpha (Chen et al. 2023), which predicts eps and a variance."""
    return _pixart(pipeline, card, _ALPHA_TOKENS)


def pixart_sigma(pipeline: Any, card: Card) -> FrozenPrior:
    """PixArt-sigma (Chen et al. 2024): longer prompts, the autoencoder of SDXL."""
    return _pixart(pipeline, card, _SIGMA_TOKENS)


def _pixart(pipeline: Any, card: Card, tokens: int) -> FrozenPrior:
    def encode(prompt: str, device: torch.device) -> Mapping[str, Tensor]:
        hidden, mask, _, _ = pipeline.encode_prompt(
            prompt,
            do_classifier_free_guidance=False,
            device=device,
            clean_caption=False,
            max_sequence_length=tokens,
        )
        return {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}

    transformer = pipeline.transformer
    codec = LatentCodec(pipeline.vae)
    path = path_of(pipeline.scheduler)
    side = card.side_or(transformer.config.sample_size, codec.factor)
    return FrozenPrior(
        card.name,
        PixArtAdapter(transformer, side * codec.factor),
        one_encoder(pipeline, encode, tokens, card),
        codec,
        path.schedule,
        path.prediction_type,
        shape=(codec.channels, side, side),
        scheduler=path.scheduler,
        **card.sampled(4.5, path.few_steps, transformer),
    )
