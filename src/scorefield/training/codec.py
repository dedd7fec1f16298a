"""Stage one of the recipe: the autoencoder whose latents the denoiser works on."""

from collections.abc import Mapping
from typing import cast

import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, UInt8
from torch import Tensor
from tqdm import tqdm

from scorefield.images import contact_sheet
from scorefield.priors.noise import noise_generator
from scorefield.training.data import batch_indices, from_bytes
from scorefield.training.settings import TrainingSettings
from scorefield.training.task import TrainingTask

KL_WEIGHT = 1e-4
"""Of the divergence per latent number against the absolute error per colour value."""


def make_codec(channels: int = 4) -> AutoencoderKL:
    """64x64 pixels to latents of `channels` x 16 x 16."""
    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=channels,
        block_out_channels=(32, 64, 64),
        layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        norm_num_groups=8,
        mid_block_add_attention=False,
        sample_size=64,
    )


class CodecTask(TrainingTask):
    """Absolute error of pixels and of their differences, with a light pull to a normal code.

    The differences (horizontal and vertical neighbours) keep edges sharp without an adversary.

    codec: what to train; None makes one with random weights.
    """

    module: AutoencoderKL

    def __init__(
        self,
        images: UInt8[Tensor, "n h w 3"],
        settings: TrainingSettings,
        codec: AutoencoderKL | None = None,
    ) -> None:
        torch.manual_seed(settings.seed)
        super().__init__(make_codec() if codec is None else codec, settings)
        self.images = images

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Reconstruction and divergence of a random batch."""
        count = self.settings.batch_size
        batch = batch_indices(generator, len(self.images), count)
        x = from_bytes(self.images[self.processes.own(batch)]).to(self.device) * 2 - 1
        x = x.contiguous(memory_format=torch.channels_last)
        with self.autocast():
            posterior = self.module.encode(x).latent_dist
        mean, std = posterior.mean.float(), posterior.std.float()
        noise = torch.randn((count, *mean.shape[1:]), generator=generator)
        noise = self.processes.own(noise).to(mean)
        with self.autocast():
            y = self.module.decode(mean + std * noise).sample
        error = y.float() - x
        absolute = error.abs().mean()
        edges = error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
        divergence = 0.5 * (mean.square() + std.square() - 1 - 2 * std.log())
        loss = absolute + 0.5 * edges + KL_WEIGHT * divergence.mean()
        rows = torch.stack([error.square().mean((1, 2, 3)), divergence.mean((1, 2, 3))], dim=1)
        squared, diverged = self.processes.whole(rows, count).mean(0)
        psnr = -10 * torch.log10(squared / 4)
        return loss, {"psnr": psnr.item(), "divergence": diverged.item()}

    @torch.no_grad()
    def preview(self, step: int) -> Float[Tensor, "3 height width"]:
        """Eight images above their reconstructions."""
        batch = batch_indices(noise_generator(0), len(self.images), 8)
        x = from_bytes(self.images[batch])
        y = self.averaged()(x.to(self.device) * 2 - 1).sample.cpu() / 2 + 0.5
        return contact_sheet(torch.cat([x, y.clamp(0, 1)]), columns=8)

    def averaged(self) -> AutoencoderKL:
        """A frozen copy of the codec with the moving average of its weights."""
        return cast(AutoencoderKL, super().averaged())


@torch.no_grad()
def scale_latents(codec: AutoencoderKL, latents: Float[Tensor, "n c h w"]) -> None:
    """Set the scaling factor that gives latents a root mean square of 1."""
    codec.register_to_config(scaling_factor=1 / latents.square().mean().sqrt().item())


@torch.no_grad()
def encode_all(
    codec: AutoencoderKL,
    images: UInt8[Tensor, "n h w 3"],
    batch_size: int = 128,
    *,
    progress: bool = False,
) -> tuple[Float[Tensor, "n c lh lw"], Float[Tensor, "n c lh lw"]]:
    """Mean and deviation of the code of every image, on the CPU."""
    means, stds = [], []
    batches = range(0, len(images), batch_size)
    for start in tqdm(batches, desc="encoding", unit="batch", disable=not progress):
        x = from_bytes(images[start : start + batch_size]).to(codec.device) * 2 - 1
        posterior = codec.encode(x.contiguous(memory_format=torch.channels_last)).latent_dist
        means.append(posterior.mean.float().cpu())
        stds.append(posterior.std.float().cpu())
    return torch.cat(means).contiguous(), torch.cat(stds).contiguous()
