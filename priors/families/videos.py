"""Videos on a discrete chain: clips of this library, Text-to-Video, AnimateDiff, CogVideoX."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from scorefield.priors.codec import LatentCodec, PixelCodec, VideoCodec
from scorefield.priors.families.base import Adapter, Card, one_encoder
from scorefield.priors.families.schedules import path_of
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.text import ClipTextConditioner


class VideoAdapter(Adapter):
    """A U-Net that wants channels before frames."""

    def forward(self, z: Tensor, timestep: Tensor, **condition: Any) -> Tensor:
        """The U-Net's value at z of (batch, frames, channels, height, width)."""
        return super().forward(z.transpose(1, 2), timestep, **condition).transpose(1, 2)


class MotionUNetAdapter(VideoAdapter):
    """AnimateDiff's U-Net, which wants the text once per frame."""

    # Its own conditions are of a known kind.
    def forward(  # type: ignore[override]
        self, z: Tensor, timestep: Tensor, encoder_hidden_states: Tensor, **condition: Any
    ) -> Tensor:
        """The U-Net's value at z of (batch, frames, channels, height, width)."""
        repeated = encoder_hidden_states.repeat_interleave(z.shape[1], 0)
        return super().forward(z, timestep, encoder_hidden_states=repeated, **condition)


class CogVideoXAdapter(Adapter):
    """CogVideoX's transformer, the larger of which are told the places of their tokens.

    pipeline: that knows them.
    """

    def __init__(self, pipeline: Any) -> None:
        super().__init__(pipeline.transformer)
        self._places = pipeline._prepare_rotary_positional_embeddings
        self._factor: int = pipeline.vae_scale_factor_spatial

    def forward(self, z: Tensor, timestep: Tensor, **condition: Any) -> Tensor:
        """The network's value at z of (batch, frames, channels, height, width)."""
        places = None
        if self.model.config.use_rotary_positional_embeddings:
            height, width = (side * self._factor for side in z.shape[-2:])
            places = self._places(height, width, z.shape[1], z.device)
        value: Tensor = self.model(
            z, timestep=timestep, image_rotary_emb=places, **condition
        ).sample
        return value


@dataclass
class ClipPipeline:
    """The parts of a prior of short clips, each in the format of its library.

    diffusers has no pipeline of this kind: a `ClipUNet` on pixels and a CLIP text encoder.
    """

    unet: Any
    text_encoder: Any
    tokenizer: Any
    scheduler: Any

    @classmethod
    def from_pretrained(
        cls, folder: str, torch_dtype: dict[str, torch.dtype], **_: Any
    ) -> "ClipPipeline":
        """The parts in the subfolders of their names."""
        from diffusers import DDIMScheduler
        from transformers import CLIPTextModel, CLIPTokenizer

        from scorefield.priors.clip_unet import ClipUNet

        part = Path(folder)
        local = {"local_files_only": True}
        weights = {"use_safetensors": True, **local}
        dtype = torch_dtype["default"]
        return cls(
            ClipUNet.from_pretrained(part / "unet", torch_dtype=dtype, **weights),
            CLIPTextModel.from_pretrained(part / "text_encoder", dtype=dtype, **weights),
            CLIPTokenizer.from_pretrained(part / "tokenizer", **local),
            DDIMScheduler.from_pretrained(part / "scheduler", **local),
        )


def clips(pipeline: Any, card: Card) -> FrozenPrior:
    """Short clips in pixels, by a `ClipUNet`: the embedded priors of motion."""
    config = pipeline.unet.config
    for asked, name in ((card.image_size, "sample_size"), (card.frames, "num_frames")):
        if asked not in (None, config[name]):
            raise ValueError(
                f"{card.name} makes clips of {config.num_frames} frames of {config.sample_size} "
                f"pixels only; got {asked}"
            )
    side = config.sample_size
    return _video_unet(
        pipeline,
        card,
        VideoAdapter(pipeline.unet),
        PixelCodec(),
        (config.num_frames, config.in_channels, side, side),
        usual_scale=2.0,
    )


def text_to_video(pipeline: Any, card: Card) -> FrozenPrior:
    """Text-to-Video (Wang et al. 2023, ModelScope), a UNet3DConditionModel; 16 frames."""
    return _latent_video_unet(pipeline, card, VideoAdapter(pipeline.unet), usual_scale=9.0)


def animate_diff(pipeline: Any, card: Card) -> FrozenPrior:
    """AnimateDiff (Guo et al. 2024): Stable Diffusion with motion modules; 16 frames."""
    return _latent_video_unet(pipeline, card, MotionUNetAdapter(pipeline.unet), usual_scale=7.5)


def cog_video_x(pipeline: Any, card: Card) -> FrozenPrior:
    """CogVideoX 2B and 5B (Yang et al. 2024), which predict v; 49 frames."""
    config = pipeline.transformer.config
    tokens = config.max_text_seq_length

    def encode(prompt: str, device: torch.device) -> Mapping[str, Tensor]:
        hidden, _ = pipeline.encode_prompt(
            prompt, do_classifier_free_guidance=False, max_sequence_length=tokens, device=device
        )
        return {"encoder_hidden_states": hidden}

    vae = pipeline.vae
    scale = [1 / vae.config.scaling_factor] * vae.config.latent_channels
    codec = VideoCodec(
        vae,
        factor=pipeline.vae_scale_factor_spatial,
        frame_factor=pipeline.vae_scale_factor_temporal,
        mean=[0.0] * len(scale),
        std=scale,
    )
    side = card.side_or(config.sample_height, codec.factor)
    path = path_of(pipeline.scheduler)
    return FrozenPrior(
        card.name,
        CogVideoXAdapter(pipeline),
        one_encoder(pipeline, encode, tokens, card),
        codec,
        path.schedule,
        path.prediction_type,
        shape=(
            card.latent_frames_or(config.sample_frames, codec.frame_factor),
            codec.channels,
            side,
            side,
        ),
        scheduler=path.scheduler,
        **card.sampled(6.0, path.few_steps, pipeline.transformer),
    )


def _latent_video_unet(
    pipeline: Any, card: Card, network: Adapter, usual_scale: float
) -> FrozenPrior:
    codec = LatentCodec(pipeline.vae)
    side = card.side_or(pipeline.unet.config.sample_size, codec.factor)
    shape = (card.latent_frames_or(16), codec.channels, side, side)
    return _video_unet(pipeline, card, network, codec, shape, usual_scale)


def _video_unet(
    pipeline: Any,
    card: Card,
    network: Adapter,
    codec: LatentCodec | PixelCodec,
    shape: tuple[int, ...],
    usual_scale: float,
) -> FrozenPrior:
    path = path_of(pipeline.scheduler)
    return FrozenPrior(
        card.name,
        network,
        ClipTextConditioner(pipeline.tokenizer, pipeline.text_encoder, card.vocabulary),
        codec,
        path.schedule,
        path.prediction_type,
        shape=shape,
        scheduler=path.scheduler,
        **card.sampled(usual_scale, path.few_steps, pipeline.unet),
    )
