"""The recipe of the embedded prior `digits`: handwritten digits of scikit-learn, by class."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import torch
from diffusers import DDIMPipeline, DDIMScheduler, UNet2DModel
from jaxtyping import Float, Int
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn import functional as F

from scorefield.files import whole_folder, write_json
from scorefield.images import contact_sheet
from scorefield.integrity import write_seal
from scorefield.priors.families import from_pipeline
from scorefield.priors.schedule import DiscreteSchedule
from scorefield.training.data import batch_indices
from scorefield.training.recipes import DIGITS
from scorefield.training.settings import TrainingSettings
from scorefield.training.task import TrainingTask, run_training

GUIDANCE_SCALE = 1.5
"""Default guidance of samples; the classifier uses none."""

SIZE = 8
"""Side of the images, pixels."""

HELD_OUT, VALIDATION = 450, 200
"""Images of these parts of the 1797; the rest is for training."""

CLASS_DROPOUT = 0.1
"""Share of images trained without their class, for `text_scores` and guidance."""

Part = Literal["training", "validation", "held-out"]
"""Settings are chosen on "validation"; "held-out" is for the last word."""


@dataclass(frozen=True, eq=False)
class Digits:
    """Images in [0, 1] and the digit that each one shows."""

    images: Float[Tensor, "n 1 8 8"]
    labels: Int[Tensor, " n"]


def digits_part(part: Part) -> Digits:
    """A part of scikit-learn's digits, with the same share of every digit as the others.

    The split is drawn once, with a seed of its own: it is the same for every training.

    Raises:
        ValueError: no such part.
    """
    pixels, labels = load_digits(return_X_y=True)
    rest, held_out = train_test_split(
        range(len(labels)), test_size=HELD_OUT, random_state=0, stratify=labels
    )
    training, validation = train_test_split(
        rest, test_size=VALIDATION, random_state=0, stratify=labels[rest]
    )
    parts = dict(zip(get_args(Part), (training, validation, held_out), strict=True))
    if part not in parts:
        raise ValueError(f"part must be one of {', '.join(parts)}; got {part!r}")
    images = torch.tensor(pixels[parts[part]] / 16, dtype=torch.float32)
    return Digits(images.reshape(-1, 1, SIZE, SIZE), torch.tensor(labels[parts[part]]))


def make_digits_schedule() -> DiscreteSchedule:
    """The cosine schedule, made for small images, brought to zero terminal SNR."""
    return DiscreteSchedule.cosine().zero_terminal_snr()


def make_network() -> UNet2DModel:
    """The class-conditional U-Net; its eleventh class is none of the ten digits."""
    return UNet2DModel(
        sample_size=SIZE,
        in_channels=1,
        out_channels=1,
        layers_per_block=1,
        block_out_channels=(24, 48),
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=16,
        norm_num_groups=8,
        num_class_embeds=11,
    )


class DigitsTask(TrainingTask):
    """v-prediction (Salimans and Ho 2022) of digits, their class dropped now and then.

    Images are turned, scaled and shifted a little at random (`jittered`), for there are few.

    Raises:
        ValueError: a batch size below 2.
    """

    module: UNet2DModel

    def __init__(self, digits: Digits, settings: TrainingSettings) -> None:
        if settings.batch_size < 2:
            raise ValueError(
                "batch_size must be 2 or more, so that a batch has both low and high noise; "
                f"got {settings.batch_size}"
            )
        torch.manual_seed(settings.seed)
        super().__init__(make_network(), settings)
        self.digits = digits
        self.schedule = make_digits_schedule()

    def loss(self, step: int, generator: torch.Generator) -> tuple[Tensor, Mapping[str, float]]:
        """Mean squared error of v over a random batch."""
        count = self.settings.batch_size
        batch = batch_indices(generator, len(self.digits.labels), count)
        # One timestep in each of `count` equal stretches: less noise than independent draws.
        u = (torch.arange(count) + torch.rand(count, generator=generator)) / count
        last = self.schedule.num_timesteps - 1  # float32 may round up to the end
        timestep = (u * (last + 1)).long().clamp(max=last)
        keep = torch.rand(count, generator=generator) >= CLASS_DROPOUT
        labels = torch.where(keep, self.digits.labels[batch], 10)
        x = 2 * jittered(self.digits.images[batch], generator) - 1
        eps = torch.randn(x.shape, generator=generator)
        noisy = timestep > last // 2

        own, device = self.processes.own, self.device
        x, eps, timestep, labels = own(x), own(eps), own(timestep), own(labels)
        level = self.schedule.at_timestep(timestep)
        alpha, sigma = level.like(x)
        z = level.add_noise(x, eps).to(device, memory_format=torch.channels_last)
        with self.autocast():
            v = self.module(z, timestep.to(device), class_labels=labels.to(device)).sample
        error = (v.float() - (alpha * eps - sigma * x).to(device)).square().mean((1, 2, 3))
        errors = self.processes.whole(error, count).cpu()
        return error.mean(), {
            "loss_low_noise": errors[~noisy].mean().item(),
            "loss_high_noise": errors[noisy].mean().item(),
        }

    def preview(self, step: int) -> Float[Tensor, "3 height width"]:
        """Four samples of each digit, enlarged."""
        pipeline = make_digits_pipeline(self.averaged())
        prior = from_pipeline(pipeline, labels=_names(), guidance_scale=GUIDANCE_SCALE)
        images = prior.generate(_names() * 4, steps=25, seed=100).cpu()
        return contact_sheet(F.interpolate(images, scale_factor=5), columns=10)


def jittered(
    images: Float[Tensor, "n 1 h w"], generator: torch.Generator
) -> Float[Tensor, "n 1 h w"]:
    """Images on black, each turned (sd 4 degrees), scaled (4%) and shifted (0.25 pixels)."""
    n, side = len(images), images.shape[-1]
    turn, scale = torch.randn(2, n, generator=generator)
    angle, scale = turn * math.radians(4), 1 + 0.04 * scale
    shift = torch.randn(n, 2, generator=generator) * 0.25 * 2 / side
    cos, sin = scale * angle.cos(), scale * angle.sin()
    rows = torch.stack([cos, -sin, shift[:, 0], sin, cos, shift[:, 1]], dim=1)
    grid = F.affine_grid(rows.reshape(n, 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, mode="bicubic", align_corners=False).clamp(0, 1)


def make_digits_pipeline(network: UNet2DModel) -> DDIMPipeline:
    """The standard pipeline around a trained network."""
    return DDIMPipeline(network, make_digits_schedule().scheduler(DDIMScheduler))


def train_digits(
    out: Path,
    settings: TrainingSettings = DIGITS,
    *,
    resume: bool = False,
    progress: bool = True,
) -> Path:
    """Train the prior of digits; returns the folder of the finished one, ``out / "digits"``.

    out: holds the run folder and at last the prior. An interrupted training goes on with `resume`
        at its last checkpoint.
    """
    task = DigitsTask(digits_part("training"), settings)
    run_training(task, out / "denoiser", resume, progress)
    task.processes.once(save_digits, task.averaged(), out / "digits")
    return out / "digits"


def save_digits(network: UNet2DModel, folder: Path) -> Path:
    """Write the prior, its network halved in place, with its card."""
    card = {"name": "digits", "guidance_scale": GUIDANCE_SCALE, "labels": _names()}
    with whole_folder(folder) as part:
        make_digits_pipeline(network.half()).save_pretrained(part, safe_serialization=True)
        write_json(part / "scorefield.json", card)
        write_seal(part)
    return folder


def _names() -> list[str]:
    return [str(digit) for digit in range(10)]
