"""FLUX.2 [klein]: a rectified flow on patches of an autoencoder's latents."""

import math
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from scorefield.priors.codec import check_divides
from scorefield.priors.families.base import Card, flow_of_images, one_encoder
from scorefield.priors.families.flows import FlowAdapter
from scorefield.priors.families.schedules import flow_of
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.schedule import FlowSchedule
from scorefield.priors.text import chat_limit

_TOKENS = 512
_KLEIN_STEPS = 4  # of the distilled one's model card


class Flux2Adapter(FlowAdapter):
    """FLUX.2's transformer: a cell of the codec is a token; places have four coordinates."""

    patch = 1

    # Its own conditions are of a known kind.
    def forward(  # type: ignore[override]
        self, z: Tensor, timestep: Tensor, encoder_hidden_states: Tensor
    ) -> Tensor:
        """The velocity at z of (batch, channels, height, width)."""
        height, width = z.shape[-2:]
        length = encoder_hidden_states.shape[1]
        value: Tensor = self.model(
            z.flatten(2).transpose(1, 2),
            timestep=timestep / self.num_timesteps,
            guidance=None,
            encoder_hidden_states=encoder_hidden_states,
            img_ids=_places(height, width, 1, z),
            txt_ids=_places(1, 1, length, z),
        ).sample
        return value.transpose(1, 2).unflatten(2, (height, width))


def _places(height: int, width: int, length: int, like: Tensor) -> Tensor:
    """Image, row, column and word of every token, (batch, tokens, 4)."""
    axes = [torch.arange(n, device=like.device) for n in (1, height, width, length)]
    return torch.cartesian_prod(*axes).expand(len(like), -1, -1)


class PatchCodec:
    """diffusers' AutoencoderKLFlux2, with patches of 2x2 latents as channels, standardised.

    Mean and deviation of each channel are those of the batch norm it was trained with.
    """

    frame_factor = 1

    def __init__(self, vae: Any) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self.factor = 2 ** len(vae.config.block_out_channels)
        self.channels: int = 4 * vae.config.latent_channels

    def encode(self, images: Float[Tensor, "b *f 3 h w"]) -> Float[Tensor, "b *f c lh lw"]:
        """(posterior mean - mean) / std, 2x2 of them in one cell.

        Raises:
            ValueError: height or width is no multiple of `factor`.
        """
        check_divides(images, self.factor)
        pictures = (images.flatten(0, -4) * 2 - 1).to(self.vae.dtype)
        patches = F.pixel_unshuffle(self.vae.encode(pictures).latent_dist.mean, 2)
        mean, std = self._mean_and_std(patches)
        return ((patches - mean) / std).to(images.dtype).unflatten(0, images.shape[:-3])

    def decode(self, latents: Float[Tensor, "b *f c lh lw"]) -> Float[Tensor, "b *f 3 h w"]:
        """The decoder's image, clamped to [0, 1]."""
        patches = latents.flatten(0, -4).to(self.vae.dtype)
        mean, std = self._mean_and_std(patches)
        pictures = self.vae.decode(F.pixel_shuffle(patches * std + mean, 2)).sample
        images = (pictures.to(latents.dtype) / 2 + 0.5).clamp(0, 1)
        return images.unflatten(0, latents.shape[:-3])

    def to(self, device: torch.device | str) -> "PatchCodec":
        """Move the autoencoder; returns self."""
        self.vae.to(device)
        return self

    def _mean_and_std(self, like: Tensor) -> tuple[Tensor, Tensor]:
        norm = self.vae.bn
        std = (norm.running_var + self.vae.config.batch_norm_eps).sqrt()
        return norm.running_mean.to(like)[:, None, None], std.to(like)[:, None, None]


def flux2_klein(pipeline: Any, card: Card) -> FrozenPrior:
    """FLUX.2 [klein] (Black Forest Labs 2026), distilled to 4 steps or its base.

    The condition holds hidden states of three layers of a chat model side by side
    (`encoder_hidden_states`). The shift of sampling is that of the prior's own size and steps.
    """

    def encode(prompt: str, device: torch.device) -> Mapping[str, Tensor]:
        hidden, _ = pipeline.encode_prompt(prompt, device=device, max_sequence_length=_TOKENS)
        return {"encoder_hidden_states": hidden}

    transformer = pipeline.transformer
    codec = PatchCodec(pipeline.vae)
    side = card.side_or(pipeline.default_sample_size // 2, codec.factor)
    few = _KLEIN_STEPS if pipeline.config.get("is_distilled") else None
    sampled = card.sampled(4.0, few, transformer)
    flow, _ = flow_of(pipeline.scheduler)
    limit = chat_limit(pipeline.tokenizer, _TOKENS, enable_thinking=False)
    schedule = FlowSchedule(flow.num_timesteps, _shift(side**2, sampled["steps"]))
    network = Flux2Adapter(transformer, schedule.num_timesteps)
    text = one_encoder(pipeline, encode, limit, card)
    path = schedule, schedule.scheduler()
    return flow_of_images(card, network, text, codec, path, side, sampled)


def _shift(tokens: int, steps: int) -> float:
    """As its authors fitted it (diffusers' `compute_empirical_mu`), the shift being exp(mu)."""
    from diffusers.pipelines.flux2.pipeline_flux2 import compute_empirical_mu

    return math.exp(compute_empirical_mu(tokens, steps))
