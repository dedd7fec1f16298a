"""Rectified flows of videos: Wan and LTX."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.codec import VideoCodec
from scorefield.priors.families.base import Adapter, Card, one_encoder
from scorefield.priors.families.schedules import flow_of
from scorefield.priors.families.videos import VideoAdapter
from scorefield.priors.frozen_prior import FrozenPrior

_TOKENS = 512
_SIDE, _FRAMES = 480, 81
_LTX_TOKENS, _LTX_SIDE, _LTX_FRAMES, _LTX_RATE = 128, 512, 161, 25.0


class TwoExpertsAdapter(VideoAdapter):
    """Two networks: the first of the levels from a timestep up, the second of those below.

    Its layers are those of the first: features are tapped at the first's levels.

    boundary: that timestep.
    """

    def __init__(self, noisy: Any, cleaner: Any, boundary: float) -> None:
        super().__init__(noisy)
        self.cleaner = VideoAdapter(cleaner)
        self.boundary = boundary

    def forward(self, z: Tensor, timestep: Tensor, **condition: Any) -> Tensor:
        """The velocity at z of (batch, frames, channels, height, width)."""
        is_noisy = timestep >= self.boundary
        # what a pass costs is counted without values, and the same in both
        if timestep.is_meta or bool(is_noisy.all()):
            return super().forward(z, timestep, **condition)
        if not bool(is_noisy.any()):
            return self.cleaner.forward(z, timestep, **condition)
        value = torch.empty_like(z)
        for rows, ask in ((is_noisy, super().forward), (~is_noisy, self.cleaner.forward)):
            own = {name: tensor[rows] for name, tensor in condition.items()}
            value[rows] = ask(z[rows], timestep[rows], **own)
        return value


def wan(pipeline: Any, card: Card) -> FrozenPrior:
    """Wan 2.1 and 2.2 text-to-video (Wan team 2025): UMT5 text, a causal autoencoder, 81 frames.

    Version 2.2 has two transformers, of more and of less noise, or one that can be told a timestep
    for each token: all the same, where the video is made of text alone.
    """

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
        mean=pipeline.vae.config.latents_mean,
        std=pipeline.vae.config.latents_std,
    )
    side = card.side_or(_SIDE // codec.factor, codec.factor)
    schedule, scheduler = flow_of(pipeline.scheduler)
    network: Adapter = VideoAdapter(pipeline.transformer)
    share = pipeline.config.get("boundary_ratio")
    if share is not None and pipeline.transformer_2 is not None:
        boundary = share * schedule.num_timesteps
        network = TwoExpertsAdapter(pipeline.transformer, pipeline.transformer_2, boundary)
    return FrozenPrior(
        card.name,
        network,
        one_encoder(pipeline, encode, _TOKENS, card),
        codec,
        schedule,
        "flow_prediction",
        shape=(card.latent_frames_or(_FRAMES, codec.frame_factor), codec.channels, side, side),
        scheduler=scheduler,
        **card.sampled(5.0, model=pipeline.transformer),
    )


class LTXAdapter(Adapter):
    """LTX's transformer: a latent is a token, and places are in seconds and pixels.

    scale: of a latent cell, (seconds, pixels, pixels).
    """

    def __init__(self, model: Any, scale: Sequence[float | int]) -> None:
        super().__init__(model)
        self.scale = tuple(scale)

    def forward(self, z: Tensor, timestep: Tensor, **condition: Any) -> Tensor:
        """The velocity at z of (batch, frames, channels, height, width)."""
        frames, _, height, width = z.shape[1:]
        value: Tensor = self.model(
            z.movedim(2, -1).flatten(1, 3),
            timestep=timestep,
            num_frames=frames,
            height=height,
            width=width,
            rope_interpolation_scale=self.scale,
            **condition,
        ).sample
        return value.unflatten(1, (frames, height, width)).movedim(-1, 2)


class LTXCodec(VideoCodec):
    """LTX's autoencoder; from 0.9.1 on its decoder is told of noise in its latents: none."""

    def decoded(self, z: Float[Tensor, "b c lf lh lw"]) -> Float[Tensor, "b 3 f h w"]:
        """What the autoencoder makes of its own latents, in [-1, 1]."""
        told = z.new_zeros(len(z)) if self.vae.config.timestep_conditioning else None
        video: Tensor = self.vae.decode(z, told).sample
        return video


def ltx(pipeline: Any, card: Card) -> FrozenPrior:
    """LTX-Video text-to-video (HaCohen et al. 2024): T5 text, 161 frames at 25 a second."""

    def encode(prompt: str, device: torch.device) -> Mapping[str, Tensor]:
        hidden, mask, _, _ = pipeline.encode_prompt(
            prompt,
            do_classifier_free_guidance=False,
            max_sequence_length=_LTX_TOKENS,
            device=device,
        )
        return {"encoder_hidden_states": hidden, "encoder_attention_mask": mask}

    vae, transformer = pipeline.vae, pipeline.transformer
    factor, frame_factor = (
        pipeline.vae_spatial_compression_ratio,
        pipeline.vae_temporal_compression_ratio,
    )
    std = vae.latents_std / vae.config.scaling_factor
    codec = LTXCodec(vae, factor=factor, frame_factor=frame_factor, mean=vae.latents_mean, std=std)
    side = card.side_or(_LTX_SIDE // factor, factor)
    frames = card.latent_frames_or(_LTX_FRAMES, frame_factor)
    schedule, scheduler = flow_of(pipeline.scheduler, frames * side**2)
    return FrozenPrior(
        card.name,
        LTXAdapter(transformer, (frame_factor / _LTX_RATE, factor, factor)),
        one_encoder(pipeline, encode, _LTX_TOKENS, card),
        codec,
        schedule,
        "flow_prediction",
        shape=(frames, codec.channels, side, side),
        scheduler=scheduler,
        **card.sampled(3.0, model=transformer),
    )
