"""Latent U-Nets conditioned on CLIP text: Stable Diffusion 1.x, 2.x and XL."""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from scorefield.priors.codec import LatentCodec
from scorefield.priors.families.base import Adapter, Card
from scorefield.priors.families.control import ControlledUNet
from scorefield.priors.families.schedules import path_of
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.text import ClipTextConditioner, PipelineConditioner
from scorefield.views import CAMERA_WIDTH, CameraRanges

# Of the latents, where a config does not say it: the published models'.
_SIDE, _XL_SIDE = 64, 128

# The scale of the guided samples that a consistency model imitates: diffusers' default.
_LCM_GUIDANCE = 8.5


def stable_diffusion(pipeline: Any, card: Card) -> FrozenPrior:
    """Stable Diffusion 1.x and 2.x (Rombach et al. 2022), which predict eps or v.

    A U-Net with a projection of class embeddings is told cameras, where the card names them.
    """
    text = ClipTextConditioner(
        pipeline.tokenizer,
        pipeline.text_encoder,
        card.vocabulary,
        card.synonyms,
        card.related,
        card.concepts,
    )
    return _latent_unet(pipeline, card, text, UNetAdapter, usual_scale=7.5, usual_side=_SIDE)


def stable_diffusion_xl(pipeline: Any, card: Card) -> FrozenPrior:
    """Stable Diffusion XL (Podell et al. 2023).

    The condition holds the penultimate hidden states of two CLIP encoders side by side
    (`encoder_hidden_states`), the pooled text of the second (`text_embeds`) and the sizes the
    network is told, original, crop and target (`time_ids`): the prior's own size, uncropped. The
    empty prompt is zeros where the pipeline's config says so.
    """
    factor = LatentCodec(pipeline.vae).factor
    size = card.side_or(pipeline.unet.config.sample_size or _XL_SIDE, factor) * factor
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

    text = PipelineConditioner(
        encode,
        [pipeline.text_encoder, pipeline.text_encoder_2],
        pipeline.tokenizer_2,
        pipeline.tokenizer_2.model_max_length,
        card.vocabulary,
    )
    return _latent_unet(pipeline, card, text, XLAdapter, usual_scale=5.0, usual_side=_XL_SIDE)


def cameras_told(config: Mapping[str, Any], told: Mapping[str, Any] | None) -> CameraRanges | None:
    """The cameras that a U-Net takes by its config and its card, which must agree.

    They are told as class labels: a camera's vector goes through diffusers' projection and is added
    to the embedding of the timestep.

    Raises:
        ValueError: only one of config and card says so, a vector has another width, or the ranges
            are no ranges.
    """
    kind, width = (
        config.get("class_embed_type"),
        config.get("projection_class_embeddings_input_dim"),
    )
    if told is None:
        if kind is not None:
            raise ValueError(
                f"has class_embed_type = {kind!r}, which loads where the card (scorefield.json) "
                "says the cameras that it is told; add them, or give a model of this family"
            )
        return None
    if kind != "projection" or width != CAMERA_WIDTH:
        raise ValueError(
            f"has class_embed_type = {kind!r} of {width} numbers, and cameras, which the card "
            f"(scorefield.json) says it is told, take a 'projection' of {CAMERA_WIDTH}; train it "
            "so, or leave the cameras out of the card"
        )
    return CameraRanges.of_card(told)


def guidance_embedding(scale: float, width: int) -> Tensor:
    """What U-Nets distilled from guided samples are told of the guidance, shape (1, width).

    Sines and cosines of 1000 (scale - 1) (Luo et al. 2023, "Latent consistency models", section 4.2
    with the embedding of Kingma et al. 2021), as diffusers' pipelines make it.
    """
    half = width // 2
    rates = torch.exp(-math.log(10000.0) / (half - 1) * torch.arange(half))
    angles = 1000.0 * (scale - 1) * rates
    return F.pad(torch.cat([angles.sin(), angles.cos()]), (0, width % 2))[None]


class UNetAdapter(Adapter):
    """A U-Net; one that was distilled from guided samples is told their guidance."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        width = model.config.time_cond_proj_dim
        told = None if width is None else guidance_embedding(_LCM_GUIDANCE, width)
        self.register_buffer("guidance", told, persistent=False)

    # Its own conditions are of a known kind.
    def arguments(  # type: ignore[override]
        self, encoder_hidden_states: Tensor, **condition: Any
    ) -> dict[str, Any]:
        """The condition as the U-Net takes it."""
        given = {"encoder_hidden_states": encoder_hidden_states, **condition}
        if "class_labels" in given:  # vectors, to be multiplied by weights
            given["class_labels"] = given["class_labels"].to(encoder_hidden_states)
        if isinstance(self.guidance, Tensor):
            told = self.guidance.to(encoder_hidden_states)
            given["timestep_cond"] = told.expand(len(encoder_hidden_states), -1)
        return given


class XLAdapter(UNetAdapter):
    """A U-Net that takes pooled text and sizes as `added_cond_kwargs`."""

    # Its own conditions are of a known kind.
    def arguments(  # type: ignore[override]
        self, text_embeds: Tensor, time_ids: Tensor, **condition: Any
    ) -> dict[str, Any]:
        """The condition as the U-Net takes it."""
        added = {"text_embeds": text_embeds, "time_ids": time_ids}
        return super().arguments(added_cond_kwargs=added, **condition)


def _latent_unet(
    pipeline: Any,
    card: Card,
    text: ClipTextConditioner | PipelineConditioner,
    adapter: type["UNetAdapter"],
    usual_scale: float,
    usual_side: int,
) -> FrozenPrior:
    codec = LatentCodec(pipeline.vae)
    if pipeline.unet.config.in_channels != codec.channels:
        raise ValueError(
            f"the unet takes {pipeline.unet.config.in_channels} channels and the latents have "
            f"{codec.channels}; U-Nets that are shown more, as for inpainting, do not load"
        )
    path = path_of(pipeline.scheduler)
    side = card.side_or(pipeline.unet.config.sample_size or usual_side, codec.factor)
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
        scheduler=path.scheduler,
        cameras=cameras_told(pipeline.unet.config, card.cameras),
        **card.sampled(usual_scale, path.few_steps, pipeline.unet),
    )
