"""Codecs: from images in [0, 1] to the space a denoiser works in, and back."""

from typing import Protocol, runtime_checkable

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float
from torch import Tensor


@runtime_checkable
class Codec(Protocol):
    """What an image prior needs of a codec."""

    factor: int
    """Pixels per latent cell along one axis."""
    channels: int
    """Channels of the latents."""

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        """Images in [0, 1] to latents; gradients flow to the images."""
        ...

    def decode(self, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        """Latents to images in [0, 1]; gradients flow to the latents."""
        ...

    def to(self, device: torch.device | str) -> "Codec":
        """Move what it is made of; returns self."""
        ...


class LatentCodec:
    """A frozen diffusers autoencoder, its latents scaled as its config says.

    Encoding takes the mean of the posterior: it is deterministic and, in a gradient, without the
    noise of a draw.
    """

    def __init__(self, vae: AutoencoderKL) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self.factor = 2 ** (len(vae.config.block_out_channels) - 1)
        self.channels: int = vae.config.latent_channels

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        """Scaled posterior mean. Height and width must be multiples of `factor` (ValueError)."""
        if images.shape[-1] % self.factor or images.shape[-2] % self.factor:
            raise ValueError(
                f"images of {images.shape[-2]}x{images.shape[-1]} pixels do not divide into "
                f"latent cells of {self.factor}; resize them to a multiple of {self.factor}"
            )
        posterior = self.vae.encode((images * 2 - 1).to(self.vae.dtype)).latent_dist
        return (posterior.mean * self.vae.config.scaling_factor).to(images.dtype)

    def decode(self, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        """The decoder's picture, clamped to [0, 1]."""
        z = (latents / self.vae.config.scaling_factor).to(self.vae.dtype)
        return (self.vae.decode(z).sample.to(latents.dtype) / 2 + 0.5).clamp(0, 1)

    def to(self, device: torch.device | str) -> "LatentCodec":
        """Move the autoencoder; returns self."""
        self.vae.to(device)
        return self


class PixelCodec:
    """For denoisers that work on pixels in [-1, 1]."""

    factor = 1
    channels = 3

    def encode(self, images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b c lh lw"]:
        """2 x - 1."""
        return images * 2 - 1

    def decode(self, latents: Float[Tensor, "b c lh lw"]) -> Float[Tensor, "b 3 h w"]:
        """(z + 1) / 2, clamped to [0, 1]."""
        return (latents / 2 + 0.5).clamp(0, 1)

    def to(self, device: torch.device | str) -> "PixelCodec":
        """There is nothing to move; returns self."""
        return self
