"""Qwen-Image: a rectified flow conditioned on the text of a vision-language model."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.codec import VideoCodec
from scorefield.priors.experts import predict_together
from scorefield.priors.families.base import Card, fill_bucket, flow_of_images, one_encoder
from scorefield.priors.families.flows import FlowAdapter, pack_cells, unpack_cells
from scorefield.priors.families.schedules import flow_of
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.guidance.classifier_free import ClassifierFreeGuidance
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.prediction import Prediction

_TOKENS = 1024


class QwenImageAdapter(FlowAdapter):
    """Qwen-Image's transformer: 2x2 latents are one token, and the timestep runs from 0 to 1."""

    def forward(self, z: Tensor, timestep: Tensor, **condition: Any) -> Tensor:
        """The velocity at z of (batch, channels, height, width), both even (ValueError)."""
        packed = pack_cells(z)
        height, width = z.shape[-2] // 2, z.shape[-1] // 2
        value: Tensor = self.model(
            packed,
            timestep=timestep / self.num_timesteps,
            img_shapes=[[(1, height, width)]] * len(z),
            **condition,
        ).sample
        return unpack_cells(value, height, width)


class TokenNormGuidance(ClassifierFreeGuidance):
    """Guidance whose velocity has, in each token of 2x2 latents, the length of the unguided one.

    As diffusers' QwenImagePipeline. A `rescale` takes the place of this.
    """

    def predict(self, z: Float[Tensor, "batch c h w"], level: NoiseLevel) -> Prediction:
        """The guided prediction."""
        if self.scale == 1 or self.rescale > 0:
            return super().predict(z, level)
        cond, uncond = predict_together([self.cond, self.uncond], z, level)
        guided = uncond.towards(cond, self.scale)
        tokens, length = (pack_cells(one.velocity) for one in (guided, cond))
        tokens = tokens * (length.norm(dim=-1, keepdim=True) / tokens.norm(dim=-1, keepdim=True))
        velocity = unpack_cells(tokens, z.shape[-2] // 2, z.shape[-1] // 2)
        return Prediction.from_velocity(guided.z, level, velocity)

    def rows(self, index: Sequence[int]) -> "TokenNormGuidance":
        """Both halves for the items ``index``."""
        halves = self.cond.rows(index), self.uncond.rows(index)
        return TokenNormGuidance(*halves, self.scale, self.rescale)


class ImageCodec:
    """A causal autoencoder of videos, as diffusers' AutoencoderKLQwenImage, of single images."""

    frame_factor = 1

    def __init__(self, vae: Any, factor: int) -> None:
        mean, std = vae.config.latents_mean, vae.config.latents_std
        self._videos = VideoCodec(vae, factor=factor, frame_factor=1, mean=mean, std=std)
        self.vae, self.factor, self.channels = vae, factor, self._videos.channels

    def encode(self, images: Float[Tensor, "b *f 3 h w"]) -> Float[Tensor, "b *f c lh lw"]:
        """(posterior mean - mean) / std, each image as a video of one frame.

        Raises:
            ValueError: the pixels do not divide into latent cells.
        """
        flat = images.flatten(0, -4)[:, None]
        return self._videos.encode(flat)[:, 0].unflatten(0, images.shape[:-3])

    def decode(self, latents: Float[Tensor, "b *f c lh lw"]) -> Float[Tensor, "b *f 3 h w"]:
        """The decoder's image, clamped to [0, 1]."""
        flat = latents.flatten(0, -4)[:, None]
        return self._videos.decode(flat)[:, 0].unflatten(0, latents.shape[:-3])

    def to(self, device: torch.device | str) -> "ImageCodec":
        """Move the autoencoder; returns self."""
        self.vae.to(device)
        return self


def qwen_image(pipeline: Any, card: Card) -> FrozenPrior:
    """Qwen-Image (Qwen team 2025), guided as its pipeline is: see `TokenNormGuidance`.

    The condition holds the hidden states of the prompt in a chat template
    (`encoder_hidden_states`), padded, and which of them are words (`encoder_hidden_states_mask`).
    """

    def encode(prompt: str, device: torch.device) -> Mapping[str, Tensor]:
        hidden, mask = pipeline.encode_prompt(prompt, device=device, max_sequence_length=_TOKENS)
        if mask is None:
            mask = torch.ones(hidden.shape[:2], dtype=torch.long, device=device)
        hidden, mask = fill_bucket(hidden, mask)
        return {"encoder_hidden_states": hidden, "encoder_hidden_states_mask": mask}

    transformer = pipeline.transformer
    codec = ImageCodec(pipeline.vae, pipeline.vae_scale_factor)
    side = 2 * card.side_or(pipeline.default_sample_size // 2, 2 * codec.factor)
    schedule, scheduler = flow_of(pipeline.scheduler, (side // 2) ** 2)
    network = QwenImageAdapter(transformer, schedule.num_timesteps)
    text = one_encoder(pipeline, encode, _TOKENS, card)
    sampled = {**card.sampled(4.0, model=transformer), "guidance_kind": TokenNormGuidance}
    return flow_of_images(card, network, text, codec, (schedule, scheduler), side, sampled)
