"""Latent U-Nets conditioned on CLIP text: Stable Diffusion 1.x, 2.x and XL."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from scorefield.priors.codec import LatentCodec
from scorefield.priors.families.base import Adapter, Card
from scorefield.priors.families.control import ControlledUNet
from scorefield.priors.families.schedules import path_of
from scorefield.priors.prior import FrozenPrior
from scorefield.priors.text import PipelineTextEncoder, TextEncoder


def stable_diffusion(pipeline: Any, card: Card) -> FrozenPrior:
    """Stable Diffusion 1.x and 2.x (Rombach et al. 2022), which predict eps or v."""
    text = TextEncoder(pipeline.tokenizer, pipeline.text_encoder, card.vocabulary, card.synonyms)
    return _latent_unet(pipeline, card, text, Adapter, usual_scale=7.5)


def stable_diffusion_xl(pipeline: Any, card: Card) -> FrozenPrior:
    """Stable Diffusion XL (Podell et al. 2023).

    The condition holds the penultimate hidden states of two CLIP encoders side by side
    (`encoder_hidden_states`), the pooled text of the second (`text_embeds`) and the sizes the
    network is told, original, crop and target (`time_ids`): the prior's own size, uncropped. The
    empty prompt is zeros where the pipeline's config says so.
    """
    size = card.image_size or pipeline.unet.config.sample_size * _factor(pipeline)
    zeros_for_empty = bool(pipeline.config.get("force_zeros_for_empty_prompt", True))

    def encode(prompt: str, device: torch.device) -> Mapping[str, Tensor]:
        hidden, _, pooled, _ = pipeline.encode_prompt(
            prompt, device=device, do_classifier_free_guidance=False
        )
        if prompt == "" and zeros_for_empty:
            hidden, pooled = torch.zeros_like(hidden), torch.zeros_like(pooled)
        time_ids = torch.tensor([[size, size, 0, 0, size, size]], dtype=torch.float32)
        return {
            "encoder_hidden_states": hidden,
            "text_embeds": pooled,
            "time_ids": time_ids.to(device),
        }

    text = PipelineTextEncoder(
        encode,
        [pipeline.text_encoder, pipeline.text_encoder_2],
        pipeline.tokenizer_2,
        pipeline.tokenizer_2.model_max_length,
        card.vocabulary,
    )
    return _latent_unet(pipeline, card, text, XLAdapter, usual_scale=5.0)


class XLAdapter(Adapter):
    """A U-Net that takes pooled text and sizes as `added_cond_kwargs`."""

    # Its own conditions are of a known kind.
    def arguments(  # type: ignore[override]
        self, text_embeds: Tensor, time_ids: Tensor, **condition: Any
    ) -> dict[str, Any]:
        """The condition as the U-Net takes it."""
        added = {"text_embeds": text_embeds, "time_ids": time_ids}
        return {"added_cond_kwargs": added, **condition}


def _factor(pipeline: Any) -> int:
    return int(2 ** (len(pipeline.vae.config.block_out_channels) - 1))


def _latent_unet(
    pipeline: Any,
    card: Card,
    text: TextEncoder | PipelineTextEncoder,
    adapter: type[Adapter],
    usual_scale: float,
) -> FrozenPrior:
    codec = LatentCodec(pipeline.vae)
    if pipeline.unet.config.in_channels != codec.channels:
        raise ValueError(
            f"the unet takes {pipeline.unet.config.in_channels} channels and the latents have "
            f"{codec.channels}; U-Nets that are shown more, as for inpainting, do not load"
        )
    path = path_of(pipeline.scheduler)
    side = card.side_or(pipeline.unet.config.sample_size, codec.factor)
    network = adapter(pipeline.unet)
    controlnet = getattr(pipeline, "controlnet", None)
    return FrozenPrior(
        card.name,
        network if controlnet is None else ControlledUNet(network, controlnet),
        text,
        codec,
        path.schedule,
        path.prediction_type,
        shape=(codec.channels, side, side),
        guidance_scale=card.scale_or(1.0 if path.few_steps else usual_scale),
        scheduler=path.scheduler,
    )
