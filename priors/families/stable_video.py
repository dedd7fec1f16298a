"""Stable Video Diffusion, which is shown an image in place of a prompt."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor, nn

from scorefield.images import load_image
from scorefield.priors.codec import LatentCodec
from scorefield.priors.experts import predict_together
from scorefield.priors.families.base import Adapter, Card
from scorefield.priors.families.schedules import path_of
from scorefield.priors.frozen_prior import FrozenPrior
from scorefield.priors.guidance.classifier_free import ClassifierFreeGuidance
from scorefield.priors.levels import NoiseLevel
from scorefield.priors.noise import keyed_noise
from scorefield.priors.prediction import Prediction
from scorefield.priors.text import PromptConditioner

# The defaults of diffusers' StableVideoDiffusionPipeline. The network was told one frame less a
# second than there are.
_FRAMES_PER_SECOND, _MOTION, _NOISE = 7 - 1, 127.0, 0.02


class StableVideoAdapter(Adapter):
    """The U-Net, which sees the latents of the image beside each frame."""

    # Its own conditions are of a known kind.
    def forward(  # type: ignore[override]
        self, z: Tensor, timestep: Tensor, image_latents: Tensor, **condition: Any
    ) -> Tensor:
        """The U-Net's value at z of (batch, frames, channels, height, width)."""
        beside = image_latents.to(z)[:, None].expand(-1, z.shape[1], -1, -1, -1)
        value: Tensor = self.model(torch.cat([z, beside], dim=2), timestep, **condition).sample
        return value


class ImageConditioner(PromptConditioner):
    """A prompt is the path of an image, of which the middle square is shown; "" is none.

    To the network it is an embedding of CLIP and latents that are not scaled, both zero without
    an image. A little noise on the pixels is drawn once and for all, the same for every image.

    pipeline: that knows how.
    size: of the image, pixels.
    """

    def __init__(self, pipeline: Any, size: int) -> None:
        super().__init__()
        self._pipeline, self.size = pipeline, size
        for module in self.modules():
            module.eval().requires_grad_(False)

    def encode_one(self, prompt: str) -> Mapping[str, Tensor]:
        """The embedding, the latents, and what is said of the video's motion."""
        pipeline = self._pipeline
        encoder, vae = pipeline.image_encoder, pipeline.vae
        image = self._image(prompt)
        picture = Image.fromarray((image.permute(1, 2, 0) * 255).round().byte().numpy())
        seen = pipeline._encode_image(picture, encoder.device, 1, False)
        pixels = 2 * image[None] - 1 + _NOISE * keyed_noise(0, [0], 0, image.shape)
        latents = vae.encode(pixels.to(vae.device, vae.dtype)).latent_dist.mode()
        if not prompt:
            seen, latents = torch.zeros_like(seen), torch.zeros_like(latents)
        motion = torch.tensor([[_FRAMES_PER_SECOND, _MOTION, _NOISE]], device=seen.device)
        return {
            "encoder_hidden_states": seen,
            "image_latents": latents.to(seen),
            "added_time_ids": motion.to(seen),
        }

    def key(self, prompt: str) -> Hashable:
        """The path and what the file is now: another image may come to have its name."""
        if not prompt or not Path(prompt).is_file():
            return prompt
        status = Path(prompt).stat()
        return prompt, status.st_ino, status.st_size, status.st_mtime_ns

    def _image(self, prompt: str) -> Float[Tensor, "3 size size"]:
        if not prompt:
            return torch.zeros(3, self.size, self.size)
        try:
            return load_image(prompt, self.size)
        except ValueError as error:
            raise ValueError(
                f"this prior makes a video of an image and takes its path for a prompt; {error}"
            ) from error

    def modules(self) -> Sequence[nn.Module]:
        """The image encoder; the autoencoder is the codec's."""
        return [self._pipeline.image_encoder]


class FrameGuidance(ClassifierFreeGuidance):
    """Guidance whose scale grows evenly from 1 at the first frame to `scale` at the last.

    As diffusers' StableVideoDiffusionPipeline. A `rescale` takes the place of this.
    """

    def predict(self, z: Float[Tensor, "batch f c h w"], level: NoiseLevel) -> Prediction:
        """The guided prediction."""
        if self.scale == 1 or self.rescale > 0:
            return super().predict(z, level)
        cond, uncond = predict_together([self.cond, self.uncond], z, level)
        scale = torch.linspace(1, self.scale, z.shape[1]).to(cond.v).reshape(-1, 1, 1, 1)
        v = uncond.v + scale * (cond.v - uncond.v)
        return Prediction.from_v(cond.z, level, v)

    def rows(self, index: Sequence[int]) -> "FrameGuidance":
        """Both halves for the items ``index``."""
        halves = self.cond.rows(index), self.uncond.rows(index)
        return FrameGuidance(*halves, self.scale, self.rescale)


class TemporalCodec(LatentCodec):
    """An autoencoder whose decoder looks at all frames together (AutoencoderKLTemporalDecoder)."""

    def decode_unclamped(
        self, latents: Float[Tensor, "b *f c lh lw"]
    ) -> Float[Tensor, "b *f 3 h w"]:
        """The decoder's video as it is; without frames, each latent is one of its own."""
        vae: Any = self.vae
        z = (latents.flatten(0, -4) / self._scale).to(vae.dtype)
        frames = latents.shape[1] if latents.ndim == 5 else 1
        images = vae.decode(z, num_frames=frames).sample.to(latents.dtype) / 2 + 0.5
        return images.unflatten(0, latents.shape[:-3])


def stable_video(pipeline: Any, card: Card) -> FrozenPrior:
    """Stable Video Diffusion (Blattmann et al. 2023): 14 or 25 frames of an image, square here.

    Prompts are paths of images. The condition holds the image's CLIP embedding
    (`encoder_hidden_states`), its latents (`image_latents`), and frames per second, motion and
    noise (`added_time_ids`), which are diffusers' defaults: 7, 127 and 0.02.
    """
    config = pipeline.unet.config
    codec = TemporalCodec(pipeline.vae)
    side = card.side_or(config.sample_size, codec.factor)
    path = path_of(pipeline.scheduler)
    return FrozenPrior(
        card.name,
        StableVideoAdapter(pipeline.unet),
        ImageConditioner(pipeline, side * codec.factor),
        codec,
        path.schedule,
        path.prediction_type,
        shape=(card.latent_frames_or(config.num_frames), codec.channels, side, side),
        scheduler=path.scheduler,
        guidance_kind=FrameGuidance,
        **card.sampled(3.0, path.few_steps, pipeline.unet),
    )
