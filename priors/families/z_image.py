"""Z-Image: a rectified flow that counts its time from noise to images."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scorefield.priors.codec import LatentCodec
from scorefield.priors.families.base import (
    Card,
    few_steps_named,
    fill_bucket,
    flow_of_images,
    one_encoder,
)
from scorefield.priors.families.flows import FlowAdapter
from scorefield.priors.families.schedules import flow_of
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.text import chat_limit

_TOKENS = 512
_SIDE = 1024  # pixels, diffusers' default
_TURBO_STEPS = 8  # of its model card


class ZImageAdapter(FlowAdapter):
    """Z-Image's transformer: time runs from noise, 0, to images, 1, and so does its velocity."""

    # Its own conditions are of a known kind.
    def forward(  # type: ignore[override]
        self, z: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, words: Tensor
    ) -> Tensor:
        """The velocity at z of (batch, channels, height, width).

        words: which hidden states are of the prompt, (batch, tokens).
        """
        texts = list(encoder_hidden_states)
        if not words.is_meta:  # what it costs is counted without values, as if all were words
            texts = [hidden[mask] for hidden, mask in zip(texts, words, strict=True)]
        clean = 1 - timestep / self.num_timesteps  # in float32: bfloat16 would round it to 1 in 256
        values = self.model(list(z[:, :, None]), clean, texts, return_dict=False)[0]
        if z.is_meta:
            self.model.rope_embedder.freqs_cis = None  # a table that it would keep, without values
        return -torch.stack(list(values))[:, :, 0]


def z_image(pipeline: Any, card: Card) -> FrozenPrior:
    """Z-Image and its turbo (Tongyi-MAI 2025).

    The condition holds the penultimate hidden states of a chat model (`encoder_hidden_states`),
    padded, and which of them are the prompt's (`words`).
    """

    def encode(prompt: str, device: torch.device) -> Mapping[str, Tensor]:
        ((hidden,), _) = pipeline.encode_prompt(
            prompt, device=device, do_classifier_free_guidance=False, max_sequence_length=_TOKENS
        )
        words = torch.ones(1, len(hidden), dtype=torch.bool, device=device)
        hidden, words = fill_bucket(hidden[None], words)
        return {"encoder_hidden_states": hidden, "words": words}

    codec = LatentCodec(pipeline.vae)
    side = 2 * card.side_or(_SIDE // (2 * codec.factor), 2 * codec.factor)
    schedule, scheduler = flow_of(pipeline.scheduler, (side // 2) ** 2)
    limit = chat_limit(pipeline.tokenizer, _TOKENS, enable_thinking=True)
    few = None if few_steps_named(card.name) is None else _TURBO_STEPS
    network = ZImageAdapter(pipeline.transformer, schedule.num_timesteps)
    text = one_encoder(pipeline, encode, limit, card)
    # diffusers adds its guidance of 5 to the prompt's prediction: 6 here
    sampled = card.sampled(6.0, few, pipeline.transformer)
    return flow_of_images(card, network, text, codec, (schedule, scheduler), side, sampled)
