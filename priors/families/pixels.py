"""Pixel U-Nets conditioned on T5 text: the first stage of DeepFloyd IF."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scorefield.priors.codec import PixelCodec
from scorefield.priors.families.base import Adapter, Card, one_encoder
from scorefield.priors.families.schedules import clipped, path_of
from scorefield.priors.frozen_prior import FrozenPrior

_LIMIT = 77  # T5 takes more; IF was trained on these


def deepfloyd_if(pipeline: Any, card: Card) -> FrozenPrior:
    """DeepFloyd IF-I (after Saharia et al. 2022), which predicts eps and a variance.

    The network's further channels, the variance of Nichol and Dhariwal 2021, are left out.
    """

    def encode(prompt: str, device: torch.device) -> Mapping[str, Tensor]:
        hidden, _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False, device=device)
        return {"encoder_hidden_states": hidden}

    path = path_of(pipeline.scheduler)
    codec = PixelCodec()
    side = card.side_or(pipeline.unet.config.sample_size, codec.factor)
    return FrozenPrior(
        card.name,
        Adapter(pipeline.unet),
        one_encoder(pipeline, encode, _LIMIT, card),
        codec,
        path.schedule,
        path.prediction_type,
        shape=(codec.channels, side, side),
        scheduler=clipped(path, pipeline.scheduler),
        **card.sampled(7.0, path.few_steps, pipeline.unet),
    )
