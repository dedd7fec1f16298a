"""Stage two of the recipe: the text-conditioned denoiser of the codec's latents."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, TypeAlias, cast

import torch
from diffusers import UNet2DConditionModel
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from scorefield.priors.noise import noise_generator
from scorefield.priors.schedule import DiscreteSchedule
from scorefield.training.data import batch_indices
from scorefield.training.settings import TrainingSettings
from scorefield.training.task import TrainingTask
from scorefield.views import CAMERA_WIDTH

CAPTION_DROPOUT = 0.1
"""Share of images trained without their caption, for classifier-free guidance."""

CAMERA_DROPOUT = 0.1
"""Share of images trained without their camera, so that a prior can also be asked without one."""

CAMERA_RATE = 15.0
"""Learning rate of the camera's embedding, of the network's, for cameras that are not heeded yet.

At the network's own, a network that begins as one without cameras draws every side alike. What has
been learnt in a curriculum, or by the weights that a training begins with, is lost at this one, for
harder images move the embedding at random: from there on the rates are equal.
"""

_CAMERAS_TRIED_EVERY = 200  # steps
_TRIED = 64  # images
_TRYING = -1  # key of what they are drawn from, besides the numbers of the steps, 0 and above


Curriculum: TypeAlias = Sequence[tuple[int, Bool[Tensor, " n"]]]
"""Steps that end parts of a training, and the images, a boolean of each, that a part is about."""


def make_schedule() -> DiscreteSchedule:
    """Stable Diffusion's schedule, brought to zero terminal SNR.

    Otherwise the last step still shows the mean colour, and samples cannot leave it (Lin et al.
    2023).
    """
    return DiscreteSchedule.scaled_linear().zero_terminal_snr()


class TextToLatents(nn.Module):
    """A U-Net of latents of `channels` x 16 x 16, and the text encoder trained along with it.

    cameras: whether the U-Net is told cameras, as `scorefield.views.camera_vector` has them.
    """

    def __init__(self, tokenizer: CLIPTokenizer, channels: int = 4, cameras: bool = False) -> None:
        super().__init__()
        self.text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=64,
                intermediate_size=256,
                num_hidden_layers=2,
                num_attention_heads=4,
                max_position_embeddings=tokenizer.model_max_length,
                projection_dim=64,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        # Attention only at 8x8 and 4x4: at 16x16 it costs more than the rest of the network.
        self.unet = UNet2DConditionModel(
            sample_size=16,
            in_channels=channels,
            out_channels=channels,
            layers_per_block=1,
            block_out_channels=(64, 128, 160),
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=4,
            cross_attention_dim=64,
            norm_num_groups=16,
            class_embed_type="projection" if cameras else None,
            projection_class_embeddings_input_dim=CAMERA_WIDTH if cameras else None,
        )
        if cameras:
            # PyTorch's own weights are so small that the embedding is nearly linear in the camera
            # and hardly moves with it: after 1,600 steps a network heeded no view, with these
            # after 120.
            first = self.unet.class_embedding.linear_1
            nn.init.normal_(first.weight)
            nn.init.zeros_(first.bias)

    def forward(
        self, z: Tensor, timestep: Tensor, tokens: Tensor, cameras: Tensor | None = None
    ) -> Tensor:
        """The network's v at latents (B, C, 16, 16), timesteps (B,) and token ids (B, L).

        cameras: (B, 7), for a network that is told them.
        """
        # On a CPU the fused attention's gradient takes a third of the whole step.
        with sdpa_kernel(SDPBackend.MATH) if z.device.type == "cpu" else nullcontext():
            text = self.text_encoder(tokens).last_hidden_state
            return self.unet(z, timestep, encoder_hidden_states=text, class_labels=cameras).sample


class DiffusionTask(TrainingTask):
    """v-prediction (Salimans and Ho 2022) of cached latents, captions dropped now and then.

    means, stds: the codec's posterior of every image, already scaled; each use draws a code.
    module: the networks to train; None makes them with random weights.
    cameras: of every image, as `scorefield.views.camera_vector` has them, dropped now and then;
        None for networks that are told none.
    low_noise: timesteps are u^low_noise of all, u uniform; below 1 the noisier half has more.
    curriculum: what the steps before a certain one are about, one after another: that step, and
        a boolean of each image; after the last, and where it is empty, all images.
    heeds_cameras: the module has learnt to, so that it is past the curriculum, and the embedding
        of its cameras learns no faster than the rest.

    Raises:
        ValueError: a batch size below 2, low_noise not positive, cameras of another shape, or
            cameras for a module that is told none, or the reverse; a part of the curriculum
            without images, or steps that do not rise.
    """

    module: TextToLatents

    def __init__(
        self,
        means: Float[Tensor, "n c h w"],
        stds: Float[Tensor, "n c h w"],
        captions: Sequence[str],
        tokenizer: CLIPTokenizer,
        settings: TrainingSettings,
        *,
        module: TextToLatents | None = None,
        cameras: Tensor | None = None,
        low_noise: float | int = 1.0,
        curriculum: Curriculum = (),
        heeds_cameras: bool = False,
    ) -> None:
        if low_noise <= 0:
            raise ValueError(f"low_noise must be positive; got {low_noise}")
        if settings.batch_size < 2:
            raise ValueError(
                "batch_size must be 2 or more, so that a batch has both low and high noise; "
                f"got {settings.batch_size}"
            )
        torch.manual_seed(settings.seed)
        if module is None:
            module = TextToLatents(tokenizer, means.shape[1], cameras is not None)
        if cameras is not None:
            _check_vectors(cameras, len(means))
        if (cameras is None) != (module.unet.class_embedding is None):
            told = "none" if cameras is None else "some"
            raise ValueError(
                f"the images have {told} cameras and the module takes the other; make it with "
                f"TextToLatents(..., cameras={cameras is not None})"
            )
        self.heeds_cameras = heeds_cameras
        super().__init__(module, settings)
        self.means, self.stds, self.cameras = means, stds, cameras
        self.low_noise = low_noise
        self.curriculum = [
            (until, chosen.nonzero()[:, 0])
            for until, chosen in ([] if heeds_cameras else curriculum)
        ]
        ends = [until for until, _ in self.curriculum]
        if ends != sorted(set(ends)) or not all(len(images) for _, images in self.curriculum):
            raise ValueError(
                "each part of the curriculum must have images and end later than the one before; "
                f"got the ends {ends}, of {[len(images) for _, images in self.curriculum]} images"
            )
        self.tokens = _tokenize(tokenizer, captions)
        self.no_caption = _tokenize(tokenizer, [""])
        self.schedule = make_schedule()

    def step(self, step: int) -> Mapping[str, float]:
        """One update."""
        if self.curriculum and step >= self.curriculum[-1][0]:
            for group in self.optimizer.param_groups:
                group["share"] = 1.0
        return super().step(step)

    def groups(self) -> list[dict[str, Any]]:
        """The embedding of cameras learns faster than the rest, where it has all to learn."""
        embedding = self.module.unet.class_embedding
        if embedding is None:
            return super().groups()
        fast = [*embedding.parameters()]
        known = {id(p) for p in fast}
        rest = [p for p in self.parameters if id(p) not in known]
        share = 1.0 if self.heeds_cameras else CAMERA_RATE
        return [{"params": rest}, {"params": fast, "share": share}]

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Mean squared error of v over a random batch."""
        count = self.settings.batch_size
        batch = self._batch(step, generator, count)
        # One timestep in each of `count` equal stretches: less noise than independent draws.
        u = (torch.arange(count) + torch.rand(count, generator=generator)) / count
        # float32 may round up to the end
        timestep = (
            (u**self.low_noise * self.schedule.num_timesteps)
            .long()
            .clamp(max=self.schedule.num_timesteps - 1)
        )
        keep = torch.rand(count, 1, generator=generator) >= CAPTION_DROPOUT
        x, eps = self._draw(batch, generator)
        tokens = torch.where(keep, self.tokens[batch], self.no_caption)
        cameras = None
        if self.cameras is not None:
            seen = torch.rand(count, 1, generator=generator) >= CAMERA_DROPOUT
            cameras = self.processes.own(self.cameras[batch] * seen)
        noisy = timestep >= self.schedule.num_timesteps // 2

        own = self.processes.own
        error = self._errors(own(x), own(eps), own(timestep), own(tokens), cameras)
        errors = self.processes.whole(error, count).cpu()
        halves = {"loss_low_noise": errors[~noisy], "loss_high_noise": errors[noisy]}
        metrics = {name: half.mean().item() for name, half in halves.items() if len(half)}
        if self.cameras is not None and step % _CAMERAS_TRIED_EVERY == 0:
            metrics |= self._tried_cameras(self.cameras)
        return error.mean(), metrics

    def _batch(self, step: int, generator: torch.Generator, count: int) -> Tensor:
        """Which images a step is about."""
        for until, images in self.curriculum:
            if step < until:
                return images[batch_indices(generator, len(images), count)]
        return batch_indices(generator, len(self.means), count)

    def config(self) -> dict[str, Any]:
        """The settings, and where the parts of the curriculum end."""
        ends = [until for until, _ in self.curriculum]
        return {**super().config(), **({"curriculum": ends} if ends else {})}

    def _draw(self, batch: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Codes of images, and noise for them."""
        codes = torch.randn(self.means[batch].shape, generator=generator)
        x = self.means[batch] + self.stds[batch] * codes
        return x, torch.randn(x.shape, generator=generator)

    def _errors(
        self, x: Tensor, eps: Tensor, timestep: Tensor, tokens: Tensor, cameras: Tensor | None
    ) -> Tensor:
        """Mean squared error of v of each row."""
        device = self.device
        level = self.schedule.at_timestep(timestep)
        alpha, sigma = level.like(x)
        z = level.add_noise(x, eps).to(device, memory_format=torch.channels_last)
        told = () if cameras is None else (cameras.to(device),)
        with self.autocast():
            v = self.module(z, timestep.to(device), tokens.to(device), *told)
        return (v.float() - (alpha * eps - sigma * x).to(device)).square().mean((1, 2, 3))

    @torch.no_grad()
    def _tried_cameras(self, cameras: Tensor) -> Mapping[str, float]:
        """Whether cameras are heeded, on always the same noised images, of the noisier half."""
        generator = noise_generator(self.settings.seed, _TRYING)
        batch = self._batch(0, generator, _TRIED)
        x, eps = self._draw(batch, generator)
        last = self.schedule.num_timesteps
        timestep = torch.linspace(last // 2, last - 1, _TRIED).long()
        return camera_losses(
            lambda told: self._errors(x, eps, timestep, self.tokens[batch], told).mean(),
            cameras[batch],
        )

    def averaged(self) -> TextToLatents:
        """A frozen copy of the networks with the moving average of their weights."""
        return cast(TextToLatents, super().averaged())


def turned(cameras: Float[Tensor, "batch 7"], degrees: float) -> Float[Tensor, "batch 7"]:
    """The same cameras further around the object; none stays none."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    x, y = cameras[:, 0], cameras[:, 1]
    return torch.cat([torch.stack([cos * x - sin * y, sin * x + cos * y], 1), cameras[:, 2:]], 1)


def camera_losses(
    loss: Callable[[Tensor], Tensor], cameras: Float[Tensor, "batch 7"]
) -> Mapping[str, float]:
    """Losses of one batch under the right cameras, those a quarter turn further, and none.

    As long as a network does not heed its cameras, the three are equal; then the first is lowest.

    loss: of the batch under cameras.
    """
    asked = {"right": cameras, "turned": turned(cameras, 90.0), "no": torch.zeros_like(cameras)}
    return {f"loss_{name}_camera": loss(told).item() for name, told in asked.items()}


def _check_vectors(cameras: Tensor, count: int) -> None:
    if cameras.shape != (count, CAMERA_WIDTH) or not bool(cameras.isfinite().all()):
        raise ValueError(
            f"cameras must be finite, of shape ({count}, {CAMERA_WIDTH}), one for each image, as "
            f"scorefield.views.camera_vector makes them; got {tuple(cameras.shape)}"
        )


def _tokenize(tokenizer: CLIPTokenizer, captions: Sequence[str]) -> Tensor:
    return tokenizer(
        list(captions), padding="max_length", truncation=True, return_tensors="pt"
    ).input_ids
