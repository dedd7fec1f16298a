"""The recipe of the embedded priors of clips, `motion-broad` and `motion-narrow`, from nothing."""

from collections.abc import Mapping
from dataclasses import asdict
from itertools import cycle, islice
from pathlib import Path
from typing import Any, cast

import diffusers
import torch
from diffusers import DDIMScheduler
from jaxtyping import Float
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from scorefield.files import whole_folder, write_json
from scorefield.images import contact_sheet
from scorefield.integrity import write_seal
from scorefield.priors.clip_unet import ClipUNet
from scorefield.priors.families import ClipPipeline, from_pipeline
from scorefield.priors.schedule import DiscreteSchedule
from scorefield.training.recipes import BROAD_LOW_NOISE, BROAD_SETTINGS, BROAD_WIDTH
from scorefield.training.settings import TrainingSettings
from scorefield.training.task import TrainingTask, run_training
from scorefield.training.tokenizer import make_tokenizer
from scorefield.world.clips import (
    BROAD,
    CLIP_COLORS,
    CLIP_WORDS,
    FRAMES,
    MOTIONS,
    SHAPES,
    SIZE,
    ClipSet,
    render_clips,
)

GUIDANCE_SCALE = 2.0
"""Default guidance of the shipped priors."""

CAPTION_DROPOUT = 0.1
"""Share of clips trained without their caption, for classifier-free guidance."""

_TOKENS = 8  # of a padded caption: five words, start, end, and one to spare
_TEXT_WIDTH = 64


def make_clip_schedule() -> DiscreteSchedule:
    """The cosine schedule at 1/8 of its SNR, brought to zero terminal SNR.

    The cosine was made for single images. The 8 frames of a clip show the same object, which is
    as visible in them as in one image at 8 times the SNR (Hoogeboom et al. 2023, "Simple
    diffusion", section 3.1, of pixels): without the shift only the last few steps decide where
    things are and how they move.
    """
    cosine = DiscreteSchedule.cosine().zero_terminal_snr().alphas_cumprod
    return DiscreteSchedule(cosine / (cosine + FRAMES * (1 - cosine)))


class TextToClips(nn.Module):
    """The U-Net of clips and a text encoder that stays random.

    A random encoder tells a dozen words apart at once. Trained along, it makes those one that the
    U-Net has no use for yet, before it comes to learn them: in a pilot, "left" and "right" were 50
    times closer after 1000 steps than at the start, and samples moved at chance after 2600.

    Clips are z = 2 video - 1, of shape (B, frames, 3, height, width).
    """

    def __init__(self, unet: ClipUNet, text_encoder: CLIPTextModel) -> None:
        super().__init__()
        self.text_encoder = text_encoder.requires_grad_(False)
        self.unet = unet

    @classmethod
    def make(cls, tokenizer: CLIPTokenizer, width: int) -> "TextToClips":
        """Networks with random weights; width as `ClipUNet` takes it."""
        text_encoder = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=_TEXT_WIDTH,
                intermediate_size=2 * _TEXT_WIDTH,
                num_hidden_layers=1,
                num_attention_heads=4,
                max_position_embeddings=tokenizer.model_max_length,
                projection_dim=_TEXT_WIDTH,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id,
            )
        )
        nn.init.normal_(text_encoder.get_input_embeddings().weight)
        unet = ClipUNet(
            sample_size=SIZE, num_frames=FRAMES, width=width, cross_attention_dim=_TEXT_WIDTH
        )
        return cls(unet, text_encoder)

    @classmethod
    def load(cls, folder: Path) -> "TextToClips":
        """The networks of a folder that `save_motion` wrote, in float32."""
        unet = ClipUNet.from_pretrained(folder / "unet", torch_dtype=torch.float32)
        text = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
        return cls(unet, text)

    def forward(self, z: Tensor, timestep: Tensor, tokens: Tensor) -> Tensor:
        """The network's v at clips (B, F, 3, H, W), timesteps (B,) and token ids (B, L)."""
        text = self.text_encoder(tokens).last_hidden_state
        return cast(Tensor, self.unet(z.transpose(1, 2), timestep, text).sample.transpose(1, 2))


class MotionTask(TrainingTask):
    """v-prediction (Salimans and Ho 2022) of clips, captions dropped now and then.

    clips: what to train on; without a count, every step has clips of its own.
    initial: folder of a finished prior whose weights are trained on; None begins with random ones.
    low_noise: timesteps are u^low_noise of all, u uniform: at 1 a fifth of them show more signal
        than noise, at 1.5 a third.

    Raises:
        ValueError: a batch size below 2, or low_noise not positive.
    """

    module: TextToClips

    def __init__(
        self,
        clips: ClipSet,
        settings: TrainingSettings,
        width: int = BROAD_WIDTH,
        initial: Path | None = None,
        low_noise: float | int = BROAD_LOW_NOISE,
    ) -> None:
        if settings.batch_size < 2:
            raise ValueError(
                "batch_size must be 2 or more, so that a batch has both low and high noise; "
                f"got {settings.batch_size}"
            )
        if low_noise <= 0:
            raise ValueError(f"low_noise must be positive; got {low_noise}")
        torch.manual_seed(settings.seed)
        self.tokenizer = make_tokenizer(CLIP_WORDS, _TOKENS)
        module = (
            TextToClips.make(self.tokenizer, width)
            if initial is None
            else TextToClips.load(initial)
        )
        super().__init__(module, settings)
        asked = {"clips": asdict(clips), "width": width, "initial": initial, "low_noise": low_noise}
        self.asked = {key: str(value) for key, value in asked.items()}
        self.clips = clips
        self.low_noise = low_noise
        self.schedule = make_clip_schedule()

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Mean squared error of v over a batch."""
        count = self.settings.batch_size
        numbers = torch.arange(step * count, (step + 1) * count)
        if self.clips.count is not None:
            numbers = torch.randint(self.clips.count, (count,), generator=generator)
        rows = self.processes.rows(count)
        clips = [self.clips[number] for number in numbers[rows].tolist()]
        # One draw in each of `count` equal stretches: less noise than independent draws. They are
        # shuffled, since neighbouring clips are of one run through the combinations.
        u = torch.randperm(count, generator=generator) + torch.rand(count, generator=generator)
        last = self.schedule.num_timesteps - 1  # where u rounds to count, and time to its end
        timestep = ((u / count) ** self.low_noise * (last + 1)).long().clamp(max=last)
        keep = (torch.rand(count, generator=generator) >= CAPTION_DROPOUT)[rows].tolist()
        captions = [clip.caption if kept else "" for clip, kept in zip(clips, keep, strict=True)]
        x = 2 * render_clips(clips) - 1
        eps = torch.randn((count, *x.shape[1:]), generator=generator)[rows]
        level = self.schedule.at_timestep(timestep[rows])
        alpha, sigma = level.like(x)

        device = self.device
        z = level.add_noise(x, eps).to(device)
        with self.autocast():
            v = self.module(z, timestep[rows].to(device), self.tokenize(captions).to(device))
        error = (v.float() - (alpha * eps - sigma * x).to(device)).square().mean((1, 2, 3, 4))
        errors, noisy = self.processes.whole(error, count).cpu(), u >= count / 2
        return error.mean(), {
            "loss_low_noise": errors[~noisy].mean().item(),
            "loss_high_noise": errors[noisy].mean().item(),
        }

    def tokenize(self, captions: list[str]) -> Tensor:
        """Token ids (len, L)."""
        return self.tokenizer(
            captions, padding="max_length", truncation=True, return_tensors="pt"
        ).input_ids

    def preview(self, step: int) -> Float[Tensor, "3 height width"]:
        """Eight guided samples as film strips, the words of their captions in turn."""
        words = [islice(cycle(names), 8) for names in (CLIP_COLORS, SHAPES, [*MOTIONS, ""])]
        captions = [f"a {c} {s} moving {m}" for c, s, m in zip(*words, strict=True)]
        module = self.averaged()
        pipeline = ClipPipeline(
            module.unet, module.text_encoder, self.tokenizer, self.schedule.scheduler(DDIMScheduler)
        )
        prior = from_pipeline(pipeline, guidance_scale=GUIDANCE_SCALE)
        frames = prior.generate(captions, steps=20, seed=100).flatten(0, 1).cpu()
        return contact_sheet(frames.repeat_interleave(3, 2).repeat_interleave(3, 3), columns=FRAMES)

    def config(self) -> dict[str, Any]:
        """The settings, the clips and the network."""
        return super().config() | self.asked

    def averaged(self) -> TextToClips:
        """A frozen copy of the networks with the moving average of their weights."""
        return cast(TextToClips, super().averaged())


def train_motion(
    out: Path,
    clips: ClipSet = BROAD,
    settings: TrainingSettings = BROAD_SETTINGS,
    width: int = BROAD_WIDTH,
    *,
    name: str = "motion-broad",
    initial: Path | None = None,
    low_noise: float | int = BROAD_LOW_NOISE,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train a prior of clips; returns the folder of the finished one, ``out / name``.

    An interrupted training goes on with `resume` at its last checkpoint.

    clips: what to train on.
    width: of the network; with `initial`, that of the given one holds.
    initial: folder of a finished prior to fine-tune.
    low_noise: timesteps are u^low_noise of all, u uniform: at 1 a fifth of them show more signal
        than noise, at 1.5 a third.

    Raises:
        ValueError: a batch size below 2, low_noise not positive, or `out` holds another training.
    """
    task = MotionTask(clips, settings, width, initial, low_noise)
    run_training(task, out, resume, progress, previews=16)
    task.processes.once(save_motion, task.averaged(), out / name, name)
    return out / name


def save_motion(module: TextToClips, folder: Path, name: str) -> Path:
    """Write a prior in diffusers' layout, halved in place, with the card of its vocabulary."""
    module.half()
    index = {
        "_class_name": "ClipPipeline",
        "_diffusers_version": diffusers.__version__,
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["scorefield.priors.clip_unet", "ClipUNet"],
    }
    card = {
        "name": name,
        "guidance_scale": GUIDANCE_SCALE,
        "vocabulary": CLIP_WORDS,
        "frames": FRAMES,
    }
    with whole_folder(folder) as part:
        module.unet.save_pretrained(part / "unet", safe_serialization=True)
        module.text_encoder.save_pretrained(part / "text_encoder")
        # A tokenizer that has been used would be saved with the padding of its last use.
        make_tokenizer(CLIP_WORDS, _TOKENS).save_pretrained(part / "tokenizer")
        make_clip_schedule().scheduler(DDIMScheduler).save_pretrained(part / "scheduler")
        write_json(part / "model_index.json", index)
        write_json(part / "scorefield.json", card)
        write_seal(part)
    return folder
