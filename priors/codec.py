"""Codecs: from images or videos in [0, 1] to the space a denoiser works in, and back.

A codec of single images takes any leading axes, so it is also the codec of a video whose frames
are coded one by one.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any, Protocol, runtime_checkable

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLTemporalDecoder,
    AutoencoderTiny,
)
from jaxtyping import Float
from torch import Tensor

# Numbers per pixel and channel of the first map that a gradient of the encoder keeps, counted of
# Stable Diffusion's; where they take more than this, they are computed again instead.
_KEPT_BY_ENCODER, _ROOM_FOR_ENCODER = 24, 8 * 2**30
TILE = 512
"""Pixels along a side of the tiles that are decoded one by one."""

_LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in Rec. 601, as Pillow has it


@runtime_checkable
class Codec(Protocol):
    """What a prior needs of a codec."""

    factor: int
    """Pixels per latent cell along one axis."""
    channels: int
    """Channels of the latents."""
    frame_factor: int
    """Frames per latent frame: 1 + frame_factor n frames become 1 + n latent ones."""

    def encode(self, images: Float[Tensor, "b *f 3 h w"]) -> Float[Tensor, "b *lf c lh lw"]:
        """Images in [0, 1] to latents; gradients flow to the images."""
        ...

    def decode(self, latents: Float[Tensor, "b *lf c lh lw"]) -> Float[Tensor, "b *f 3 h w"]:
        """Latents to images in [0, 1]; gradients flow to the latents."""
        ...

    def to(self, device: torch.device | str) -> "Codec":
        """Move what it is made of; returns self."""
        ...


class LatentCodec:
    """A frozen diffusers autoencoder of images, its latents shifted and scaled by its config.

    Encoding takes the mean of the posterior: it is deterministic and, in a gradient, without the
    noise of a draw.
    """

    frame_factor = 1

    def __init__(
        self,
        vae: AutoencoderKL | AutoencoderTiny | AutoencoderDC | AutoencoderKLTemporalDecoder,
    ) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self.always_in_tiles = False  # whether `in_tiles` decodes all there is
        # a tiny or a deep compression autoencoder names the widths of its two halves
        widths = vae.config.get("block_out_channels") or vae.config.encoder_block_out_channels
        self.factor = 2 ** (len(widths) - 1)
        self.channels: int = vae.config.latent_channels
        self._scale: float = vae.config.scaling_factor
        # of the autoencoders of flow models (Esser et al. 2024); None in others
        self._shift: float = getattr(vae.config, "shift_factor", None) or 0.0
        # of autoencoders whose latents are standardised per channel, as Playground 2.5's
        self._mean = _per_channel(vae.config.get("latents_mean"), self.channels, "latents_mean")
        self._std = _per_channel(vae.config.get("latents_std"), self.channels, "latents_std")

    def encode(self, images: Float[Tensor, "b *f 3 h w"]) -> Float[Tensor, "b *f c lh lw"]:
        """(posterior mean - shift) scale, or (posterior mean - latents_mean) scale / latents_std.

        Raises:
            ValueError: height or width is no multiple of `factor`.
        """
        return self.posterior(images)[0]

    def posterior(
        self, images: Float[Tensor, "b *f 3 h w"]
    ) -> tuple[Float[Tensor, "b *f c lh lw"], Float[Tensor, "b *f c lh lw"]]:
        """Mean and standard deviation of the encoder's Gaussian, in units of the latents.

        Raises:
            ValueError: height or width is no multiple of `factor`.
        """
        check_divides(images, self.factor)
        pictures = (images.flatten(0, -4) * 2 - 1).to(self.vae.dtype)
        with self._recomputed(pictures):
            found = self.vae.encode(pictures)
        # that of a tiny or a deep compression autoencoder is no distribution
        is_drawn = hasattr(found, "latent_dist")
        mean = found.latent_dist.mean if is_drawn else found[0]
        std = found.latent_dist.std if is_drawn else torch.zeros_like(mean)
        shift, scale = self._shift_and_scale(mean)
        mean, std = (mean - shift) * scale, std * scale
        frames = images.shape[:-3]
        return mean.to(images.dtype).unflatten(0, frames), std.to(images.dtype).unflatten(0, frames)

    def decode(self, latents: Float[Tensor, "b *f c lh lw"]) -> Float[Tensor, "b *f 3 h w"]:
        """The decoder's image, clamped to [0, 1]."""
        return self.decode_unclamped(latents).clamp(0, 1)

    def decode_unclamped(
        self, latents: Float[Tensor, "b *f c lh lw"]
    ) -> Float[Tensor, "b *f 3 h w"]:
        """The decoder's image as it is: two that are both whiter than white may differ."""
        flat = latents.flatten(0, -4)
        shift, scale = self._shift_and_scale(flat)
        z = (flat / scale + shift).to(self.vae.dtype)
        with self.in_tiles() if self.always_in_tiles else nullcontext():
            images = self.vae.decode(z).sample.to(latents.dtype) / 2 + 0.5
        return images.unflatten(0, latents.shape[:-3])

    @contextmanager
    def in_tiles(self) -> Iterator[None]:
        """Within it images above 512 pixels are decoded in tiles, if the autoencoder can.

        That takes the memory of one tile; they are blended, which changes an image a little.
        """
        vae: Any = self.vae
        names = ("use_tiling", "tile_sample_min_size", "tile_latent_min_size")
        before: dict[str, Any] = {name: getattr(vae, name, None) for name in names}
        if None in before.values():
            yield
            return
        tile = min(before["tile_sample_min_size"], TILE)
        for name, value in zip(names, (True, tile, tile // self.factor), strict=True):
            setattr(vae, name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                setattr(vae, name, value)

    @contextmanager
    def _recomputed(self, pictures: Tensor) -> Iterator[None]:
        """The encoder of images whose gradient would keep too much computes it a second time."""
        vae: Any = self.vae
        able = getattr(vae, "_supports_gradient_checkpointing", False)
        if not able or not pictures.requires_grad or vae.is_gradient_checkpointing:
            yield
            return
        width = (vae.config.get("block_out_channels") or vae.config.encoder_block_out_channels)[0]
        kept = _KEPT_BY_ENCODER * width * pictures[:, 0].numel() * pictures.element_size()
        if kept <= _ROOM_FOR_ENCODER:
            yield
            return
        vae.enable_gradient_checkpointing()
        try:
            yield
        finally:
            vae.disable_gradient_checkpointing()

    def _shift_and_scale(self, like: Tensor) -> tuple[float | Tensor, float | Tensor]:
        """Numbers, or one per channel where the config standardises its latents."""
        shift = self._shift if self._mean is None else self._mean.to(like)
        return shift, self._scale if self._std is None else self._scale / self._std.to(like)

    def to(self, device: torch.device | str) -> "LatentCodec":
        """Move the autoencoder; returns self."""
        self.vae.to(device)
        return self


class VideoCodec:
    """A frozen causal autoencoder of videos, as diffusers' AutoencoderKLWan.

    The first frame is coded alone, then every `frame_factor` frames together. Latents are
    standardised per channel.

    factor, frame_factor: pixels and frames per latent cell.
    mean, std: of each channel, (channels,) numbers.
    """

    def __init__(
        self,
        vae: Any,
        *,
        factor: int,
        frame_factor: int,
        mean: Sequence[float] | Tensor,
        std: Sequence[float] | Tensor,
    ) -> None:
        self.vae = vae.eval().requires_grad_(False)
        self.factor = factor
        self.frame_factor = frame_factor
        self.channels = len(mean)
        per_channel = (1, self.channels, 1, 1, 1)
        self._mean = torch.as_tensor(mean).reshape(per_channel)
        self._std = torch.as_tensor(std).reshape(per_channel)

    def encode(self, images: Float[Tensor, "b f 3 h w"]) -> Float[Tensor, "b lf c lh lw"]:
        """(posterior mean - mean) / std.

        Raises:
            ValueError: the frames or the pixels do not divide into latent cells.
        """
        check_divides(images, self.factor)
        if (images.shape[1] - 1) % self.frame_factor:
            raise ValueError(
                f"a video of {images.shape[1]} frames does not divide into latent frames; "
                f"give 1 + {self.frame_factor} n frames"
            )
        video = (images.transpose(1, 2) * 2 - 1).to(self.vae.dtype)
        latents = self.vae.encode(video).latent_dist.mean
        latents = (latents - self._mean.to(latents)) / self._std.to(latents)
        return latents.transpose(1, 2).to(images.dtype)

    def decode(self, latents: Float[Tensor, "b lf c lh lw"]) -> Float[Tensor, "b f 3 h w"]:
        """The decoder's video, clamped to [0, 1]."""
        z = latents.transpose(1, 2).to(self.vae.dtype)
        video = self.decoded(z * self._std.to(z) + self._mean.to(z))
        return (video.transpose(1, 2).to(latents.dtype) / 2 + 0.5).clamp(0, 1)

    def decoded(self, z: Float[Tensor, "b c lf lh lw"]) -> Float[Tensor, "b 3 f h w"]:
        """What the autoencoder makes of its own latents, in [-1, 1]."""
        video: Tensor = self.vae.decode(z).sample
        return video

    def to(self, device: torch.device | str) -> "VideoCodec":
        """Move the autoencoder; returns self."""
        self.vae.to(device)
        return self


class PixelCodec:
    """For denoisers that work on pixels in [-1, 1].

    channels: 3, or 1 for grey images: then the luma of Rec. 601 is encoded, and decoded into
        three equal channels.

    Raises:
        ValueError: another number of channels.
    """

    factor = 1
    frame_factor = 1

    def __init__(self, channels: int = 3) -> None:
        if channels not in (1, 3):
            raise ValueError(f"channels must be 3, or 1 for grey images; got {channels}")
        self.channels = channels

    def encode(self, images: Float[Tensor, "b *f 3 h w"]) -> Float[Tensor, "b *f c lh lw"]:
        """2 x - 1."""
        if self.channels == 1:
            images = torch.einsum("...chw,c->...hw", images, images.new_tensor(_LUMA))[
                ..., None, :, :
            ]
        return images * 2 - 1

    def decode(self, latents: Float[Tensor, "b *f c lh lw"]) -> Float[Tensor, "b *f 3 h w"]:
        """(z + 1) / 2, clamped to [0, 1]."""
        return self.decode_unclamped(latents).clamp(0, 1)

    def decode_unclamped(
        self, latents: Float[Tensor, "b *f c lh lw"]
    ) -> Float[Tensor, "b *f 3 h w"]:
        """(z + 1) / 2."""
        images = latents / 2 + 0.5
        return images if self.channels == 3 else images.repeat_interleave(3, dim=-3)

    def to(self, device: torch.device | str) -> "PixelCodec":
        """There is nothing to move; returns self."""
        return self


def _per_channel(values: Sequence[float] | None, channels: int, name: str) -> Tensor | None:
    if values is None:
        return None
    if len(values) != channels:
        raise ValueError(f"the vae's {name} must have {channels} values; it has {len(values)}")
    return torch.tensor(values).reshape(1, channels, 1, 1)


def check_divides(images: Tensor, factor: int) -> None:
    """Raise ValueError for images whose sides are no multiples of a codec's factor."""
    height, width = images.shape[-2:]
    if height % factor or width % factor:
        raise ValueError(
            f"images of {height}x{width} pixels do not divide into latent cells of {factor}; "
            f"resize them to a multiple of {factor}"
        )
